// SPDX-License-Identifier: MIT OR Apache-2.0

//! models/convert_mxnet.py, by tests/convert_mxnet.py; and what it writes in the element.

mod common;

use std::{env, ffi::OsString, path::Path, process::Command};

#[test]
fn converted_networks_run() {
    let python = env::var_os("RETINAFACE_PYTHON").unwrap_or_else(|| OsString::from("python3"));
    let imports = Command::new(&python).args(["-c", "import numpy, onnx.reference"]).output();
    if !imports.is_ok_and(|output| output.status.success()) {
        eprintln!(
            "SKIPPED: converted_networks_run: needs a python3 with numpy and onnx, which \
             RETINAFACE_PYTHON may name"
        );
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/convert_mxnet.py");
    let output = Command::new(&python).arg("-B").arg(script).arg(folder.path()).output();
    let output = output.expect("it runs");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    assert!(log.trim_end().ends_with("OK"), "{log}");

    // Its weights are random: it only has to be taken, with both strides, and to run.
    let network = folder.path().join("detector.onnx");
    let frames = common::run(&format!(
        "videotestsrc num-buffers=1 ! video/x-raw,format=BGR,width=150,height=100 ! \
         retinafacedetect strides=16+32 model-file=\"{}\" ! appsink name=sink",
        network.display()
    ));
    assert_eq!(frames.expect("faces or none").len(), 1);
}
