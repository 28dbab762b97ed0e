// SPDX-License-Identifier: MIT OR Apache-2.0

//! The commands of README.md and docs/recipes.md are run, but for those that something else runs or that
//! the documents say have not been run.

mod common;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const DOCUMENTS: [&str; 2] = ["README.md", "docs/recipes.md"];

/// What commands have in them that are not run here, and what runs them.
const ELSEWHERE: &[(&str, &str)] = &[
    ("./scripts/test", "this is part of it"),
    ("./scripts/demo", "run before a release"),
    ("cargo build --release", "scripts/test-packages"),
    ("export GST_PLUGIN_PATH=", ".ci/run"),
    ("gst-inspect-1.0 retinafacedetect", ".ci/run"),
    ("./scripts/package deb", "scripts/test-packages"),
    ("./scripts/package wheel", "scripts/test-packages"),
    ("meson setup build", "scripts/test-packages"),
    ("./scripts/cargo-remapped cinstall", "scripts/test-packages --cargo-c"),
    ("retinaface-faces --json", "tests/publish.rs"),
    ("python3 -m http.server", "scripts/test-browser"),
    ("hlssink2", "scripts/test-browser"),
    ("python3 examples/webrtc.py", "scripts/test-browser"),
];

/// Elements that commands have which "have not been run", as the text beside them says.
const NOT_RUN: [&str; 1] = ["nvv4l2decoder"];

/// What stands for something that a test does not have, and what is there instead.
const INSTEAD: [(&str, &str); 6] = [
    ("rtspsrc location=rtsp://camera/stream latency=100", "filesrc location=video.mp4"),
    ("v4l2src device=/dev/video0", "videotestsrc num-buffers=30"),
    ("v4l2src device=/dev/video1", "videotestsrc num-buffers=30"),
    ("v4l2src", "videotestsrc num-buffers=30"),
    ("autovideosink", "fakesink"),
    ("phone.mp4", "video.mp4"),
];

/// The commands of a document: lines of indented blocks, joined where a backslash continues them. What
/// starts with an ellipsis is a part of a pipeline.
fn commands(document: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut command = String::new();
    for line in document.lines().filter_map(|line| line.strip_prefix("    ")) {
        command.push_str(line.trim_start());
        if command.ends_with('\\') {
            command.pop();
        } else if !command.starts_with('…') {
            commands.push(std::mem::take(&mut command));
        } else {
            command.clear();
        }
    }
    commands
}

/// A folder with the files that the commands read: a video with sound and a photograph.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let clip = common::media("carphone_pristine.mp4");
    launch(
        folder.path(),
        &format!(
            "gst-launch-1.0 -q filesrc location={} ! qtdemux ! h264parse ! mp4mux name=mux ! \
             filesink location=video.mp4 \
             audiotestsrc num-buffers=100 ! audioconvert ! avenc_aac ! mux.",
            clip.display()
        ),
    );
    launch(
        folder.path(),
        &format!(
            "gst-launch-1.0 -q filesrc location={} ! pngdec ! videoconvert ! jpegenc ! \
             filesink location=photo.jpg",
            common::media("astronaut.png").display()
        ),
    );
    folder
}

/// Runs a command in a folder, with the plugin as cargo has built it for this test.
fn launch(folder: &Path, command: &str) {
    let plugins = env::current_exe().expect("this test");
    let plugins = plugins.parent().expect("its folder");
    let output = Command::new("timeout")
        .args(["120", "sh", "-c", command])
        .current_dir(folder)
        .env("GST_PLUGIN_PATH", plugins.join("plugins-of-documents"))
        .env("GST_REGISTRY", folder.join("registry"))
        .output()
        .expect("a shell");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}\n{text}");
    assert!(!text.contains("WARNING: erroneous pipeline"), "{command}\n{text}");
}

/// A folder with nothing but the plugin.
fn plugin() -> PathBuf {
    let built = env::current_exe().expect("this test").with_file_name("libgstretinaface.so");
    let folder = built.with_file_name("plugins-of-documents");
    fs::create_dir_all(&folder).expect("a folder");
    fs::copy(built, folder.join("libgstretinaface.so")).expect("a copy");
    folder
}

#[test]
fn commands_in_documents_run() {
    if Command::new("gst-inspect-1.0")
        .args(["--exists", "x264enc"])
        .status()
        .is_ok_and(|s| !s.success())
    {
        eprintln!("SKIPPED: commands_in_documents_run: needs gstreamer1.0-plugins-ugly");
        return;
    }
    plugin();
    let folder = folder();
    let mut run_elsewhere = vec![false; ELSEWHERE.len()];
    for name in DOCUMENTS {
        let document = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let document = fs::read_to_string(document).expect(name);
        for command in commands(&document) {
            if let Some(place) = ELSEWHERE.iter().position(|(part, _)| command.contains(part)) {
                run_elsewhere[place] = true;
                continue;
            }
            if let Some(element) = NOT_RUN.iter().find(|element| command.contains(*element)) {
                let (before, after) = document.split_once(element).expect("it is there");
                let around = [&before[before.len().saturating_sub(900)..], &after[..900]].concat();
                assert!(around.contains("not run") || around.contains("not been run"), "{command}");
                continue;
            }
            assert!(command.starts_with("gst-launch-1.0 "), "{name}: what runs {command}?");
            let command =
                INSTEAD.iter().fold(command, |command, (is, instead)| command.replace(is, instead));
            launch(folder.path(), &command);
        }
    }
    for ((part, _), run) in ELSEWHERE.iter().zip(run_elsewhere) {
        assert!(run, "no document has a command with {part} any more");
    }
    // What they write.
    for file in
        ["faces.mp4", "faces.png", "00000.png", "face-00000.png", "person-000.png", "hidden.mp4"]
    {
        let size = fs::metadata(folder.path().join(file)).map(|file| file.len());
        assert!(size.is_ok_and(|size| size > 100), "{file}");
    }
}
