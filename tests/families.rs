// SPDX-License-Identifier: MIT OR Apache-2.0

//! A tiny network of each family, whose only face is worked out by hand.
//!
//! Each level reads one pixel a cell, the one at its corner, and makes its numbers of the three channels
//! of that pixel. The frame is black but for one pixel, so that one cell of stride 16 has a face. Its
//! first landmarks are the channels themselves: they show in which order and with which mean and scale
//! the network got them.

mod common;

use common::graph::{Build, value};
use gstretinaface::{
    face::Face,
    onnx::messages::{AttributeProto, DataType, ModelProto, NodeProto, TypeValue},
};
use prost::Message;

const SIZE: usize = 64;
/// The pixel's column and row: of cell (1, 2) of stride 16.
const PIXEL: (usize, usize) = (16, 32);
const BGR: [u8; 3] = [200, 100, 50];

/// A value that a head gives at a cell: what each channel is multiplied with, and what is added.
type Row = ([f32; 3], f32);

const NEVER: Row = ([0.0; 3], -20.0);

fn always(value: f32) -> Row {
    ([0.0; 3], value)
}

/// What a face's landmarks are: `factor` times each channel, then zeros.
fn landmarks(factor: f32) -> Vec<Row> {
    let channel = |index: usize| {
        let mut weights = [0.0; 3];
        weights[index] = factor;
        (weights, 0.0)
    };
    [0, 1, 2].map(channel).into_iter().chain([always(0.0); 7]).collect()
}

impl Build {
    /// The pixels at the corners of cells.
    fn features(&mut self, input: &str, stride: i64) -> String {
        let weights = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        let weights = self.floats(&[3, 3, 1, 1], &weights);
        self.node("Conv", &[input, &weights], &[("strides", &[stride, stride])])
    }

    fn head(&mut self, features: &str, rows: &[Row]) -> String {
        let weights: Vec<f32> = rows.iter().flat_map(|row| row.0).collect();
        let bias: Vec<f32> = rows.iter().map(|row| row.1).collect();
        let count = rows.len() as i64;
        let weights = self.floats(&[count, 3, 1, 1], &weights);
        let bias = self.floats(&[count], &bias);
        self.node("Conv", &[features, &weights, &bias], &[])
    }

    fn channels_last(&mut self, value: &str, shape: &[i64]) -> String {
        let last = self.node("Transpose", &[value], &[("perm", &[0, 2, 3, 1])]);
        let shape = self.integers(shape);
        self.node("Reshape", &[&last, &shape], &[])
    }

    /// `[1, values, cells]` plus nothing, of which there is one for each cell.
    fn add_counted_zeros(&mut self, values: &str) -> String {
        let [zero, one, two] = [0, 1, 2].map(|number| self.integer_scalar(number));
        let shape = self.node("Shape", &[values], &[]);
        let cells = self.node("Gather", &[&shape, &two], &[]);
        let counted = self.node("Range", &[&zero, &cells, &one], &[]);
        let nothing = self.node("Mul", &[&counted, &zero], &[]);
        let nothing = self.node("Cast", &[&nothing], &[("to", &[DataType::Float as i64])]);
        self.node("Add", &[values, &nothing], &[])
    }

    fn output(&mut self, name: &str, rank: usize) {
        self.outputs.push(value(name, &vec![None; rank]));
    }

    fn file(self) -> Vec<u8> {
        self.finish(value("image", &[Some(1), Some(3), None, None]), 13).encode_to_vec()
    }
}

/// The only face that the element finds in the frame.
fn face(network: &[u8], properties: &str) -> Face {
    let mut frame = vec![0; SIZE * SIZE * 3];
    frame[3 * (PIXEL.1 * SIZE + PIXEL.0)..][..3].copy_from_slice(&BGR);
    let faces = common::faces_in_frames(network, &[&frame], (SIZE, SIZE), properties);
    let faces = faces.expect("it runs").remove(0);
    let [face] = faces[..] else { panic!("not one face, but {faces:?}") };
    face
}

/// Bounds, score, and the three coordinates that are channels.
fn assert_face(face: &Face, bounds: [f32; 4], score: f32, channels: Option<[f32; 3]>) {
    let found = face.bounds;
    let found = [found.x_min, found.y_min, found.x_max, found.y_max];
    let close = |found: &[f32], expected: &[f32]| {
        found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-3)
    };
    assert!(close(&found, &bounds), "{found:?} for {bounds:?}");
    let confidence = face.confidence.expect("a score");
    assert!((confidence - score).abs() < 1e-4, "{confidence} for {score}");
    let points = face.landmarks.map(|points| [points.0[0].x, points.0[0].y, points.0[1].x]);
    match (points, channels) {
        (Some(found), Some(expected)) => {
            assert!(close(&found, &expected), "{found:?} for {expected:?}");
        }
        (found, expected) => assert_eq!(found, expected),
    }
}

/// How scores leave the network.
#[derive(Clone, Copy, PartialEq)]
enum Scores {
    Softmax,
    Raw,
    Sigmoid,
}

/// A network of Pytorch_Retinaface. `before` makes what the levels read of the input, in which the
/// pixel's first channel less 104 is to be 96.
fn pytorch(
    anchors: &[(i64, usize)],
    scores: Scores,
    before: impl Fn(&mut Build) -> String,
) -> Vec<u8> {
    let mut build = Build::default();
    let input = before(&mut build);
    let mut parts = [Vec::new(), Vec::new(), Vec::new()];
    for &(stride, anchors) in anchors {
        let features = build.features(&input, stride);
        // A face is more than its background by 0.01 · 96 = 0.96, where a black pixel is less.
        let face: Row = if stride == 16 { ([0.01, 0.0, 0.0], 0.0) } else { NEVER };
        let last = |index: usize| index + 1 == anchors;
        let rows =
            (0..anchors).flat_map(|anchor| [always(0.0), if last(anchor) { face } else { NEVER }]);
        let box_rows = [1.0, -1.0, -5.0 * std::f32::consts::LN_2, 0.0].map(always).repeat(anchors);
        let heads = [box_rows, rows.collect(), landmarks(0.01).repeat(anchors)];
        for ((rows, values), parts) in heads.iter().zip([4, 2, 10]).zip(&mut parts) {
            let head = build.head(&features, rows);
            parts.push(build.channels_last(&head, &[1, -1, values]));
        }
    }
    // Landmarks first, for once.
    for (index, parts) in parts.iter().enumerate().rev() {
        let parts: Vec<_> = parts.iter().map(String::as_str).collect();
        let mut all = build.node("Concat", &parts, &[("axis", &[1])]);
        if index == 1 && scores == Scores::Softmax {
            all = build.node("Softmax", &[&all], &[("axis", &[-1])]);
        } else if index == 1 && scores == Scores::Sigmoid {
            all = build.node("Sigmoid", &[&all], &[]);
        }
        build.outputs.push(value(&all, &[Some(1), None, Some([4, 2, 10][index])]));
    }
    build.file()
}

const RETINAFACE: [(i64, usize); 3] = [(8, 2), (16, 2), (32, 2)];

/// The prior of side 128 at cell (1, 2): its centre is ((1 + 0.5)·16, (2 + 0.5)·16) = (24, 40). The box has
/// its centre at (24 + 1·0.1·128, 40 − 12.8) = (36.8, 27.2) and is 128·e^(−0.2·5·ln 2) = 64 wide and 128
/// high. The channels less the mean are 96, −17 and −73: landmarks at 24 + 12.8·0.96, 40 − 12.8·0.17 and
/// 24 − 12.8·0.73.
const PYTORCH_BOUNDS: [f32; 4] = [4.8, -36.8, 68.8, 91.2];
const PYTORCH_CHANNELS: [f32; 3] = [36.288, 37.824, 14.656];
/// 1/(1 + e^−0.96)
const PYTORCH_SCORE: f32 = 0.723_121_8;

#[test]
fn retinaface_pytorch() {
    for scores in [Scores::Softmax, Scores::Raw, Scores::Sigmoid] {
        let network = pytorch(&RETINAFACE, scores, |_| "image".into());
        for properties in ["", "model-family=retinaface-pytorch", "in-flight=2"] {
            let face = face(&network, properties);
            assert_face(&face, PYTORCH_BOUNDS, PYTORCH_SCORE, Some(PYTORCH_CHANNELS));
        }
    }
}

/// The mean is subtracted once, wherever; the element finds out what is left to it.
#[test]
fn a_mean_inside_the_graph() {
    let mean = [104.0, 117.0, 123.0];
    let networks = [
        pytorch(&RETINAFACE, Scores::Softmax, |build| {
            let mean = build.floats(&[1, 3, 1, 1], &mean);
            build.node("Sub", &["image", &mean], &[])
        }),
        // From 0 to 1.
        pytorch(&RETINAFACE, Scores::Softmax, |build| {
            let (mean, scale) = (build.floats(&[1, 3, 1, 1], &mean), build.floats(&[], &[255.0]));
            let scaled = build.node("Mul", &["image", &scale], &[]);
            build.node("Sub", &[&scaled, &mean], &[])
        }),
        // From RGB.
        pytorch(&RETINAFACE, Scores::Softmax, |build| {
            let (mean, order) = (build.floats(&[1, 3, 1, 1], &mean), build.integers(&[2, 1, 0]));
            let bgr = build.node("Gather", &["image", &order], &[("axis", &[1])]);
            build.node("Sub", &[&bgr, &mean], &[])
        }),
    ];
    for network in networks {
        assert_face(&face(&network, ""), PYTORCH_BOUNDS, PYTORCH_SCORE, Some(PYTORCH_CHANNELS));
    }
}

/// A cast of bytes is a network of bytes from 0 to 255, blue first.
#[test]
fn an_input_of_bytes() {
    let network = pytorch(&RETINAFACE, Scores::Softmax, |build| {
        let to_float = [("to", &[DataType::Float as i64][..])];
        let floats = build.node("Cast", &["image"], &to_float);
        let mean = build.floats(&[1, 3, 1, 1], &[104.0, 117.0, 123.0]);
        build.node("Sub", &[&floats, &mean], &[])
    });
    let mut model = ModelProto::decode(network.as_slice()).expect("an ONNX file");
    let input = &mut model.graph.as_mut().expect("a graph").input[0];
    match input.r#type.as_mut().and_then(|declared| declared.value.as_mut()) {
        Some(TypeValue::Tensor(tensor)) => tensor.elem_type = Some(DataType::Uint8 as i32),
        _ => panic!("no tensor"),
    }
    let face = face(&model.encode_to_vec(), "");
    assert_face(&face, PYTORCH_BOUNDS, PYTORCH_SCORE, Some(PYTORCH_CHANNELS));
}

/// What people set for networks that they trained themselves. Of 50, 100 and 200, less a mean, times a
/// scale: the score is 1/(1 + e^(−0.01·first)).
#[test]
fn order_mean_and_scale_can_be_set() {
    let network = pytorch(&RETINAFACE, Scores::Softmax, |_| "image".into());
    let channels = |values: [f32; 3]| {
        let [first, second, third] = values.map(|value| 12.8 * 0.01 * value);
        Some([24.0 + first, 40.0 + second, 24.0 + third])
    };
    // (50 − 0)·1, with a threshold that its score is over.
    let found = face(&network, "channel-order=rgb pixel-mean=0,0,0 score-threshold=0.55");
    assert_face(&found, PYTORCH_BOUNDS, 0.622_459, channels([50.0, 100.0, 200.0]));
    // In the order of the channels.
    let found = face(&network, "channel-order=rgb pixel-mean=0,50,100 score-threshold=0.55");
    assert_face(&found, PYTORCH_BOUNDS, 0.622_459, channels([50.0, 50.0, 100.0]));
    // (200 − 100)·2
    let found = face(&network, "pixel-mean=100 pixel-scale=2");
    assert_face(&found, PYTORCH_BOUNDS, 0.880_797, channels([200.0, 0.0, -100.0]));
}

/// Slim and RFB: the larger prior at stride 16 has a side of 48. The centre is 4.8 to the right and above,
/// the box 24 wide and 48 high.
#[test]
fn slim() {
    let network =
        pytorch(&[(8, 3), (16, 2), (32, 2), (64, 3)], Scores::Softmax, |_| "image".into());
    let bounds = [28.8 - 12.0, 35.2 - 24.0, 28.8 + 12.0, 35.2 + 24.0];
    let channels = [24.0 + 4.8 * 0.96, 40.0 - 4.8 * 0.17, 24.0 - 4.8 * 0.73];
    assert_face(&face(&network, ""), bounds, PYTORCH_SCORE, Some(channels));
}

/// A network of InsightFace, with outputs of any name.
fn insightface(with_landmarks: bool) -> Vec<u8> {
    let mut build = Build::default();
    for stride in [32, 16, 8] {
        let features = build.features("image", stride);
        // 0.01·200 − 1 of the pixel, −1 of a black one.
        let face = if stride == 16 { ([0.0, 0.0, 0.01], -1.0) } else { NEVER };
        let head = build.head(&features, &[always(0.0), always(0.0), face, NEVER]);
        let (pairs, channels) = (build.integers(&[0, 2, -1, 0]), build.integers(&[0, 4, -1, 0]));
        let scores = build.node("Reshape", &[&head, &pairs], &[]);
        let scores = build.node("Softmax", &[&scores], &[("axis", &[1])]);
        let scores = build.node("Reshape", &[&scores, &channels], &[]);
        build.output(&scores, 4);
        let rows = [0.25, -0.5, 0.0, -std::f32::consts::LN_2].map(always).repeat(2);
        let boxes = build.head(&features, &rows);
        build.output(&boxes, 4);
        if with_landmarks {
            let points = build.head(&features, &landmarks(0.01).repeat(2));
            build.output(&points, 4);
        }
    }
    build.file()
}

/// The anchor of side 128 at cell (1, 2), the first: its centre is (16 + 8, 32 + 8), or half a pixel less in
/// networks with landmarks. The box has its centre at (24 + 0.25·128, 40 − 0.5·128) = (56, −24), is 128
/// pixels wide and 64 high, the last of them included. Red is first: landmarks at 0.5, 1 and 2 times 128
/// from the centre.
#[test]
fn insightface_with_and_without_landmarks() {
    let bounds = [56.0 - 63.5, -24.0 - 31.5, 56.0 + 63.5, -24.0 + 31.5];
    // 1/(1 + e^−1)
    let score = 0.731_058_6;
    for properties in ["", "model-family=insightface"] {
        assert_face(&face(&insightface(false), properties), bounds, score, None);
        let bounds = bounds.map(|side| side - 0.5);
        let channels = [23.5 + 64.0, 39.5 + 128.0, 23.5 + 256.0];
        assert_face(&face(&insightface(true), properties), bounds, score, Some(channels));
    }
}

/// Where the structure is not recognised, by names that converters have put something around.
#[test]
fn insightface_with_names() {
    let kinds = ["cls_prob_reshape", "bbox_pred", "landmark_pred"];
    let mut model = ModelProto::decode(insightface(true).as_slice()).expect("an ONNX file");
    let graph = model.graph.as_mut().expect("a graph");
    for (index, output) in graph.output.iter_mut().enumerate() {
        let name = format!("net/face_rpn_{}_stride{}_output", kinds[index % 3], 32 >> (index / 3));
        let turned = format!("{name} turned");
        // There and back.
        for (input, output) in [(output.name(), turned.as_str()), (&turned, &name)] {
            graph.node.push(NodeProto {
                op_type: Some("Transpose".into()),
                attribute: vec![AttributeProto::new_ints("perm", &[0, 1, 3, 2])],
                input: vec![input.into()],
                output: vec![output.into()],
                ..NodeProto::default()
            });
        }
        output.name = Some(name);
    }
    // In any order.
    graph.output.reverse();
    let face = face(&model.encode_to_vec(), "");
    assert_face(&face, [-8.0, -56.0, 119.0, 7.0], 0.731_058_6, Some([87.5, 167.5, 279.5]));
}

/// Where each level has an output of its own, channels last; `scale` multiplies the boxes in a node of
/// its own, as SCRFD's larger networks do.
fn levels(heads: &[(&str, Vec<Row>, i64)], scale: Option<f32>) -> Vec<u8> {
    let mut build = Build::default();
    for stride in [8, 16, 32] {
        let features = build.features("image", stride);
        for (kind, rows, values) in heads {
            let never: Vec<_> = rows.iter().map(|_| NEVER).collect();
            let rows = if *kind == "scores" && stride != 16 { &never } else { rows };
            let mut head = build.head(&features, rows);
            if let (Some(scale), "boxes") = (scale, *kind) {
                let scale = build.floats(&[], &[scale]);
                head = build.node("Mul", &[&head, &scale], &[]);
            }
            let mut output = build.channels_last(&head, &[1, -1, *values]);
            if matches!(*kind, "scores" | "objectness") {
                output = build.node("Sigmoid", &[&output], &[]);
            }
            build.output(&output, 3);
        }
    }
    build.file()
}

/// At the corner (16, 32) of cell (1, 2), in strides of 16 pixels: 1 to the left, 0.5 up, 2 to the right,
/// 0.25 down. Red, green and blue are (v − 127.5)/128 = −0.605, −0.215 and 0.566; so far from the
/// corner are the landmarks.
#[test]
fn scrfd_with_and_without_key_points() {
    // 2·0.566406, of a black pixel 2·−0.996094.
    let scores = vec![NEVER, ([0.0, 0.0, 2.0], 0.0)];
    let boxes = |scale: f32| [1.0, 0.5, 2.0, 0.25].map(|side| always(side / scale)).repeat(2);
    let bounds = [0.0, 24.0, 48.0, 36.0];
    // 1/(1 + e^−1.132813)
    let score = 0.756_374;
    let channels = [16.0 - 9.6875, 32.0 - 3.4375, 16.0 + 9.0625];
    for scale in [None, Some(0.5)] {
        let boxes = ("boxes", boxes(scale.unwrap_or(1.0)), 4);
        let without = [("scores", scores.clone(), 1), boxes.clone()];
        let points = ("landmarks", landmarks(1.0).repeat(2), 10);
        let with = [boxes, ("scores", scores.clone(), 1), points];
        for properties in ["", "model-family=scrfd"] {
            assert_face(&face(&levels(&without, scale), properties), bounds, score, None);
            assert_face(&face(&levels(&with, scale), properties), bounds, score, Some(channels));
        }
    }
}

/// At cell (1, 2) of stride 16: the centre is ((1 + 0.5)·16, (2 + 0.25)·16) = (24, 36), the box 2·16 wide
/// and 16 high. Landmarks are (1 + 0.001·200)·16, (2 + 0.001·100)·16 and (1 + 0.001·50)·16.
#[test]
fn yunet() {
    let heads = [
        // 0.01·200 − 1, of a black pixel −1.
        ("scores", vec![([0.01, 0.0, 0.0], -1.0)], 1),
        ("objectness", vec![always(2.0)], 1),
        ("boxes", [0.5, 0.25, std::f32::consts::LN_2, 0.0].map(always).to_vec(), 4),
        ("landmarks", landmarks(0.001), 10),
    ];
    // √(1/(1 + e^−1) · 1/(1 + e^−2)) = √(0.731059 · 0.880797)
    let score = 0.802_438;
    for properties in ["", "model-family=yunet"] {
        let face = face(&levels(&heads, None), properties);
        assert_face(&face, [8.0, 28.0, 40.0, 44.0], score, Some([19.2, 33.6, 16.8]));
    }
}

/// YOLO networks give pixels: a box of 20×10 around (30, 40). Red, green and blue, from 0 to 1, are 0.196,
/// 0.392 and 0.784: landmarks at a hundred times that. The score is 1/(1 + e^(−2·0.784)), a black pixel's
/// 0.5.
#[test]
fn yolo() {
    let score: Row = ([0.0, 0.0, 2.0], 0.0);
    let channels = [100.0 * 50.0 / 255.0, 100.0 * 100.0 / 255.0, 100.0 * 200.0 / 255.0];
    let bounds = [20.0, 35.0, 40.0, 45.0];
    // With open sizes, Ultralytics counts the cells in the graph and leaves the numbers of values open.
    for (visibility, open) in [(false, false), (true, false), (true, true)] {
        let mut points = landmarks(100.0);
        if visibility {
            // Behind each point.
            points = points.chunks(2).flat_map(|point| [point[0], point[1], always(7.0)]).collect();
        }
        let heads = [[30.0, 40.0, 20.0, 10.0].map(always).to_vec(), vec![score], points];
        let mut build = Build::default();
        let features = [8, 16, 32].map(|stride| (stride, build.features("image", stride)));
        let parts = heads.iter().map(|rows| {
            let levels = features.iter().map(|(stride, features)| {
                let never: Vec<_> = rows.iter().map(|_| NEVER).collect();
                let rows = if rows.len() == 1 && *stride != 16 { &never } else { rows };
                let head = build.head(features, rows);
                let shape = build.integers(&[1, rows.len() as i64, -1]);
                build.node("Reshape", &[&head, &shape], &[])
            });
            let levels: Vec<_> = levels.collect();
            let levels: Vec<_> = levels.iter().map(String::as_str).collect();
            let all = build.node("Concat", &levels, &[("axis", &[2])]);
            match rows.len() {
                1 => build.node("Sigmoid", &[&all], &[]),
                4 if open => build.add_counted_zeros(&all),
                _ => all,
            }
        });
        let parts: Vec<_> = parts.collect();
        let parts: Vec<_> = parts.iter().map(String::as_str).collect();
        let output = build.node("Concat", &parts, &[("axis", &[1])]);
        let values = heads.iter().map(|rows| rows.len() as i64).sum();
        build.outputs.push(value(&output, &[Some(1), (!open).then_some(values), None]));
        let network = build.file();
        for properties in ["", "model-family=yolo"] {
            assert_face(&face(&network, properties), bounds, 0.827_588, Some(channels));
        }
    }
}

/// What the element says about a network.
fn refusal(network: &[u8], properties: &str) -> String {
    let frame = vec![0; SIZE * SIZE * 3];
    let faces = common::faces_in_frames(network, &[&frame], (SIZE, SIZE), properties);
    faces.expect_err("the network is refused")
}

/// Networks that would give wrong faces: the message says what they are.
#[test]
fn networks_that_are_not_known_are_named() {
    let decoded = || {
        let network = pytorch(&RETINAFACE, Scores::Softmax, |_| "image".into());
        let mut model = ModelProto::decode(network.as_slice()).expect("an ONNX file");
        let graph = model.graph.as_mut().expect("a graph");
        // The boxes are the last output.
        let boxes = graph.output.last_mut().expect("an output");
        graph.node.push(NodeProto {
            op_type: Some("Exp".into()),
            input: vec![boxes.name().into()],
            output: vec!["boxes".into()],
            ..NodeProto::default()
        });
        boxes.name = Some("boxes".into());
        model.encode_to_vec()
    };
    // A YOLO for 80 classes, at stride 8.
    let detector = || {
        let mut build = Build::default();
        let features = build.features("image", 8);
        let head = build.head(&features, &[NEVER; 84]);
        let shape = build.integers(&[1, 84, -1]);
        let output = build.node("Reshape", &[&head, &shape], &[]);
        build.outputs.push(value(&output, &[Some(1), Some(84), None]));
        build.file()
    };
    let three_a_cell = [(8, 3), (16, 3), (32, 3)];
    for (network, what) in [
        (decoded(), "RetinaFace (PyTorch) network that computes boxes from its anchors within"),
        (
            pytorch(&three_a_cell, Scores::Softmax, |_| "image".into()),
            "RetinaFace (PyTorch) network with other anchors: 3 at stride 8, 3 at stride 16",
        ),
        (detector(), "a YOLO detector for 80 classes"),
    ] {
        let message = refusal(&network, "");
        assert!(message.contains(what), "{message}");
    }
}

/// The message names the family, and what was expected of it.
#[test]
fn another_family_than_the_one_that_is_set() {
    let network = pytorch(&RETINAFACE, Scores::Softmax, |_| "image".into());
    let message = refusal(&network, "model-family=scrfd");
    assert!(message.contains("Expected was SCRFD: for each of the strides"), "{message}");
    let message = refusal(&network, "pixel-mean=1,2");
    assert!(message.contains("pixel-mean must be one number or three"), "{message}");
}
