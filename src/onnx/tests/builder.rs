// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use crate::onnx::builder::{GraphBuilder, dimension};
use crate::onnx::shapes::Integers;

fn builder_of(nodes: &[NodeProto]) -> GraphBuilder {
    let mut builder = GraphBuilder::default();
    builder.nodes = nodes.into();
    builder
}

#[test]
fn names_are_unique() {
    let mut builder = GraphBuilder::new(["a", "b", "b_"].into_iter());
    let names = ["new", "a", "a", "b", "new"].map(|name| builder.unique_name(name));
    assert_eq!(names, ["new", "a_", "a__", "b__", "new_"]);
    assert_eq!(builder.add_integers("a", &[]), "a___");
    assert_eq!(builder.add_floats("c", &[0], &[]), "c");
    assert_eq!(builder.unique_name("c"), "c_");
}

#[test]
fn tensors_are_written_little_endian() {
    let mut builder = GraphBuilder::default();
    let name = builder.add_floats("floats", &[1, 2], &[1.0, -2.0]);
    let tensor = builder.tensor(&name).unwrap();
    assert_eq!((tensor.name(), &tensor.dims[..]), ("floats", &[1, 2][..]));
    // IEEE 754 single precision: 1.0 is 0x3f800000, -2.0 is 0xc0000000. Float is number 1.
    assert_eq!(tensor.raw_data(), [0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]);
    assert_eq!(tensor.data_type, Some(1));

    let name = builder.add_integers("integers", &[258, -1]);
    let tensor = builder.tensor(&name).unwrap();
    assert_eq!((tensor.name(), &tensor.dims[..]), ("integers", &[2][..]));
    let bytes = [[2, 1, 0, 0, 0, 0, 0, 0], [255; 8]].concat();
    assert_eq!(tensor.raw_data(), bytes);
    // Int64 is number 7.
    assert_eq!(tensor.data_type, Some(7));
    assert!(builder.tensor("other").is_none());
}

#[test]
fn integers_are_scalars_or_lists() {
    let mut builder = GraphBuilder::default();
    builder.set_integers("scalar", &Integers { scalar: true, values: vec![5] });
    builder.set_integers("list", &Integers { scalar: false, values: vec![5] });
    let scalar = builder.tensor("scalar").unwrap();
    assert_eq!((&scalar.dims[..], scalar.integers()), (&[][..], Some(vec![5])));
    let list = builder.tensor("list").unwrap();
    assert_eq!((&list.dims[..], list.integers()), (&[1][..], Some(vec![5])));
}

#[test]
fn tensors_are_copied_once() {
    let mut builder = GraphBuilder::default();
    builder.copy_tensor("t", &list("original", &[1]));
    builder.copy_tensor("t", &list("original", &[2]));
    assert_eq!(builder.tensor("t"), Some(&list("t", &[1])));
}

#[test]
fn followers_are_the_only_readers_of_data() {
    let builder = builder_of(&[
        node("Conv", &["x", "w"], "only"),
        node("Relu", &["only"], "twice"),
        node("Relu", &["twice"], "second"),
        node("Add", &["twice", "second"], "unread"),
    ]);
    // "second" is read as the second input.
    assert_eq!(builder.followers(), [Some(1), None, None, None]);
    let squared = builder_of(&[node("Relu", &["x"], "a"), node("Mul", &["a", "a"], "b")]);
    assert_eq!(squared.followers(), [None, None]);
    let nothing = NodeProto { output: vec![], ..node("Relu", &["x"], "") };
    assert_eq!(builder_of(&[nothing]).followers(), [None]);
}

#[test]
fn a_sound_graph_reads_what_came_before() {
    let sound = |nodes: &[NodeProto]| {
        let mut builder = builder_of(nodes);
        builder.copy_tensor("w", &weights("", &[0]));
        builder.is_sound("x")
    };
    assert!(sound(&[]));
    assert!(sound(&[node("Conv", &["x", "w", ""], "a"), node("Relu", &["a"], "b")]));
    assert!(!sound(&[node("Relu", &["a"], "b"), node("Conv", &["x", "w"], "a")]));
    assert!(!sound(&[node("Relu", &["other"], "b")]));
    assert!(!sound(&[node("Relu", &["a"], "a")]));
    assert!(!sound(&[node("Relu", &["x"], "a"), node("Relu", &["x"], "a")]));
    assert!(!sound(&[node("Relu", &["x"], "x")]));
    // Outputs without a name may be many.
    let unnamed = |name: &str| {
        let mut pool = node("MaxPool", &["x"], name);
        pool.output.push(String::new());
        pool
    };
    assert!(sound(&[unnamed("a"), unnamed("b")]));
}

#[test]
fn graphs_within_nodes_are_not_sound() {
    let graph = || GraphProto::default();
    let one = AttributeProto { g: Some(graph()), ..AttributeProto::default() };
    let many = AttributeProto { graphs: vec![graph()], ..AttributeProto::default() };
    for attribute in [one, many] {
        let node = NodeProto { attribute: vec![attribute], ..node("If", &["x"], "y") };
        assert!(!builder_of(&[node]).is_sound("x"));
    }
    assert!(builder_of(&[node("If", &["x"], "y").with_int("axis", 1)]).is_sound("x"));
}

#[test]
fn a_finished_graph_has_the_tensors_that_are_read() {
    let mut builder = builder_of(&[node("Conv", &["x", "w", "b"], "y")]);
    for name in ["w", "unread", "b"] {
        builder.copy_tensor(name, &weights("", &[0]));
    }
    let value = |name: &str| ValueInfoProto { name: Some(name.into()), ..Default::default() };
    let graph = builder.finish(Some("name".into()), value("x"), vec![value("y")]);
    assert_eq!(graph.name(), "name");
    assert_eq!((graph.input, graph.output), (vec![value("x")], vec![value("y")]));
    assert_eq!(graph.node, [node("Conv", &["x", "w", "b"], "y")]);
    // In the order of their names.
    let names: Vec<_> = graph.initializer.iter().map(TensorProto::name).collect();
    assert_eq!(names, ["b", "w"]);
}

#[test]
fn sizes_become_dimensions() {
    assert_eq!(dimension(640), 640);
    assert_eq!(dimension(usize::MAX), i64::MAX);
}
