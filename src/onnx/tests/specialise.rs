// SPDX-License-Identifier: MIT OR Apache-2.0

//! Rewriting: what is left out, and what of the file stays.

use prost::Message;

use super::*;
use crate::{
    onnx::passes::specialise::{
        Channels, Head, NotSpecialised, Part, Place, Specialised, Wanted, specialise,
    },
    preprocess::{Form, Normalisation},
};

/// For a picture of 8×6 pixels: a 1×1 convolution, `between` from "f" to "g", and a head of two
/// channels that is to have `grid` cells.
fn rewritten(
    between: NodeProto,
    tensors: &[TensorProto],
    grid: (usize, usize),
) -> Result<Specialised, NotSpecialised> {
    specialise(&network(between, tensors), &wanted(grid))
}

fn network(between: NodeProto, tensors: &[TensorProto]) -> ModelProto {
    let nodes =
        [node("Conv", &["image", "first"], "f"), between, node("Conv", &["g", "head"], "h")];
    let convolutions =
        [floats("first", &[1, 3, 1, 1], &[1.0; 3]), floats("head", &[2, 1, 1, 1], &[2.0, 3.0])];
    let graph = graph_of(&nodes, &[&convolutions, tensors].concat());
    ModelProto { graph: Some(graph), ..ModelProto::default() }
}

fn wanted(grid: (usize, usize)) -> Wanted<'static> {
    let part = Part { convolution: 2, channels: Channels::All(2) };
    Wanted {
        input: "image",
        size: (8, 6),
        batch: 1,
        form: Form::Planes,
        normalisation: Normalisation::NONE,
        heads: vec![Head { name: "out".into(), grid, parts: vec![part] }],
        lanes: 1,
    }
}

fn decoded(specialised: &Specialised) -> ModelProto {
    ModelProto::decode(specialised.model.as_slice()).unwrap()
}

/// The operators of the rewritten network.
fn ops(specialised: Result<Specialised, NotSpecialised>) -> Result<Vec<String>, NotSpecialised> {
    let graph = decoded(&specialised?).graph.unwrap();
    Ok(graph.node.iter().map(|node| node.op().to_owned()).collect())
}

fn scales(values: [f32; 4]) -> TensorProto {
    floats("scales", &[4], &values)
}

#[test]
fn what_resizes_to_the_same_size_is_left_out() {
    let resize = |op: &str, mode: Option<&str>, factor: f32| {
        let resize = match op {
            "Resize" => node(op, &["f", "", "scales"], "g"),
            _ => node(op, &["f", "scales"], "g"),
        };
        let resize = match mode {
            Some(mode) => resize.with_string("mode", mode),
            None => resize,
        };
        let grid = ((8.0 * factor) as usize, (6.0 * factor) as usize);
        ops(rewritten(resize, &[scales([1.0, 1.0, factor, factor])], grid)).unwrap()
    };
    assert_eq!(resize("Resize", Some("nearest"), 1.0), ["Conv", "Conv"]);
    assert_eq!(resize("Resize", None, 1.0), ["Conv", "Conv"]);
    assert_eq!(resize("Upsample", Some("nearest"), 1.0), ["Conv", "Conv"]);
    assert_eq!(resize("Resize", Some("nearest"), 2.0), ["Conv", "Resize", "Conv"]);
    assert_eq!(resize("Upsample", Some("nearest"), 2.0), ["Conv", "Upsample", "Conv"]);
    // Other modes may move samples.
    assert_eq!(resize("Resize", Some("linear"), 1.0), ["Conv", "Resize", "Conv"]);
}

#[test]
fn what_cuts_off_nothing_is_left_out() {
    let slice = |end: i64, grid| {
        let slice = node("Slice", &["f", "starts", "ends", "axes"], "g");
        let tensors = [list("starts", &[0]), list("ends", &[end]), list("axes", &[2])];
        ops(rewritten(slice, &tensors, grid)).unwrap()
    };
    assert_eq!(slice(6, (8, 6)), ["Conv", "Conv"]);
    assert_eq!(slice(i64::MAX, (8, 6)), ["Conv", "Conv"]);
    assert_eq!(slice(5, (8, 5)), ["Conv", "Slice", "Conv"]);
}

#[test]
fn the_grid_is_the_head_s() {
    let relu = || node("Relu", &["f"], "g");
    assert_eq!(ops(rewritten(relu(), &[], (8, 6))).unwrap(), ["Conv", "Relu", "Conv"]);
    for grid in [(6, 8), (7, 6), (8, 7)] {
        assert_eq!(rewritten(relu(), &[], grid).err(), Some(NotSpecialised::OtherGrid), "{grid:?}");
    }
}

#[test]
fn the_versions_stay_the_network_s() {
    let proto = |ir_version: i64| {
        let opset = |domain: Option<&str>, version: i64| OperatorSetIdProto {
            domain: domain.map(str::to_owned),
            version: Some(version),
        };
        ModelProto {
            ir_version: Some(ir_version),
            opset_import: vec![opset(Some("com.example"), 1), opset(None, 13)],
            ..network(node("Relu", &["f"], "g"), &[])
        }
    };
    let rewritten = |ir_version| decoded(&specialise(&proto(ir_version), &wanted((8, 6))).unwrap());
    assert_eq!(rewritten(8).ir_version, Some(8));
    // Since version 4 weights need not be listed as inputs, and are not.
    assert_eq!(rewritten(3).ir_version, Some(4));
    assert_eq!(rewritten(8).opset_import, proto(8).opset_import);
}

#[test]
fn heads_that_read_the_same_values_are_merged() {
    let mut proto = network(node("Relu", &["f"], "g"), &[]);
    let graph = proto.graph.as_mut().unwrap();
    graph.node.push(node("Conv", &["f", "head"], "other"));
    let mut wanted = wanted((8, 6));
    wanted.heads[0].parts.push(Part { convolution: 3, channels: Channels::All(2) });
    // Others have outputs of their own.
    let specialised = specialise(&proto, &wanted).unwrap();
    let shape = |channels: i64| vec![1, channels, 6, 8];
    assert_eq!(specialised.outputs, [("out".to_owned(), shape(2)), ("out_".to_owned(), shape(2))]);
    let place = |output, channel| Place { output, channel };
    assert_eq!(specialised.places, [[place(0, 0), place(1, 0)]]);
    // The same values: four channels.
    proto.graph.as_mut().unwrap().node[3].input[0] = "g".into();
    let specialised = specialise(&proto, &wanted).unwrap();
    assert_eq!(specialised.outputs, [("out".to_owned(), shape(4))]);
    assert_eq!(specialised.places, [[place(0, 0), place(0, 2)]]);
    // Three channels where there are two; a node that is not there.
    wanted.heads[0].parts[1].channels = Channels::All(3);
    assert_eq!(specialise(&proto, &wanted).err(), Some(NotSpecialised::OtherHeads));
    wanted.heads[0].parts[1] = Part { convolution: 4, channels: Channels::All(2) };
    assert_eq!(specialise(&proto, &wanted).err(), Some(NotSpecialised::OtherHeads));
}

/// As YuNet's: one channel each, of 3×3 pixels.
#[test]
fn convolutions_of_more_than_a_pixel_are_kept() {
    let tensors = [floats("depthwise", &[2, 1, 3, 3], &[0.5; 18])];
    let mut proto = network(node("Relu", &["f"], "g"), &tensors);
    let graph = proto.graph.as_mut().unwrap();
    let pads = |node: NodeProto| node.with_ints("pads", &[1, 1, 1, 1]).with_int("group", 2);
    graph.node.push(pads(node("Conv", &["h", "depthwise"], "d")));
    let mut wanted = wanted((8, 6));
    wanted.heads[0].parts[0].convolution = 3;
    let specialised = specialise(&proto, &wanted).unwrap();
    assert_eq!(specialised.outputs, [("d".to_owned(), vec![1, 2, 6, 8])]);
    assert_eq!(ops(Ok(specialised)).unwrap(), ["Conv", "Relu", "Conv", "Conv"]);
    wanted.heads[0].parts[0].channels = Channels::All(1);
    assert_eq!(specialise(&proto, &wanted).err(), Some(NotSpecialised::OtherHeads));
    // Pairs of scores cannot be subtracted in it.
    wanted.heads[0].parts[0].channels = Channels::Differences(vec![(0, 1)]);
    assert_eq!(specialise(&proto, &wanted).err(), Some(NotSpecialised::OtherHeads));
}

/// 3 − 2 in one row, of the head's two.
#[test]
fn differences_are_the_second_minus_the_first() {
    let mut wanted = wanted((8, 6));
    wanted.heads[0].parts[0].channels = Channels::Differences(vec![(0, 1)]);
    let specialised = specialise(&network(node("Relu", &["f"], "g"), &[]), &wanted).unwrap();
    assert_eq!(specialised.outputs, [("out".to_owned(), vec![1, 1, 6, 8])]);
    let graph = decoded(&specialised).graph.unwrap();
    let weights = graph.initializer.iter().find(|tensor| tensor.name() == "out.weight").unwrap();
    assert_eq!(weights.floats(), Some(vec![1.0]));
}

#[test]
fn kept_nodes_are_what_they_were() {
    let named = NodeProto {
        name: Some("activation".into()),
        domain: Some("ai.onnx".into()),
        ..node("Relu", &["f"], "g")
    };
    let graph = decoded(&rewritten(named.clone(), &[], (8, 6)).unwrap()).graph.unwrap();
    assert_eq!(graph.node[1], named);
    let head = &graph.node[2];
    assert_eq!((head.name(), head.ints("kernel_shape")), ("out", &[1, 1][..]));
}

/// The tensor of a `Constant` node becomes an initialiser.
#[test]
fn constants_are_no_nodes() {
    let mut proto = network(node("PRelu", &["f", "slope"], "g"), &[]);
    let slope = constant(floats("", &[1, 1, 1], &[0.25]), "slope");
    proto.graph.as_mut().unwrap().node.insert(0, slope);
    let mut wanted = wanted((8, 6));
    wanted.heads[0].parts[0].convolution = 3;
    let specialised = specialise(&proto, &wanted);
    let graph = decoded(specialised.as_ref().unwrap()).graph.unwrap();
    assert_eq!(ops(specialised).unwrap(), ["Conv", "PRelu", "Conv"]);
    let slope = graph.initializer.iter().find(|tensor| tensor.name() == "slope").unwrap();
    assert_eq!(slope.floats(), Some(vec![0.25]));
}

/// Of backgrounds and faces of two anchors, side by side: what a sigmoid is to see.
#[test]
fn the_second_of_each_pair_can_be_all_that_is_wanted() {
    let tensors = [floats("four", &[4, 1, 1, 1], &[1.0, 2.0, 3.0, 4.0])];
    let mut proto = network(node("Relu", &["f"], "g"), &tensors);
    proto.graph.as_mut().unwrap().node[2].input[1] = "four".into();
    let weights = |channels: Channels| {
        let mut wanted = wanted((8, 6));
        wanted.heads[0].parts[0].channels = channels;
        let graph = decoded(&specialise(&proto, &wanted).ok()?).graph?;
        let tensor = graph.initializer.iter().find(|tensor| tensor.name() == "out.weight")?;
        tensor.floats()
    };
    let pairs = vec![(0, 1), (2, 3)];
    assert_eq!(weights(Channels::Seconds(pairs.clone())), Some(vec![2.0, 4.0]));
    assert_eq!(weights(Channels::Differences(pairs)), Some(vec![1.0, 1.0]));
    assert_eq!(weights(Channels::Seconds(vec![(0, 2), (1, 3)])), Some(vec![3.0, 4.0]));
    assert_eq!(weights(Channels::Seconds(vec![(0, 1)])), None, "others are left over");
}
