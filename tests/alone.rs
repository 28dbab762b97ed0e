// SPDX-License-Identifier: MIT OR Apache-2.0

//! The plugin file by itself, in the plugin folder of a user who has nothing but GStreamer.

mod common;

use std::{env, fs, process::Command};

#[test]
fn the_plugin_alone_finds_faces() {
    let home = tempfile::tempdir().expect("a folder");
    let plugins = home.path().join(".local/share/gstreamer-1.0/plugins");
    fs::create_dir_all(&plugins).expect("a folder");
    // As cargo has built it for this test.
    let plugin = env::current_exe().expect("this test").with_file_name("libgstretinaface.so");
    fs::copy(plugin, plugins.join("libgstretinaface.so")).expect("a copy");
    let start = |library: Option<&str>, program: &str, arguments: &str| {
        let mut command = Command::new(program);
        command.args(arguments.split(' ')).current_dir(home.path());
        command.env_clear().env("HOME", home.path()).env("PATH", env::var_os("PATH").expect("set"));
        command.env("GST_DEBUG", "retinafacedetect:4").env("GST_DEBUG_NO_COLOR", "1");
        command.envs(library.map(|library| ("ORT_DYLIB_PATH", library)));
        let output = command.output().expect("Debian's gstreamer1.0-tools");
        let (text, log) = (output.stdout, output.stderr);
        let log = String::from_utf8_lossy(&log).into_owned();
        assert!(output.status.success(), "{log}");
        (String::from_utf8_lossy(&text).into_owned(), log)
    };
    // With ONNX Runtime nowhere, and with whatever the system has.
    for library in [Some("/nowhere/libonnxruntime.so"), None] {
        let (text, _) = start(library, "gst-inspect-1.0", "retinafacedetect");
        assert!(text.contains(&plugins.display().to_string()), "{text}");
        let (text, log) = start(
            library,
            "gst-launch-1.0",
            &format!(
                "-m filesrc location={} ! pngdec ! videoconvert ! \
                 retinafacedetect messages=every-frame ! retinafaceoverlay ! fakesink",
                common::media("astronaut.png").display()
            ),
        );
        let faces = text.lines().find(|line| line.contains("facedetect, timestamp"));
        assert_eq!(faces.map(|line| line.matches("confidence").count()), Some(1), "{text}{log}");
        assert!(log.contains("provider: Native"), "{log}");
        assert!(!text.contains("WARNING") && !log.contains("ONNX Runtime: "), "{text}{log}");
    }
}
