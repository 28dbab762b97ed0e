// SPDX-License-Identifier: MIT OR Apache-2.0

//! One network exported in every way that people export networks: the element finds the faces that
//! ONNX Runtime finds with the file as it is, and the network is rewritten for speed.

#[path = "../common/mod.rs"]
mod common;
mod network;
mod numbers;
mod picture;
mod reference;
mod runtime;

use gst::prelude::*;
use gstretinaface::{
    face::Face,
    model::{InputSpec, Model},
    onnx::messages::{AttributeProto, ModelProto, NodeProto},
};
use prost::Message;

use network::{Activation, Enlargement, Export, Numbers, Outputs, STRIDES, THRESHOLD};
use picture::Picture;

/// How far the element may be from ONNX Runtime's own run.
#[derive(Clone, Copy, Debug)]
struct Tolerance {
    score: f32,
    /// Of corners and landmarks, relative to the larger side of the box.
    position: f32,
}

/// Only sums are in another order.
const ROUNDING: Tolerance = Tolerance { score: 1e-4, position: 1e-3 };

fn picture() -> Picture {
    Picture::new(192, 128)
}

/// What the element finds in the picture with this network.
fn found(file: &[u8], picture: &Picture, properties: &str) -> Result<Vec<Face>, String> {
    Ok(found_in_each(file, &[picture], properties)?.remove(0))
}

/// What the element finds in frames of one size.
fn found_in_each(
    file: &[u8],
    pictures: &[&Picture],
    properties: &str,
) -> Result<Vec<Vec<Face>>, String> {
    let frames: Vec<_> = pictures.iter().map(|picture| picture.bgr.as_slice()).collect();
    let size = (pictures[0].width, pictures[0].height);
    common::faces_in_frames(file, &frames, size, &format!("max-size=0 {properties}"))
}

fn numbers(face: &Face) -> Vec<f32> {
    let bounds = face.bounds;
    let points = face.landmarks.expect("landmarks").0;
    let points = points.iter().flat_map(|point| [point.x, point.y]);
    [bounds.x_min, bounds.y_min, bounds.x_max, bounds.y_max].into_iter().chain(points).collect()
}

/// That the faces are the same, in any order where scores may differ; one whose score is as close to
/// the threshold may be missing.
fn assert_same(found: &[Face], expected: &[Face], tolerance: Tolerance, place: &str) {
    let score = |face: &Face| face.confidence.expect("a confidence");
    let is_same = |a: &Face, b: &Face| {
        let positions = numbers(a).into_iter().zip(numbers(b));
        let mut differences = positions.map(|(a, b)| (a - b).abs());
        let side = a.bounds.width().max(a.bounds.height());
        (score(a) - score(b)).abs() <= tolerance.score
            && differences.all(|difference| difference <= tolerance.position * side)
    };
    for (ours, theirs) in [(found, expected), (expected, found)] {
        for face in ours.iter().filter(|face| score(face) > THRESHOLD + tolerance.score) {
            assert!(
                theirs.iter().any(|other| is_same(face, other)),
                "{place}: no {face:?} among {theirs:?}"
            );
        }
    }
}

/// The element finds what ONNX Runtime finds, with all levels and with two.
fn assert_faces(file: &[u8], export: &Export, picture: &Picture, tolerance: Tolerance) {
    for (strides, property) in [(&STRIDES[..], "8+16+32"), (&STRIDES[1..], "16+32")] {
        let expected = reference::faces(file, export, picture, strides);
        assert!(expected.len() >= 3, "{export:?}: only {expected:?} to compare");
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
fn activations() {
    let operators = [
        (Activation::Relu, 17),
        (Activation::LeakyRelu, 11),
        (Activation::PRelu, 17),
        (Activation::HardSwish, 17),
        (Activation::HardSigmoid, 13),
        (Activation::Clip, 11),
        (Activation::Gelu, 20),
        (Activation::Erf, 17),
        (Activation::Silu, 17),
        (Activation::Mish, 17),
    ];
    for (activation, opset) in operators {
        check(&Export { activation, opset, ..Export::default() }, ROUNDING);
    }
    let activation = Activation::HardSwish;
    check(&Export { activation, attention: true, ..Export::default() }, ROUNDING);
}

#[test]
fn channels_apart() {
    let activation = Activation::Silu;
    check(&Export { activation, split: true, ..Export::default() }, ROUNDING);
}

#[test]
fn enlargements() {
    use Enlargement::*;
    for enlargement in [Sizes, Dynamo, Scales, TransposedConvolution] {
        for batch in [Some(1), Some(4), None] {
            // Dynamo's sizes are for as many pictures as there are.
            let batch = if enlargement == Dynamo { batch.or(Some(2)) } else { batch };
            check(&Export { enlargement, batch, ..Export::default() }, ROUNDING);
        }
    }
}

/// Also where the network resizes to constants that say for how many pictures.
#[test]
fn batches() {
    let picture = picture();
    let turned = Picture { bgr: picture.bgr.iter().rev().copied().collect(), ..picture };
    let pictures = [&picture, &turned, &turned, &picture];
    for enlargement in [Enlargement::Sizes, Enlargement::Dynamo] {
        let export = Export { enlargement, ..Export::default() };
        let file = export.file(&picture);
        let found = found_in_each(&file, &pictures, "in-flight=4 batch-size=4").expect("it runs");
        assert_eq!(found.len(), pictures.len());
        for (found, picture) in found.iter().zip(pictures) {
            let expected = reference::faces(&file, &export, picture, &STRIDES);
            assert!(!expected.is_empty());
            assert_same(found, &expected, ROUNDING, &format!("{export:?}"));
        }
    }
}

#[test]
fn fixed_sizes() {
    let sizes = [(Some(192), Some(128)), (None, Some(128)), (Some(192), None)];
    for (width, height) in sizes {
        for batch in [Some(1), Some(4)] {
            check(&Export { width, height, batch, ..Export::default() }, ROUNDING);
        }
    }
}

#[test]
fn outputs_without_a_batch() {
    for outputs in [Outputs::Flat, Outputs::Squeezed, Outputs::First] {
        for (width, height) in [(None, None), (Some(192), Some(128))] {
            check(&Export { outputs, width, height, ..Export::default() }, ROUNDING);
        }
    }
}

#[test]
fn channels_last() {
    for enlargement in [Enlargement::Sizes, Enlargement::Dynamo] {
        for (batch, width) in [(Some(1), None), (Some(4), Some(192))] {
            let export = Export { enlargement, batch, width, ..Export::default() };
            check(&Export { channels_last: true, ..export }, ROUNDING);
        }
    }
}

/// The element computes with floats what ONNX Runtime rounds to 11 bits after every layer.
#[test]
fn half_and_double_precision() {
    let halves = Tolerance { score: 0.01, position: 0.02 };
    for (numbers, tolerance) in [
        (Numbers::Halves, halves),
        (Numbers::HalvesInside, halves),
        (Numbers::DoublesOutside, ROUNDING),
    ] {
        check(&Export { numbers, ..Export::default() }, tolerance);
    }
    let (width, height) = (Some(192), Some(128));
    let export = Export { numbers: Numbers::Halves, width, height, ..Export::default() };
    check(&Export { batch: Some(4), channels_last: true, ..export }, halves);
}

/// The element computes with floats what ONNX Runtime rounds to 8 bits after every layer, and so comes
/// closer to the network before it was quantised. Made-up weights make more of the rounding than trained
/// ones.
#[test]
fn eight_bits() {
    let picture = picture();
    for zero_points in [true, false] {
        for activation in [Activation::Relu, Activation::LeakyRelu] {
            let floats = Export { activation, ..Export::default() };
            let expected = reference::faces(&floats.file(&picture), &floats, &picture, &STRIDES);
            let numbers = Numbers::Quantised { zero_points };
            let export = Export { numbers, ..floats };
            check(&export, Tolerance { score: 0.15, position: 0.15 });
            let found = found(&export.file(&picture), &picture, "").expect("it runs");
            let tolerance = Tolerance { score: 0.02, position: 0.02 };
            assert_same(&found, &expected, tolerance, &format!("{export:?}"));
        }
    }
}

/// A network whose boxes are rearranged behind the last convolutions in a way that is not followed: twice
/// the other way round.
fn not_followed(picture: &Picture) -> Vec<u8> {
    let file = Export::default().file(picture);
    let mut model = ModelProto::decode(file.as_slice()).expect("an ONNX file");
    let graph = model.graph.as_mut().expect("a graph");
    let boxes = graph.node.iter_mut().find(|node| node.output[0] == "loc").expect("boxes");
    boxes.output[0] = "boxes".into();
    for (input, output) in [("boxes", "turned"), ("turned", "loc")] {
        graph.node.push(NodeProto {
            op_type: Some("Transpose".into()),
            attribute: vec![AttributeProto::new_ints("perm", &[0, 2, 1])],
            input: vec![input.into()],
            output: vec![output.into()],
            ..NodeProto::default()
        });
    }
    model.encode_to_vec()
}

#[test]
fn a_network_that_is_not_rewritten_says_so_once() {
    common::init();
    let picture = picture();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("network.onnx");
    for (file, expected) in [(not_followed(&picture), 1), (Export::default().file(&picture), 0)] {
        std::fs::write(&path, file).expect("a file");
        let pipeline = gst::parse::launch(&format!(
            "concat name=c ! retinafacedetect model-file=\"{}\" in-flight=2 ! fakesink \
             videotestsrc num-buffers=3 ! video/x-raw,width=192,height=128 ! c. \
             videotestsrc num-buffers=3 ! video/x-raw,width=96,height=64 ! c.",
            path.display()
        ));
        let pipeline = pipeline.expect("a pipeline");
        let bus = pipeline.bus().expect("a bus");
        pipeline.set_state(gst::State::Playing).expect("it starts");
        let mut warnings = Vec::new();
        loop {
            let message = bus.timed_pop(gst::ClockTime::from_seconds(60)).expect("it ends");
            match message.view() {
                gst::MessageView::Eos(_) => break,
                gst::MessageView::Error(error) => panic!("{}", error.error()),
                gst::MessageView::Warning(warning) => warnings.push(warning.error().to_string()),
                _ => {}
            }
        }
        pipeline.set_state(gst::State::Null).expect("it stops");
        assert_eq!(warnings.len(), expected, "{warnings:?}");
        let why = "the convolutions behind the network's outputs were not found";
        assert!(warnings.iter().all(|warning| warning.contains(why)), "{warnings:?}");
    }
}
