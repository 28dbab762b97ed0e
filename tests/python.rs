// SPDX-License-Identifier: MIT OR Apache-2.0

//! The Python module that a wheel has beside the plugin, run by Debian's Python.

use std::{env, fs, os::unix, path::Path, process::Command};

const PYTHON: &str = "/usr/bin/python3";

#[test]
fn the_python_module_gives_the_faces_of_a_frame() {
    let imports = "import gi; gi.require_version('Gst', '1.0')";
    let python = Command::new(PYTHON).args(["-c", imports]).output();
    if !python.is_ok_and(|output| output.status.success()) {
        eprintln!(
            "SKIPPED: the_python_module_gives_the_faces_of_a_frame: needs Debian's python3-gi and \
             gir1.2-gstreamer-1.0"
        );
        return;
    }
    // As the wheel has it.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("a folder");
    let module = folder.path().join("gst_retinaface");
    fs::create_dir_all(module.join("plugins")).expect("a folder");
    for name in ["__init__.py", "__main__.py"] {
        let file = root.join("python/gst_retinaface").join(name);
        fs::copy(file, module.join(name)).expect("a copy");
    }
    let plugin = env::current_exe().expect("this test").with_file_name("libgstretinaface.so");
    let link = module.join("plugins/libgstretinaface.so");
    unix::fs::symlink(plugin, link).expect("a link");

    let mut tests = Command::new(PYTHON);
    tests.arg(root.join("tests/python.py")).arg(folder.path()).arg(root);
    tests.env("GST_REGISTRY", folder.path().join("registry"));
    let output = tests.output().expect("it runs");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    assert!(log.contains("Ran 7 tests") && !log.contains("skipped"), "{log}");
}
