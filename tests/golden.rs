// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faces in real pictures, compared with what independent implementations find in them: everywhere
//! in the pictures that scripts/setup fetches (golden/make.py), and in more where RETINAFACE_SHARED
//! names a folder with them.

mod common;

use std::{fs, path::Path};

use gstretinaface::{face::Face, geometry::Rect};
use serde_json::Value;

/// Those that compute on any machine, with kernels of their own each.
const PROVIDERS: [&str; 2] = ["native", "cpu"];
/// The default of `score-threshold`.
const SCORE_THRESHOLD: f32 = 0.6;
/// Two implementations of the same arithmetic differ in the last digits, so a face this close to
/// the threshold may be on either side of it.
const NEAR_THRESHOLD: f32 = 0.001;

struct Expected {
    bounds: Rect,
    score: f32,
    landmarks: Vec<f32>,
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
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
        let expected = Expected {
            bounds: Rect::new(b[0], b[1], b[2], b[3]),
            score: face["score"].as_f64().expect("a score") as f32,
            landmarks: floats(&face["landmarks"]),
        };
        assert_eq!(expected.landmarks.len(), 10);
        expected
    };
    value.as_array().expect("faces").iter().map(face).collect()
}

/// Every expected face over the threshold is found, as it should be, and no other.
fn check(name: &str, mut found: Vec<Face>, expected: &[Expected], threshold: f32) {
    for face in expected.iter().filter(|face| face.score >= threshold - NEAR_THRESHOLD) {
        let iou = |found: &Face| found.bounds.iou(&face.bounds);
        let best = (0..found.len()).max_by(|&a, &b| iou(&found[a]).total_cmp(&iou(&found[b])));
        let best = best.filter(|&best| iou(&found[best]) >= 0.99);
        let Some(best) = best else {
            let near = face.score < threshold + NEAR_THRESHOLD;
            assert!(near, "{name}: no {:?} ({}) among {found:?}", face.bounds, face.score);
            continue;
        };
        // Each face found stands for one that is expected.
        let found = found.swap_remove(best);
        let score = found.confidence.expect("the detector gives a confidence");
        assert!((score - face.score).abs() <= 0.005, "{name}: score {score} for {}", face.score);
        let landmarks = found.landmarks.expect("the network gives landmarks").0;
        let values = landmarks.iter().flat_map(|point| [point.x, point.y]);
        for (found, expected) in values.zip(&face.landmarks) {
            assert!((found - expected).abs() <= 0.5, "{name}: {found} for {expected}");
        }
    }
    assert!(found.is_empty(), "{name}: {found:?} are not among the expected faces");
}

/// The settings are those of golden/make.py: both resize methods, all levels and two, and thresholds
/// so low that the pixel which suppression adds to each side decides what is kept.
#[test]
fn fetched_pictures_have_the_golden_faces() {
    let golden =
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mobilenet025.json"));
    let mut compared = 0;
    for result in golden.as_array().expect("results") {
        let picture = result["picture"].as_str().expect("a name");
        let path = common::media(picture);
        assert!(path.is_file(), "{} is missing: run scripts/setup", path.display());
        let properties: Vec<_> = result["properties"]
            .as_object()
            .expect("properties")
            .iter()
            .map(|(name, value)| format!("{name}={}", value.to_string().trim_matches('"')))
            .collect();
        let properties = format!("max-size=0 {}", properties.join(" "));
        let threshold = result["properties"]["score-threshold"].as_f64().expect("a number") as f32;
        let expected = expected(&result["faces"]);
        compared += expected.len();
        for provider in PROVIDERS {
            let properties = format!("{properties} execution-provider={provider}");
            let found = common::faces(&path, "BGR", &properties);
            check(&format!("{picture} {properties}"), found, &expected, threshold);
        }
    }
    // One in each of two pictures at four settings, and those of the low thresholds.
    assert_eq!(compared, 15);
}

/// At the picture's own size, as the reference does.
fn check_shared_pictures(test: &str, strides: &str) {
    let Some(shared) = common::shared(test) else { return };
    let golden = read(&shared.join("golden/mobilenet025.json"));
    let pictures = golden.as_object().expect("pictures");
    assert!(pictures.len() >= 14);
    for (name, picture) in pictures {
        let expected = expected(&picture[format!("strides={strides}")]);
        for provider in PROVIDERS {
            let strides = strides.replace(',', "+");
            let properties = format!("max-size=0 strides={strides} execution-provider={provider}");
            let found = common::faces(&shared.join("images").join(name), "BGR", &properties);
            check(&format!("{name} {properties}"), found, &expected, SCORE_THRESHOLD);
        }
    }
}

#[test]
fn every_level_finds_the_golden_faces() {
    check_shared_pictures("every_level_finds_the_golden_faces", "8,16,32");
}

#[test]
fn two_levels_find_the_golden_faces() {
    check_shared_pictures("two_levels_find_the_golden_faces", "16,32");
}

/// The networks of the program that this element replaces, against what that program itself finds:
/// blue, green and red from 0 to 255, no landmarks.
#[test]
fn the_replaced_programs_networks_find_its_golden_faces() {
    let Some(shared) = common::shared("the_replaced_programs_networks_find_its_golden_faces")
    else {
        return;
    };
    let golden = read(&shared.join("golden/replaced_program.json"));
    let mut compared = 0;
    for (name, picture) in golden.as_object().expect("pictures") {
        for (key, rows) in picture.as_object().expect("results") {
            let (network, scale) = key.split_once('@').expect("a network and a scale");
            let model = shared.join("models").join(format!("{network}.onnx"));
            let properties = format!(
                "model-file=\"{}\" max-size=0 channel-order=bgr scale={scale} scale-method=nearest \
                 execution-provider=native",
                model.display()
            );
            let found = common::faces(&shared.join("images").join(name), "BGR", &properties);
            for row in rows.as_array().expect("rows").iter().map(floats) {
                // MXNet and ONNX Runtime differ by more than two runs of one of them.
                if row[4] < SCORE_THRESHOLD + 0.01 {
                    continue;
                }
                let bounds = Rect::new(row[0], row[1], row[2], row[3]);
                let iou = |face: &&Face| face.bounds.iou(&bounds);
                let face = found.iter().max_by(|a, b| iou(a).total_cmp(&iou(b))).expect("a face");
                assert!(iou(&face) >= 0.9, "{name}, {key}: IoU {} for {bounds:?}", iou(&face));
                let score = face.confidence.expect("a score");
                assert!((score - row[4]).abs() < 0.03, "{name}, {key}: {score} for {}", row[4]);
                assert_eq!(face.landmarks, None);
                compared += 1;
            }
            let expected: Vec<_> = rows.as_array().expect("rows").iter().map(floats).collect();
            for face in found.iter().filter(|face| face.confidence > Some(0.63)) {
                let known = |row: &Vec<f32>| {
                    face.bounds.iou(&Rect::new(row[0], row[1], row[2], row[3])) >= 0.9
                };
                assert!(expected.iter().any(known), "{name}, {key}: {face:?} is one too many");
            }
        }
    }
    assert!(compared > 100, "{compared} faces compared");
}

/// Chroma subsampling blurs colours, so boxes move a little and faces near the threshold come and
/// go.
#[test]
fn formats_agree() {
    let mut pictures = vec![common::media("astronaut.png")];
    if let Some(shared) = common::shared("formats_agree") {
        pictures.extend(["1.png", "test.png"].map(|name| shared.join("images").join(name)));
    }
    for path in pictures {
        let name = path.display();
        let reference = common::faces(&path, "BGR", "max-size=0 score-threshold=0.8");
        assert!(!reference.is_empty(), "{name}");
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

/// Networks of other families, with a threshold of 0.5, against references that give them the picture at
/// its own size, padded to a multiple of 32.
fn check_family(test: &str, network: &str, properties: &str) {
    let Some(shared) = common::shared(test) else { return };
    let golden = read(&shared.join(format!("golden/{network}.json")));
    let model = shared.join(format!("models/{network}.onnx"));
    let properties =
        format!("model-file=\"{}\" max-size=0 score-threshold=0.5 {properties}", model.display());
    let mut compared = 0;
    for (name, faces) in golden.as_object().expect("pictures") {
        let mut found = common::faces(&shared.join("images").join(name), "BGR", &properties);
        for face in expected(faces).iter().filter(|face| face.score >= 0.6) {
            let iou = |found: &Face| found.bounds.iou(&face.bounds);
            let best = (0..found.len()).max_by(|&a, &b| iou(&found[a]).total_cmp(&iou(&found[b])));
            let best = best.filter(|&best| iou(&found[best]) >= 0.95);
            let best = best.unwrap_or_else(|| panic!("{name}: no {:?}", face.bounds));
            let found = found.swap_remove(best);
            let score = found.confidence.expect("a confidence");
            assert!((score - face.score).abs() <= 0.02, "{name}: {score} for {}", face.score);
            let side = face.bounds.width().max(face.bounds.height());
            let points = found.landmarks.expect("landmarks").0;
            let values = points.iter().flat_map(|point| [point.x, point.y]);
            for (found, expected) in values.zip(&face.landmarks) {
                assert!((found - expected).abs() <= 0.02 * side, "{name}: {found} for {expected}");
            }
            compared += 1;
        }
        let extra = found.iter().find(|face| face.confidence > Some(0.62));
        assert!(extra.is_none(), "{name}: {extra:?} is not expected");
    }
    assert!(compared > 100, "{compared} faces compared");
}

#[test]
fn scrfd_finds_its_golden_faces() {
    check_family("scrfd_finds_its_golden_faces", "scrfd_500m_kps", "execution-provider=native");
}

#[test]
fn scrfd_finds_its_golden_faces_with_several_in_flight() {
    let test = "scrfd_finds_its_golden_faces_with_several_in_flight";
    check_family(test, "scrfd_500m_kps", "execution-provider=cpu in-flight=2");
}

#[test]
fn yunet_finds_its_golden_faces() {
    for provider in PROVIDERS {
        let properties = format!("iou-threshold=0.3 execution-provider={provider}");
        check_family("yunet_finds_its_golden_faces", "yunet_n_dynamic", &properties);
    }
}
