// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use crate::onnx::graph::{Graph, MAX_STEPS};

#[test]
fn values_have_producers() {
    let proto = graph_of(
        &[node("Relu", &["x"], "a"), node("Identity", &["a"], "b"), node("Dropout", &["b"], "c")],
        &[list("t", &[1])],
    );
    let graph = Graph::new(&proto);
    assert_eq!(
        ["x", "a", "b", "c", "t"].map(|value| graph.producer(value)),
        [None, Some(0), Some(1), Some(2), None]
    );
    assert_eq!(
        ["x", "a", "b", "c"].map(|value| graph.source(value)),
        [Some("x"), Some("a"), Some("a"), Some("a")]
    );
    assert_eq!(
        ["x", "a", "c", "t"].map(|value| graph.origin(value)),
        [None, Some(0), Some(0), None]
    );
}

#[test]
fn outputs_that_are_left_out_have_no_producer() {
    let mut pool = node("MaxPool", &["x"], "y");
    pool.output.push(String::new());
    let proto = graph_of(&[pool], &[]);
    let graph = Graph::new(&proto);
    assert_eq!((graph.producer("y"), graph.producer("")), (Some(0), None));
}

#[test]
fn constants_are_initialisers_or_nodes() {
    let proto = graph_of(
        &[
            constant(list("", &[7]), "node"),
            node("Identity", &["node"], "same"),
            node("Identity", &["tensor"], "alias"),
            node("Relu", &["tensor"], "computed"),
        ],
        &[list("tensor", &[8])],
    );
    let graph = Graph::new(&proto);
    let integers = |value| graph.constant(value).and_then(TensorProto::integers);
    assert_eq!(["node", "same"].map(integers), [Some(vec![7]), Some(vec![7])]);
    assert_eq!(["tensor", "alias"].map(integers), [Some(vec![8]), Some(vec![8])]);
    assert_eq!(["computed", "x", ""].map(integers), [None, None, None]);
}

#[test]
fn cycles_end() {
    let proto = graph_of(&[node("Identity", &["b"], "a"), node("Identity", &["a"], "b")], &[]);
    let graph = Graph::new(&proto);
    assert_eq!((graph.source("a"), graph.origin("a")), (None, None));
    assert!(graph.constant("a").is_none());
}

#[test]
fn values_are_followed_for_a_limited_number_of_steps() {
    let names: Vec<_> = (0..=MAX_STEPS).map(|step| format!("v{step}")).collect();
    let nodes = names.windows(2).map(|pair| node("Identity", &[&pair[0]], &pair[1]));
    let proto = graph_of(&nodes.collect::<Vec<_>>(), &[]);
    let graph = Graph::new(&proto);
    assert_eq!(graph.source(&names[MAX_STEPS - 1]), Some("v0"));
    assert_eq!(graph.source(&names[MAX_STEPS]), None);
}

fn strides(nodes: &[NodeProto], value: &str) -> Option<(u64, u64)> {
    Graph::new(&graph_of(nodes, &[])).strides("x").get(value).copied()
}

#[test]
fn strides_multiply() {
    let nodes = [
        // Down, across.
        node("Conv", &["x"], "a").with_ints("strides", &[2, 3]),
        node("Relu", &["a"], "b"),
        node("MaxPool", &["b"], "c").with_ints("strides", &[5, 7]),
        node("Conv", &["c"], "d"),
        node("AveragePool", &["d"], "e").with_ints("strides", &[1, 2]),
        node("LpPool", &["e"], "f").with_ints("strides", &[2, 1]),
    ];
    let expected = [(3, 2), (3, 2), (21, 10), (21, 10), (42, 10), (42, 20)];
    for (value, expected) in ["a", "b", "c", "d", "e", "f"].into_iter().zip(expected) {
        assert_eq!(strides(&nodes, value), Some(expected), "{value}");
    }
    assert_eq!(strides(&nodes, "x"), Some((1, 1)));
}

#[test]
fn operators_that_keep_the_grid_keep_the_stride() {
    let first = node("Conv", &["x"], "a").with_ints("strides", &[2, 2]);
    for op in super::SAME_SHAPE
        .iter()
        .chain(&["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Concat", "Pad", "MatMul"])
    {
        let nodes = [first.clone(), node(op, &["other", "a"], "y")];
        assert_eq!(strides(&nodes, "y"), Some((2, 2)), "{op}");
    }
    let others = ["Resize", "Upsample", "Reshape", "Transpose", "Slice", "Gather", "Shape"];
    let more = ["ConstantOfShape", "Expand", "GlobalAveragePool", "Max", "Range", "ReduceMean"];
    for op in others.iter().chain(&["Squeeze", "Unsqueeze", "Constant", "Anything"]).chain(&more) {
        let nodes = [first.clone(), node(op, &["a"], "y")];
        assert_eq!(strides(&nodes, "y"), None, "{op}");
    }
}

#[test]
fn channels_may_be_taken_in_another_order_and_apart() {
    let first = node("Conv", &["x"], "a").with_ints("strides", &[2, 2]);
    for op in ["Gather", "Split"] {
        let taken = |axis: i64| {
            let mut taken = node(op, &["a", "i"], "x").with_int("axis", axis);
            taken.output = vec!["part".into(), "y".into()];
            strides(&[first.clone(), taken], "y")
        };
        assert_eq!((taken(1), taken(2)), (Some((2, 2)), None), "{op}");
    }
}

#[test]
fn a_stride_is_known_where_one_input_has_one() {
    // The features from above are resized by scales that nothing here follows.
    let nodes = [
        node("Conv", &["x"], "a").with_ints("strides", &[4, 4]),
        node("Anything", &["a"], "scales"),
        node("Resize", &["a", "scales"], "b"),
        node("Add", &["b", "a"], "c"),
    ];
    assert_eq!(strides(&nodes, "b"), None);
    assert_eq!(strides(&nodes, "c"), Some((4, 4)));
}

#[test]
fn strides_of_nodes_out_of_order_or_in_a_cycle_are_unknown() {
    let reversed = [node("Relu", &["a"], "b"), node("Conv", &["x"], "a")];
    assert_eq!(strides(&reversed, "a"), Some((1, 1)));
    assert_eq!(strides(&reversed, "b"), None);
    let cycle = [node("Relu", &["b"], "a"), node("Relu", &["a"], "b")];
    assert_eq!(strides(&cycle, "a"), None);
}

#[test]
fn strides_that_make_no_sense_are_unknown() {
    for step in [0, -2] {
        let nodes = [node("Conv", &["x"], "a").with_ints("strides", &[step, 1])];
        assert_eq!(strides(&nodes, "a"), None);
    }
    let nodes = [
        node("Conv", &["x"], "a").with_ints("strides", &[1 << 40, 1]),
        node("Conv", &["a"], "b").with_ints("strides", &[1 << 40, 1]),
    ];
    assert_eq!(strides(&nodes, "a"), Some((1, 1 << 40)));
    assert_eq!(strides(&nodes, "b"), None);
}
