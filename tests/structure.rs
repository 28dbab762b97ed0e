// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which part of the source may know which crate.

use std::{fs, path::Path};

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            let text = fs::read_to_string(&path).expect("text");
            found.push((path.display().to_string(), text));
        }
    }
}

/// Whether the code, comments aside, names the crate.
fn uses(text: &str, name: &str) -> bool {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| {
        line.match_indices(name).any(|(at, _)| {
            !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
                && line[at + name.len()..].starts_with("::")
        })
    })
}

#[test]
fn crates_stay_where_they_belong() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20);
    for (path, text) in files {
        let place = path.strip_prefix(&format!("{}/", root.display())).expect("in src");
        let gstreamer = ["lib.rs", "gstreamer/", "retinafacedetect/", "retinafaceoverlay/"];
        if !gstreamer.iter().any(|allowed| place.starts_with(allowed)) {
            for name in ["gst", "gst_base", "gst_video", "glib"] {
                assert!(!uses(&text, name), "{place} uses {name}");
            }
        }
        if !place.starts_with("inference/") {
            assert!(!uses(&text, "ort"), "{place} uses ort");
        }
    }
}
