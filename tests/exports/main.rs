// SPDX-License-Identifier: MIT OR Apache-2.0

//! One network exported in every way that people export networks: the element finds the faces that
//! ONNX Runtime finds with the file as it is, and the network is rewritten for speed.

#[path = "../common/mod.rs"]
mod common;
mod network;
mod picture;
mod reference;
mod runtime;

use gstretinaface::{
    face::Face,
    meta,
    model::{InputSpec, Model},
    onnx::messages::ModelProto,
};
use prost::Message;

use network::{Activation, Export, STRIDES};
use picture::Picture;

/// How far the element may be from ONNX Runtime's own run.
#[derive(Clone, Copy, Debug)]
struct Tolerance {
    score: f32,
    /// Pixels.
    position: f32,
}

/// Only sums are in another order.
const ROUNDING: Tolerance = Tolerance { score: 1e-4, position: 0.01 };

fn picture() -> Picture {
    Picture::new(192, 128)
}

/// What the element finds in the picture with this network.
fn found(file: &[u8], picture: &Picture, properties: &str) -> Result<Vec<Face>, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("network.onnx"), file).expect("a file");
    std::fs::write(at("picture"), &picture.bgr).expect("a file");
    let samples = common::run(&format!(
        "filesrc location=\"{}\" blocksize={} ! video/x-raw,format=BGR,width={},height={},\
         framerate=1/1 ! retinafacedetect model-file=\"{}\" max-size=0 {properties} ! \
         appsink name=sink",
        at("picture").display(),
        picture.bgr.len(),
        picture.width,
        picture.height,
        at("network.onnx").display(),
    ))?;
    Ok(meta::faces(samples[0].buffer().expect("a buffer")))
}

fn numbers(face: &Face) -> Vec<f32> {
    let bounds = face.bounds;
    let points = face.landmarks.expect("landmarks").0;
    let points = points.iter().flat_map(|point| [point.x, point.y]);
    [bounds.x_min, bounds.y_min, bounds.x_max, bounds.y_max].into_iter().chain(points).collect()
}

fn assert_same(found: &[Face], expected: &[Face], tolerance: Tolerance, place: &str) {
    assert_eq!(found.len(), expected.len(), "{place}: {found:?} for {expected:?}");
    for (found, expected) in found.iter().zip(expected) {
        let score = |face: &Face| face.confidence.expect("a confidence");
        let (found_score, expected_score) = (score(found), score(expected));
        assert!(
            (found_score - expected_score).abs() <= tolerance.score,
            "{place}: a score of {found_score} for {expected_score}"
        );
        for (found, expected) in numbers(found).iter().zip(numbers(expected)) {
            let difference = (found - expected).abs();
            assert!(difference <= tolerance.position, "{place}: {found} for {expected}");
        }
    }
}

/// The element finds what ONNX Runtime finds, with all levels and with two.
fn assert_faces(file: &[u8], export: &Export, picture: &Picture, tolerance: Tolerance) {
    for (strides, property) in [(&STRIDES[..], "8+16+32"), (&STRIDES[1..], "16+32")] {
        let expected = reference::faces(file, export, picture, strides);
        assert!(expected.len() >= 4, "{export:?}: only {expected:?} to compare");
        let found = found(file, picture, &format!("strides={property}"));
        let place = format!("{export:?}, strides={property}");
        let found = found.unwrap_or_else(|err| panic!("{place}: {err}"));
        assert_same(&found, &expected, tolerance, &place);
    }
}

/// How many nodes the network has when it is rewritten for levels of these strides.
fn specialised(file: &[u8], picture: &Picture, strides: &[u32]) -> usize {
    let model = Model::parse(file).expect("a RetinaFace network");
    let spec = InputSpec::new((picture.width as u32, picture.height as u32), strides);
    let specialised = model.specialise(&spec, 1).expect("it is rewritten");
    let model = ModelProto::decode(specialised.model.as_slice()).expect("an ONNX file");
    model.graph.expect("a graph").node.len()
}

/// The network is rewritten, and does less for fewer levels.
fn assert_specialised(file: &[u8], picture: &Picture) {
    let (all, two) =
        (specialised(file, picture, &[8, 16, 32]), specialised(file, picture, &[16, 32]));
    assert!(two < all, "{two} nodes for two levels, {all} for three");
}

/// All that is wanted of an export.
fn check(export: &Export, tolerance: Tolerance) {
    let picture = picture();
    let file = export.file(&picture);
    assert_faces(&file, export, &picture, tolerance);
    assert_specialised(&file, &picture);
}

#[test]
fn float_networks() {
    for activation in [Activation::Relu, Activation::LeakyRelu] {
        check(&Export { activation, ..Export::default() }, ROUNDING);
    }
}

#[test]
fn fixed_sizes() {
    let (width, height) = (Some(192), Some(128));
    check(&Export { width, height, ..Export::default() }, ROUNDING);
}
