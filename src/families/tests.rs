// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which networks are recognised, and what of them.

use super::{
    family::{Activation, HeadConvolutions, Network, Order, Recognised, Scores, Unusable},
    recognise,
};
use crate::{
    model::tests::network::{Network as Build, value},
    onnx::{
        messages::{AttributeProto, GraphProto, NodeProto},
        tests::{integers, node},
    },
};

fn graph(build: &Build) -> GraphProto {
    build.proto().graph.unwrap()
}

fn recognised_at(graph: &GraphProto, size: Option<(u32, u32)>) -> Option<Recognised> {
    let network = Network::new(graph, "image", size);
    recognise(&network).unwrap()
}

fn recognised(graph: &GraphProto) -> Option<Recognised> {
    recognised_at(graph, None)
}

/// The only node that makes a value.
fn maker<'a>(graph: &'a mut GraphProto, value: &str) -> &'a mut NodeProto {
    graph.node.iter_mut().find(|node| node.output[0] == value).unwrap()
}

/// Where the nodes whose outputs have these names stand.
fn indices(graph: &GraphProto, names: [&str; 3]) -> HeadConvolutions {
    let [scores, boxes, landmarks] =
        names.map(|name| graph.node.iter().position(|node| node.output[0] == name).unwrap());
    HeadConvolutions { scores, objectness: None, boxes, landmarks: Some(landmarks) }
}

fn strides(recognised: &Recognised) -> Vec<u32> {
    recognised.levels.iter().map(|level| level.stride).collect()
}

/// Whether the convolutions behind all levels were found.
fn traced(recognised: &Recognised) -> bool {
    recognised.levels.iter().all(|level| level.convolutions.is_some())
}

fn is_traced(graph: &GraphProto) -> bool {
    recognised(graph).is_some_and(|found| traced(&found))
}

#[test]
fn the_convolutions_behind_pytorch_outputs_are_found() {
    let graph = graph(&Build::default());
    let found = recognised(&graph).unwrap();
    assert_eq!(found.outputs, ["loc", "conf", "landms"]);
    assert_eq!(strides(&found), [8, 16, 32]);
    for level in &found.levels {
        assert_eq!((level.boxes, level.scores, level.landmarks), (0, 1, Some(2)));
        let names = ["scores", "boxes", "landmarks"].map(|name| format!("{name}{}", level.stride));
        let convolutions = indices(&graph, names.each_ref().map(String::as_str));
        assert_eq!(level.convolutions, Some(convolutions));
    }
}

#[test]
fn the_convolutions_behind_insightface_outputs_are_found() {
    let graph = graph(&Build { insightface: true, ..Build::default() });
    let found = recognised(&graph).unwrap();
    assert_eq!(strides(&found), [8, 16, 32]);
    for (index, level) in found.levels.iter().enumerate() {
        let first = 3 * index;
        let outputs = (level.scores, level.boxes, level.landmarks);
        assert_eq!(outputs, (first, first + 1, Some(first + 2)));
        let names = ["scores", "boxes", "landmarks"].map(|name| format!("{name}{}", level.stride));
        let convolutions = indices(&graph, names.each_ref().map(String::as_str));
        assert_eq!(level.convolutions, Some(convolutions));
        let name = |index: usize| found.outputs[index].as_str();
        assert_eq!(name(level.scores), format!("face_rpn_cls_prob_reshape_stride{}", level.stride));
        assert_eq!(name(level.boxes), format!("face_rpn_bbox_pred_stride{}", level.stride));
    }
}

#[test]
fn scores_may_be_raw_or_behind_softmax_or_sigmoid() {
    let pairs = Scores::Pairs(Order::ByAnchor);
    let found = |graph: &GraphProto| {
        let found = recognised(graph).filter(traced).unwrap();
        (found.scores, found.missing)
    };
    assert_eq!(found(&graph(&Build::default())), (pairs, None));
    let raw = graph(&Build { softmax: false, ..Build::default() });
    assert_eq!(found(&raw), (pairs, Some(Activation::Softmax)));
    let mut sigmoid = graph(&Build::default());
    let node = maker(&mut sigmoid, "conf");
    (node.op_type, node.attribute) = (Some("Sigmoid".into()), Vec::new());
    assert_eq!(found(&sigmoid), (Scores::Faces(Order::ByAnchor), None));
    // One number an anchor.
    for (mut single, missing) in [(sigmoid, None), (raw, Some(Activation::Sigmoid))] {
        for stride in [8, 16, 32] {
            let weights = maker(&mut single, &format!("scores{stride}")).input[1].clone();
            let tensor = single.initializer.iter_mut().find(|tensor| tensor.name() == weights);
            tensor.unwrap().dims[0] = 2;
        }
        assert_eq!(found(&single), (Scores::Logits, missing));
    }
}

/// Three anchors at stride 8 and two at 16, as Slim has; but also two at 32.
#[test]
fn anchors_are_those_of_a_published_network() {
    let set = |graph: &mut GraphProto, head: &str, stride: u32, channels: i64| {
        let weights = maker(graph, &format!("{head}{stride}")).input[1].clone();
        let tensor = graph.initializer.iter_mut().find(|tensor| tensor.name() == weights);
        tensor.unwrap().dims[0] = channels;
    };
    let with = |anchors: [i64; 3]| {
        let mut graph = graph(&Build::default());
        for (stride, anchors) in [8, 16, 32].into_iter().zip(anchors) {
            for (head, values) in [("scores", 2), ("boxes", 4), ("landmarks", 10)] {
                set(&mut graph, head, stride, values * anchors);
            }
        }
        let network = Network::new(&graph, "image", None);
        recognise(&network).map(|found| found.map(|found| found.family.name()))
    };
    assert_eq!(with([2, 2, 2]), Ok(Some("RetinaFace (PyTorch)")));
    assert_eq!(with([3, 2, 2]), Ok(Some("Slim or RFB (PyTorch)")));
    let found = "3 at stride 8, 3 at stride 16, 3 at stride 32".to_owned();
    match with([3, 3, 3]) {
        Err(Unusable::OtherAnchors { found: message, expected, .. }) => {
            assert_eq!(message, found);
            assert!(expected.contains("2 at stride 32, or 3 at stride 8"), "{expected}");
        }
        other => panic!("{other:?}"),
    }
}

/// Along an axis that is not an anchor's scores it is something else.
#[test]
fn softmax_counts_along_the_axis_of_the_scores() {
    let axis = |insightface: bool, axis: Option<i64>| {
        let mut graph = graph(&Build { insightface, ..Build::default() });
        for node in graph.node.iter_mut().filter(|node| node.op() == "Softmax") {
            node.attribute =
                axis.map(|axis| AttributeProto::new_int("axis", axis)).into_iter().collect();
        }
        recognised(&graph).is_some_and(|found| traced(&found))
    };
    // `[1, anchors, 2]`
    for (value, found) in
        [(Some(-1), true), (Some(2), true), (None, true), (Some(1), false), (Some(-2), false)]
    {
        assert_eq!(axis(false, value), found, "axis {value:?}");
    }
    // `[1, 2, 2·rows, columns]`
    for (value, found) in [
        (Some(1), true),
        (Some(-3), true),
        (Some(-1), false),
        (Some(2), false),
        (Some(-4), false),
        (None, false),
    ] {
        assert_eq!(axis(true, value), found, "axis {value:?}");
    }
}

/// In front of the concatenation instead of behind it; not both.
#[test]
fn softmax_may_come_before_the_levels_are_joined() {
    let mut graph = graph(&Build::default());
    let softmax = maker(&mut graph, "conf").clone();
    let index = graph.node.iter().position(|node| node.output[0] == softmax.input[0]).unwrap();
    let mut concat = graph.node[index].clone();
    let mut parts = Vec::new();
    for (level, part) in concat.input.iter_mut().enumerate() {
        let output = format!("softmax{level}");
        let input = std::mem::replace(part, output.clone());
        parts.push(NodeProto { input: vec![input], output: vec![output], ..softmax.clone() });
    }
    let both = concat.clone();
    concat.output = vec!["conf".into()];
    let position = graph.node.iter().position(|node| node.output[0] == "conf").unwrap();
    let mut before = graph.clone();
    before.node.splice(position..=position, parts.iter().cloned().chain([concat]));
    assert!(is_traced(&before));

    graph.node[index] = both;
    graph.node.splice(index..index, parts);
    assert!(!is_traced(&graph), "recognised by its outputs only");
}

/// Where the outputs have no batch; in front of that, the softmax's axis is another.
#[test]
fn the_batch_may_be_taken_off_behind_all_levels() {
    let found = |op: &str, index: i64, flat: bool, axis: i64| {
        let mut graph = graph(&Build::default());
        maker(&mut graph, "conf").attribute = vec![AttributeProto::new_int("axis", axis)];
        for (name, values) in [("loc", 4), ("conf", 2), ("landms", 10)] {
            let batched = format!("{name} batched");
            maker(&mut graph, name).output[0] = batched.clone();
            graph.node.push(node(op, &[&batched, "index"], name));
            let output = graph.output.iter_mut().find(|output| output.name() == name).unwrap();
            let sizes = [1, -1, values];
            *output = value(name, if flat { &sizes[1..] } else { &sizes });
        }
        graph.initializer.push(integers("index", &[], &[index]));
        is_traced(&graph)
    };
    for op in ["Squeeze", "Gather"] {
        assert!(found(op, 0, true, -1), "{op}");
        assert!(found(op, 0, true, 2), "{op}");
        assert!(!found(op, 0, true, 1), "{op}");
        assert!(!found(op, 0, false, -1), "{op}, with the batch still there");
    }
    assert!(!found("Gather", 1, true, -1), "another picture");
}

#[test]
fn levels_are_joined_along_the_anchors() {
    for (axis, found) in [(1, true), (-2, true), (0, false), (2, false)] {
        let mut graph = graph(&Build::default());
        for name in ["loc", "landms"] {
            maker(&mut graph, name).attribute = vec![AttributeProto::new_int("axis", axis)];
        }
        assert_eq!(is_traced(&graph), found, "axis {axis}");
    }
}

#[test]
fn outputs_that_disagree_are_not_traced() {
    // A level less of the boxes than of the scores.
    let mut fewer = graph(&Build::default());
    maker(&mut fewer, "loc").input.pop();
    assert!(!is_traced(&fewer));
    // Less of the landmarks.
    let mut fewer = graph(&Build::default());
    maker(&mut fewer, "landms").input.pop();
    assert!(!is_traced(&fewer));
    // The levels of the boxes, and of the landmarks, in another order.
    for name in ["loc", "landms"] {
        let mut swapped = graph(&Build::default());
        maker(&mut swapped, name).input.swap(0, 1);
        assert!(!is_traced(&swapped), "{name}");
    }
    // One level twice.
    let mut twice = graph(&Build::default());
    for name in ["loc", "landms"] {
        let concat = maker(&mut twice, name);
        concat.input[1] = concat.input[0].clone();
    }
    let scores = maker(&mut twice, "conf").input[0].clone();
    let concat = maker(&mut twice, &scores);
    concat.input[1] = concat.input[0].clone();
    assert!(!is_traced(&twice));
}

#[test]
fn a_convolution_with_other_channels_is_no_head() {
    let mut graph = graph(&Build::default());
    // Boxes of a level with three values an anchor: what is left is the outputs' shapes.
    let weights = maker(&mut graph, "boxes16").input[1].clone();
    let tensor = graph.initializer.iter_mut().find(|tensor| tensor.name() == weights).unwrap();
    tensor.dims[0] = 6;
    assert!(!is_traced(&graph));

    let mut insightface = self::graph(&Build { insightface: true, ..Build::default() });
    let weights = maker(&mut insightface, "boxes16").input[1].clone();
    let tensor = insightface.initializer.iter_mut().find(|tensor| tensor.name() == weights);
    tensor.unwrap().dims[0] = 6;
    let found = recognised(&insightface).expect("by its names");
    let without = found.levels.iter().filter(|level| level.convolutions.is_none());
    assert_eq!(without.map(|level| level.stride).collect::<Vec<_>>(), [16]);
}

#[test]
fn other_transpositions_are_not_followed() {
    let mut graph = graph(&Build::default());
    for node in graph.node.iter_mut().filter(|node| node.op() == "Transpose") {
        node.attribute = vec![AttributeProto::new_ints("perm", &[0, 3, 2, 1])];
    }
    assert!(!is_traced(&graph));
}

/// A level of a stride that differs across and down is none.
#[test]
fn strides_are_the_same_across_and_down() {
    let mut graph = graph(&Build::default());
    let first = graph.node.iter_mut().find(|node| node.op() == "Conv").unwrap();
    first.attribute.retain(|attribute| attribute.name() != "strides");
    first.attribute.push(AttributeProto::new_ints("strides", &[2, 4]));
    assert!(!is_traced(&graph));
}

/// InsightFace's networks of these strides, with nothing behind their outputs.
fn named(names: &[&str]) -> GraphProto {
    GraphProto {
        node: vec![node("Anything", &["image"], names[0])],
        output: names.iter().map(|name| value(name, &[1, 4, -1, -1])).collect(),
        ..GraphProto::default()
    }
}

#[test]
fn insightface_is_recognised_by_names() {
    let (scores, boxes) = ("face_rpn_cls_prob_reshape_stride", "face_rpn_bbox_pred_stride");
    let level = |stride: &str| [format!("{scores}{stride}"), format!("{boxes}{stride}")];
    let found = |levels: &[&str]| {
        let names: Vec<_> = levels.iter().flat_map(|stride| level(stride)).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        recognised(&named(&names)).map(|found| (found.family.name(), strides(&found)))
    };
    let name = "RetinaFace (InsightFace)";
    assert_eq!(found(&["32", "16"]), Some((name, vec![32, 16])));
    assert_eq!(found(&["16_output"]), Some((name, vec![16])), "converters put something behind");
    assert_eq!(found(&["1"]), None, "no stride of theirs");
    assert_eq!(found(&["8", "x"]), Some((name, vec![8])), "no number");
    assert_eq!(found(&["8", "16", "32", "8a"]), None, "one level too many");
    // 08 and 8 are one stride.
    assert_eq!(found(&["8", "08"]), None);

    let [scores, boxes] = level("8");
    assert!(recognised(&named(&[&scores])).is_none(), "no boxes");
    assert!(recognised(&named(&[&boxes])).is_none(), "no scores");
    // What comes besides is not needed; something may come before.
    let landmarks = "net/face_rpn_landmark_pred_stride8";
    let found = recognised(&named(&[landmarks, &boxes, "other", &scores])).unwrap();
    assert_eq!(found.outputs, [scores.as_str(), &boxes, landmarks]);
    let [level] = found.levels.as_slice() else { panic!("one level") };
    assert_eq!((level.scores, level.boxes, level.landmarks), (0, 1, Some(2)));
}

/// Outputs `[1, anchors, values]` of reshaped convolutions.
fn shaped(outputs: &[(&str, i64, i64)]) -> GraphProto {
    let make = |&(name, ..): &(&str, i64, i64)| {
        let convolution = format!("convolution {name}");
        [
            node("Conv", &["image", "weights"], &convolution),
            node("Reshape", &[&convolution, "shape"], name),
        ]
    };
    GraphProto {
        node: outputs.iter().flat_map(make).collect(),
        output: outputs.iter().map(|&(name, count, last)| value(name, &[1, count, last])).collect(),
        ..GraphProto::default()
    }
}

#[test]
fn boxes_that_are_computed_in_the_graph_are_refused() {
    let graph = shaped(&[("a", -1, 4), ("b", -1, 10), ("c", -1, 2)]);
    let found = |output: &str, op: &str| {
        let mut graph = graph.clone();
        maker(&mut graph, output).op_type = Some(op.into());
        let network = Network::new(&graph, "image", None);
        recognise(&network).map(|found| found.map(|found| found.missing))
    };
    let decoded = Err(Unusable::Decoded("RetinaFace (PyTorch)"));
    assert_eq!(found("a", "Exp"), decoded);
    assert_eq!(found("a", "Mul"), decoded);
    assert_eq!(found("b", "Add"), decoded);
    assert_eq!(found("a", "Transpose"), Ok(Some(Some(Activation::Softmax))), "rearranged");
    assert_eq!(found("c", "Softmax"), Ok(Some(None)));
    assert_eq!(found("a", "Softmax"), Ok(None), "boxes are no probabilities");
    assert_eq!(found("a", "Anything"), Ok(None));
    // An input that no convolution has seen.
    let mut bare = graph.clone();
    maker(&mut bare, "a").input[0] = "image".into();
    assert_eq!(recognised(&bare).map(|found| found.outputs), None);
}

#[test]
fn pytorch_is_recognised_by_shapes_and_names() {
    let found = |outputs: &[(&str, i64, i64)], size| {
        recognised_at(&shaped(outputs), size).map(|found| found.outputs)
    };
    // Whatever the names, where the last size tells.
    let sized = [("a", -1, 4), ("b", -1, 10), ("c", -1, 2)];
    assert_eq!(found(&sized, None).unwrap(), ["a", "c", "b"]);
    // By the names, where it does not; in upper case as well.
    for [boxes, scores, landmarks] in
        [["loc", "conf", "landm"], ["boxes", "scores", "ldms"], ["BBOX", "CLS", "KPS"]]
    {
        let open = [(scores, -1, -1), (landmarks, -1, -1), (boxes, -1, -1)];
        assert_eq!(found(&open, None).unwrap(), [boxes, scores, landmarks]);
    }
    assert_eq!(found(&[("a", -1, -1), ("b", -1, 10), ("c", -1, 2)], None), None, "no boxes");
    assert_eq!(found(&[("a", -1, 4), ("b", -1, 10)], None), None, "no scores");
    assert_eq!(found(&[("a", -1, 4), ("c", -1, 2)], None), None, "no landmarks");
    let two = [("a", -1, 4), ("b", -1, 10), ("c", -1, 2), ("d", -1, 4)];
    assert_eq!(found(&two, None), None, "two that could be the boxes");

    // 65×40 pixels are 9·5, 5·3 and 3·2 cells: 2·66 anchors.
    let size = Some((65, 40));
    let counted = |count| [("a", count, 4), ("b", count, 10), ("c", count, 2)];
    assert!(found(&counted(132), size).is_some());
    assert!(found(&counted(-1), size).is_some());
    assert_eq!(found(&counted(131), size), None);
    assert_eq!(found(&counted(133), size), None);
    for output in 0..3 {
        let mut one_differs = counted(132);
        one_differs[output].1 = 66;
        assert_eq!(found(&one_differs, size), None, "output {output}");
    }
}

#[test]
fn a_network_recognised_by_shapes_has_the_published_strides() {
    let found = recognised(&shaped(&[("a", -1, 4), ("b", -1, 10), ("c", -1, 2)])).unwrap();
    assert_eq!(found.family.name(), "RetinaFace (PyTorch)");
    assert_eq!(strides(&found), [8, 16, 32]);
    assert!(found.levels.iter().all(|level| level.convolutions.is_none()));
    assert!(found.levels.iter().all(|level| level.landmarks == Some(2)));
}
