// SPDX-License-Identifier: MIT OR Apache-2.0

//! Exceptions of ONNX Runtime in Python programs, which may import NumPy before GStreamer.

mod common;

use std::{env, fs, os::unix, path::Path, process::Command};

use gstretinaface::{
    inference::{self, Provider},
    onnx::messages::ModelProto,
};
use prost::Message;
use tempfile::TempDir;

/// Debian's Python, which has the bindings of GStreamer.
const PYTHON: &str = "/usr/bin/python3";

/// A folder with the plugin and with a network that makes ONNX Runtime throw, if the Python that the
/// test needs is there. Prints a SKIPPED line otherwise.
fn folder(test: &str) -> Option<TempDir> {
    let imports = "import numpy, gi; gi.require_version('Gst', '1.0')";
    let python = Command::new(PYTHON).args(["-c", imports]).output();
    if !python.is_ok_and(|output| output.status.success()) {
        eprintln!(
            "SKIPPED: {test}: needs Debian's python3-gi, python3-numpy, gir1.2-gstreamer-1.0"
        );
        return None;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = env::current_exe().expect("this test").with_file_name("libgstretinaface.so");
    let link = folder.path().join("libgstretinaface.so");
    unix::fs::symlink(plugin, link).expect("a link");
    let network = fs::read("models/retinaface_mv1_0.25.onnx").expect("scripts/setup");
    let mut network = ModelProto::decode(network.as_slice()).expect("a network");
    network.ir_version = Some(999);
    fs::write(folder.path().join("future.onnx"), network.encode_to_vec()).expect("a file");
    Some(folder)
}

/// What the program prints at its end.
fn python(folder: &Path, first: &str, properties: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/imports.py");
    let mut python = Command::new(PYTHON);
    python.arg(script).arg(first).args(properties).current_dir(folder);
    python.env("GST_PLUGIN_PATH", folder).env("GST_REGISTRY", folder.join("registry"));
    let output = python.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{first} first, {properties:?}: {}\n{log}", output.status);
    text
}

/// The provider finds its faces and reports what ONNX Runtime throws, whatever was imported first.
fn works_in_both_orders(folder: &Path, provider: &str) {
    let selected = format!("execution-provider={provider}");
    for first in ["gi", "numpy", "libstdc++"] {
        let text = python(folder, first, &[&selected]);
        assert!(text.contains(&format!("DETECTED {provider}")), "{first} first: {text}");
        let text = python(folder, first, &[&selected, "model-file=future.onnx"]);
        assert!(text.contains("ERROR") && text.contains("IR version"), "{first} first: {text}");
    }
}

#[test]
fn exceptions_on_the_cpu_are_errors() {
    if let Some(folder) = folder("exceptions_on_the_cpu_are_errors") {
        works_in_both_orders(folder.path(), "cpu");
    }
}

#[test]
fn exceptions_of_openvino_are_errors() {
    common::init();
    inference::environment(|_, _| ()).expect("ONNX Runtime");
    let test = "exceptions_of_openvino_are_errors";
    if let Err(why) = Provider::OpenVino.find() {
        eprintln!("SKIPPED: {test}: {why}");
    } else if let Some(folder) = folder(test) {
        works_in_both_orders(folder.path(), "openvino");
    }
}
