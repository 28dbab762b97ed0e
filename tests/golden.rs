// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faces on real photographs, against those that an independent NumPy implementation finds.

mod common;

use std::{fs, path::Path};

use gstretinaface::{face::Face, geometry::Rect};
use serde_json::Value;

const SCORE_THRESHOLD: f32 = 0.6;
/// Two implementations of the same arithmetic differ in the last digits, so a face this close to
/// the threshold may be on either side of it.
const NEAR_THRESHOLD: f32 = 0.001;

struct Expected {
    bounds: Rect,
    score: f32,
    landmarks: Vec<f32>,
}

fn floats(value: &Value) -> Vec<f32> {
    value
        .as_array()
        .expect("numbers")
        .iter()
        .map(|v| v.as_f64().expect("a number") as f32)
        .collect()
}

fn expected(value: &Value) -> Vec<Expected> {
    let face = |face: &Value| {
        let b = floats(&face["box"]);
        Expected {
            bounds: Rect::new(b[0], b[1], b[2], b[3]),
            score: face["score"].as_f64().expect("a score") as f32,
            landmarks: floats(&face["landmarks"]),
        }
    };
    value.as_array().expect("faces").iter().map(face).collect()
}

fn check(picture: &Path, found: &[Face], expected: &[Expected]) {
    let name = picture.display();
    let best = |bounds: &Rect| {
        found.iter().max_by(|a, b| a.bounds.iou(bounds).total_cmp(&b.bounds.iou(bounds)))
    };
    for face in expected.iter().filter(|face| face.score >= SCORE_THRESHOLD + NEAR_THRESHOLD) {
        let found = best(&face.bounds).unwrap_or_else(|| panic!("{name}: no faces"));
        let iou = found.bounds.iou(&face.bounds);
        assert!(iou >= 0.95, "{name}: {:?} with IoU {iou} for {:?}", found.bounds, face.bounds);
        let score = found.confidence.expect("the detector gives a confidence");
        assert!((score - face.score).abs() <= 0.02, "{name}: score {score} for {}", face.score);
        let tolerance = (0.01 * face.bounds.width().max(face.bounds.height())).max(0.5);
        let landmarks = found.landmarks.expect("the network gives landmarks").0;
        let values = landmarks.iter().flat_map(|point| [point.x, point.y]);
        for (found, expected) in values.zip(&face.landmarks) {
            assert!((found - expected).abs() <= tolerance, "{name}: {found} for {expected}");
        }
    }
    for face in found {
        let known = expected.iter().any(|expected| {
            expected.score >= SCORE_THRESHOLD - NEAR_THRESHOLD
                && expected.bounds.iou(&face.bounds) >= 0.95
        });
        assert!(known, "{name}: {face:?} is not among the expected faces");
    }
}

/// At the picture's own size. Few pictures' sides are multiples of 32: the network runs at exactly
/// the picture's size, without padding, as the reference does.
fn golden(strides: &str) {
    let Some(shared) = common::shared("golden") else { return };
    let golden = fs::read_to_string(shared.join("golden/mobilenet025.json")).expect("golden");
    let golden: Value = serde_json::from_str(&golden).expect("JSON");
    let pictures = golden.as_object().expect("pictures");
    assert!(pictures.len() >= 14);
    for (name, picture) in pictures {
        let path = shared.join("images").join(name);
        let properties = format!("max-size=0 strides={}", strides.replace(',', "+"));
        let found = common::faces(&path, "BGR", &properties);
        check(&path, &found, &expected(&picture[format!("strides={strides}")]));
    }
}

#[test]
fn every_level_finds_the_expected_faces() {
    golden("8,16,32");
}

#[test]
fn two_levels_find_the_expected_faces() {
    golden("16,32");
}

/// The networks of the program that this element replaces, against what that program itself finds:
/// blue, green and red from 0 to 255, no landmarks.
#[test]
fn the_replaced_program_s_networks_find_its_faces() {
    let Some(shared) = common::shared("replaced_program") else { return };
    let golden = fs::read_to_string(shared.join("golden/replaced_program.json")).expect("golden");
    let golden: Value = serde_json::from_str(&golden).expect("JSON");
    let mut compared = 0;
    for (name, picture) in golden.as_object().expect("pictures") {
        for (key, rows) in picture.as_object().expect("results") {
            // Scaled down, the two pick other pixels of the frame, and the faces move.
            let Some(network) = key.strip_suffix("@1.0") else { continue };
            let model = shared.join("models").join(format!("{network}.onnx"));
            let properties = format!("model-file=\"{}\" max-size=0", model.display());
            let found = common::faces(&shared.join("images").join(name), "BGR", &properties);
            for row in rows.as_array().expect("rows").iter().map(floats) {
                // MXNet and ONNX Runtime differ by more than two runs of one of them.
                if row[4] < SCORE_THRESHOLD + 0.01 {
                    continue;
                }
                let bounds = Rect::new(row[0], row[1], row[2], row[3]);
                let iou = found.iter().map(|f| f.bounds.iou(&bounds)).fold(0.0, f32::max);
                assert!(iou >= 0.95, "{name}, {key}: IoU {iou} for {bounds:?}");
                assert!(found.iter().all(|face| face.landmarks.is_none()));
                compared += 1;
            }
        }
    }
    assert!(compared > 100, "{compared} faces compared");
}

/// Chroma subsampling blurs colours, so boxes move a little and faces near the threshold come and
/// go.
#[test]
fn formats_agree() {
    let Some(shared) = common::shared("formats_agree") else { return };
    for name in ["1.png", "test.png"] {
        let path = shared.join("images").join(name);
        let reference = common::faces(&path, "BGR", "max-size=0 score-threshold=0.8");
        assert!(!reference.is_empty());
        for format in
            ["RGB", "BGRx", "xRGB", "RGBA", "NV12", "NV21", "I420", "YV12", "YUY2", "UYVY"]
        {
            let found = common::faces(&path, format, "max-size=0 score-threshold=0.7");
            for face in &reference {
                let iou = found.iter().map(|f| f.bounds.iou(&face.bounds)).fold(0.0, f32::max);
                assert!(iou >= 0.9, "{name} as {format}: IoU {iou} for {:?}", face.bounds);
            }
        }
    }
}
