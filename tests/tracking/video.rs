// SPDX-License-Identifier: MIT OR Apache-2.0

//! How well faces are followed in real videos.

use std::path::{Path, PathBuf};

use gstretinaface::{face::Face, meta};

use super::common;

/// The faces of each frame.
fn play(video: &Path, elements: &str) -> Vec<Vec<Face>> {
    let samples = common::run(&format!(
        "filesrc location=\"{}\" ! decodebin ! {elements} ! appsink name=sink",
        video.display()
    ));
    let samples = samples.expect("the video plays");
    samples.iter().map(|sample| meta::faces(sample.buffer().expect("a buffer"))).collect()
}

/// The share of `expected` faces that have one in `found` with an IoU of 0.5.
fn recall(expected: &[Vec<Face>], found: &[Vec<Face>]) -> f64 {
    assert_eq!(expected.len(), found.len(), "frames");
    let (mut hits, mut all) = (0, 0);
    for (expected, found) in expected.iter().zip(found) {
        all += expected.len();
        let is_found = |face: &&Face| found.iter().any(|f| f.bounds.iou(&face.bounds) >= 0.5);
        hits += expected.iter().filter(is_found).count();
    }
    assert!(all > 50, "only {all} faces");
    f64::from(hits as u32) / f64::from(all as u32)
}

fn videos(test: &str) -> Vec<PathBuf> {
    let mut videos = vec![common::media("carphone_pristine.mp4")];
    videos.extend(common::shared(test).map(|shared| shared.join("video/clip.mp4")));
    videos
}

#[test]
fn every_third_frame_is_enough() {
    for video in videos("every_third_frame_is_enough") {
        let expected = play(&video, "retinafacedetect");
        for properties in ["", "look-ahead=3"] {
            let tracked =
                format!("retinafacedetect inference-interval=3 ! retinafacetrack {properties}");
            let found = play(&video, &tracked);
            let (recall, precision) = (recall(&expected, &found), recall(&found, &expected));
            println!("{} {properties}: recall {recall}, precision {precision}", video.display());
            assert!(recall >= 0.95, "{} {properties}: {recall}", video.display());
            assert!(precision >= 0.85, "{} {properties}: {precision}", video.display());
        }
    }
}
