// SPDX-License-Identifier: MIT OR Apache-2.0

use std::slice::from_ref;

use super::*;
use crate::onnx::graph::Graph;
use crate::onnx::shapes::{Integers, Shapes};

type Sizes = &'static [usize];
type Numbers = &'static [i64];

/// The shape of `y` where `x` has the shape `input`.
fn inferred(input: &[usize], nodes: &[NodeProto], tensors: &[TensorProto]) -> Option<Vec<usize>> {
    let proto = graph_of(nodes, tensors);
    let graph = Graph::new(&proto);
    Shapes::new(&graph, "x", input.into()).shape("y").map(<[usize]>::to_vec)
}

/// The integers in `y`, where `x` has the shape `input`.
fn computed(input: &[usize], nodes: &[NodeProto], tensors: &[TensorProto]) -> Option<Integers> {
    let proto = graph_of(nodes, tensors);
    let graph = Graph::new(&proto);
    Shapes::new(&graph, "x", input.into()).integers("y")
}

fn numbers(values: &[i64]) -> Option<Integers> {
    Some(Integers { scalar: false, values: values.into() })
}

fn number(value: i64) -> Option<Integers> {
    Some(Integers { scalar: true, values: vec![value] })
}

#[test]
fn convolutions_have_the_channels_of_their_weights() {
    let conv = node("Conv", &["x", "w"], "y")
        .with_ints("strides", &[2, 1])
        .with_ints("pads", &[1, 1, 1, 1]);
    let w = weights("w", &[8, 3, 3, 5]);
    // (7 + 2 − 3) / 2 + 1, and 9 + 2 − 5 + 1.
    assert_eq!(inferred(&[2, 3, 7, 9], from_ref(&conv), &[w]), Some(vec![2, 8, 4, 7]));
    // Nothing fits, the ranks differ, or there are no weights.
    assert_eq!(inferred(&[1, 3, 7, 2], from_ref(&conv), &[weights("w", &[8, 3, 3, 5])]), None);
    assert_eq!(inferred(&[1, 3, 7], from_ref(&conv), &[weights("w", &[8, 3, 3, 5])]), None);
    assert_eq!(inferred(&[1, 3, 7, 9], from_ref(&conv), &[weights("w", &[8])]), None);
    assert_eq!(inferred(&[1, 3, 7, 9], from_ref(&conv), &[weights("w", &[-8, 3, 3, 3])]), None);
    assert_eq!(inferred(&[1], from_ref(&conv), &[weights("w", &[8, 3])]), None);
    assert_eq!(inferred(&[1, 3, 7, 9], &[conv], &[]), None);
}

#[test]
fn pooling_keeps_the_channels() {
    for op in ["MaxPool", "AveragePool", "LpPool"] {
        let pool =
            node(op, &["x"], "y").with_ints("kernel_shape", &[3, 2]).with_ints("strides", &[2, 3]);
        // (8 − 3) / 2 + 1, and (8 − 2) / 3 + 1.
        assert_eq!(inferred(&[1, 5, 8, 8], from_ref(&pool), &[]), Some(vec![1, 5, 3, 3]), "{op}");
        // Rounded up: the fourth window starts at row 6.
        let pool = pool.with_int("ceil_mode", 1);
        assert_eq!(inferred(&[1, 5, 8, 8], &[pool], &[]), Some(vec![1, 5, 4, 3]), "{op}");
    }
    assert_eq!(inferred(&[1, 5, 8, 8], &[node("MaxPool", &["x"], "y")], &[]), None);
}

#[test]
fn activations_keep_the_shape() {
    for op in SAME_SHAPE {
        let nodes = [node(op, &["x"], "y")];
        assert_eq!(inferred(&[1, 2, 3, 4], &nodes, &[]), Some(vec![1, 2, 3, 4]), "{op}");
    }
    for op in ["Anything", "Shape", "Gather", "Unsqueeze", "Constant"] {
        assert_eq!(inferred(&[1, 2, 3, 4], &[node(op, &["x"], "y")], &[]), None, "{op}");
    }
    let foreign = NodeProto { domain: Some("com.microsoft".into()), ..node("Relu", &["x"], "y") };
    assert_eq!(inferred(&[1], &[foreign], &[]), None);
}

#[test]
fn arithmetic_broadcasts() {
    // From ONNX's "Broadcasting": missing dimensions are leading ones.
    let cases: [(Sizes, Numbers, Option<Sizes>); 9] = [
        (&[2, 3, 4, 5], &[], Some(&[2, 3, 4, 5])),
        (&[2, 3, 4, 5], &[5], Some(&[2, 3, 4, 5])),
        (&[4, 5], &[2, 3, 4, 5], Some(&[2, 3, 4, 5])),
        (&[1, 4, 5], &[2, 3, 1, 1], Some(&[2, 3, 4, 5])),
        (&[3, 4, 5], &[2, 1, 1, 1], Some(&[2, 3, 4, 5])),
        (&[2, 3, 4], &[1, 3, 1], Some(&[2, 3, 4])),
        (&[2, 3, 4], &[2], None),
        (&[2, 3, 4], &[2, 3, 2], None),
        (&[2, 3], &[-1, 3], None),
    ];
    for (left, right, expected) in cases {
        let expected = expected.map(<[usize]>::to_vec);
        for op in ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min"] {
            for inputs in [["x", "t"], ["t", "x"]] {
                let nodes = [node(op, &inputs, "y")];
                let shape = inferred(left, &nodes, &[weights("t", right)]);
                assert_eq!(shape, expected, "{op} {left:?} {right:?}");
            }
        }
    }
    assert_eq!(inferred(&[2, 3], &[node("Add", &["x", "x"], "y")], &[]), Some(vec![2, 3]));
    assert_eq!(inferred(&[2, 3], &[node("Add", &["x", "other"], "y")], &[]), None);
}

#[test]
fn expand_broadcasts() {
    let shape = |sizes: &[i64]| {
        inferred(&[2, 1, 4], &[node("Expand", &["x", "s"], "y")], &[list("s", sizes)])
    };
    assert_eq!(shape(&[3, 4]), Some(vec![2, 3, 4]));
    assert_eq!(shape(&[5, 2, 1, 1]), Some(vec![5, 2, 1, 4]));
    assert_eq!(shape(&[3, 1]), Some(vec![2, 3, 4]));
    assert_eq!(shape(&[3, 5]), None);
    assert_eq!(shape(&[-1, 4]), None);
    assert_eq!(inferred(&[2, 1, 4], &[node("Expand", &["x", "s"], "y")], &[]), None);
}

#[test]
fn reductions_leave_one_value() {
    for op in ["GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool"] {
        let nodes = [node(op, &["x"], "y")];
        assert_eq!(inferred(&[2, 3, 4, 5], &nodes, &[]), Some(vec![2, 3, 1, 1]), "{op}");
        assert_eq!(inferred(&[2], &nodes, &[]), None);
    }
    for op in ["ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"] {
        let reduce = || node(op, &["x"], "y").with_ints("axes", &[-1, 1]);
        let shape = |node: NodeProto| inferred(&[2, 3, 4, 5], &[node], &[list("axes", &[-1, 1])]);
        assert_eq!(shape(reduce()), Some(vec![2, 1, 4, 1]), "{op}");
        assert_eq!(shape(reduce().with_int("keepdims", 0)), Some(vec![2, 4]), "{op}");
        assert_eq!(shape(node(op, &["x", "axes"], "y")), Some(vec![2, 1, 4, 1]), "{op}");
        assert_eq!(shape(node(op, &["x"], "y")), Some(vec![1; 4]), "{op}");
        let nothing = node(op, &["x"], "y").with_int("noop_with_empty_axes", 1);
        assert_eq!(shape(nothing), Some(vec![2, 3, 4, 5]), "{op}");
        assert_eq!(shape(reduce().with_int("noop_with_empty_axes", 1)), Some(vec![2, 1, 4, 1]));
        assert_eq!(shape(node(op, &["x"], "y").with_ints("axes", &[4])), None, "{op}");
        assert_eq!(shape(node(op, &["x", "other"], "y")), None, "{op}");
    }
}

#[test]
fn matrix_products_weight_the_last_dimension() {
    let shape = |dims: &[i64]| {
        inferred(&[2, 5, 3], &[node("MatMul", &["x", "w"], "y")], &[weights("w", dims)])
    };
    assert_eq!(shape(&[3, 7]), Some(vec![2, 5, 7]));
    assert_eq!(shape(&[5, 7]), None);
    assert_eq!(shape(&[3]), None);
    assert_eq!(shape(&[3, -7]), None);
    assert_eq!(inferred(&[2, 5, 3], &[node("MatMul", &["x", "w"], "y")], &[]), None);
}

#[test]
fn matrix_products_multiply_matrices() {
    let shape = |left: &[usize], right: &[i64]| {
        inferred(left, &[node("MatMul", &["x", "w"], "y")], &[weights("w", right)])
    };
    assert_eq!(shape(&[2, 4, 5, 3], &[2, 4, 3, 7]), Some(vec![2, 4, 5, 7]));
    assert_eq!(shape(&[2, 1, 5, 3], &[4, 3, 7]), Some(vec![2, 4, 5, 7]));
    assert_eq!(shape(&[2, 5, 3], &[4, 3, 7]), None);
    // One row, without being a matrix.
    assert_eq!(shape(&[3], &[4, 3, 7]), Some(vec![4, 7]));
    let nodes = [
        node("Transpose", &["x"], "t").with_ints("perm", &[0, 2, 1]),
        node("MatMul", &["t", "x"], "y"),
    ];
    assert_eq!(inferred(&[2, 5, 3], &nodes, &[]), Some(vec![2, 3, 3]));
}

#[test]
fn splits_have_parts() {
    let shapes = |node: NodeProto, tensors: &[TensorProto]| {
        let proto = graph_of(from_ref(&node), tensors);
        let graph = Graph::new(&proto);
        let shapes = Shapes::new(&graph, "x", vec![2, 7, 3]);
        let parts = node.output.iter().map(|part| shapes.shape(part).map(|shape| shape.to_vec()));
        parts.collect::<Option<Vec<_>>>()
    };
    let along = |axis: i64, inputs: &[&str], outputs: &[&str]| NodeProto {
        output: outputs.iter().map(|&output| output.into()).collect(),
        ..node("Split", inputs, "").with_int("axis", axis)
    };
    let split = |inputs: &[&str], outputs: &[&str]| along(1, inputs, outputs);
    let parts = |sizes: &[i64]| shapes(split(&["x", "s"], &["a", "b"]), &[list("s", sizes)]);
    assert_eq!(parts(&[3, 4]), Some(vec![vec![2, 3, 3], vec![2, 4, 3]]));
    assert_eq!(parts(&[7, 0]), Some(vec![vec![2, 7, 3], vec![2, 0, 3]]));
    for sizes in [&[3, 3][..], &[3, 5], &[8, -1], &[i64::MAX, i64::MAX]] {
        assert_eq!(parts(sizes), None, "{sizes:?}");
    }
    let old = split(&["x"], &["a", "b"]).with_ints("split", &[1, 6]);
    assert_eq!(shapes(old, &[]), Some(vec![vec![2, 1, 3], vec![2, 6, 3]]));
    // In parts of one size, the last of what is left.
    let three = split(&["x"], &["a", "b", "c"]);
    assert_eq!(shapes(three, &[]), Some(vec![vec![2, 3, 3], vec![2, 3, 3], vec![2, 1, 3]]));
    assert_eq!(shapes(split(&["x", "other"], &["a", "b"]), &[]), None);
    assert_eq!(shapes(along(3, &["x"], &["a", "b"]), &[]), None);
    assert_eq!(shapes(split(&["other"], &["a", "b"]), &[]), None);
}

#[test]
fn dimensions_of_one_come_and_go() {
    let shape = |op: &str, axes: &[i64]| {
        let tensors = [list("axes", axes)];
        let input: &[usize] = if op == "Squeeze" { &[1, 5, 1, 3] } else { &[5, 3] };
        let found = inferred(input, &[node(op, &["x", "axes"], "y")], &tensors);
        let old = node(op, &["x"], "y").with_ints("axes", axes);
        assert_eq!(inferred(input, &[old], &[]), found, "{op} {axes:?}");
        found
    };
    assert_eq!(shape("Squeeze", &[0]), Some(vec![5, 1, 3]));
    assert_eq!(shape("Squeeze", &[-2, 0]), Some(vec![5, 3]));
    assert_eq!(shape("Squeeze", &[]), Some(vec![5, 3]));
    assert_eq!(shape("Squeeze", &[4]), None);
    assert_eq!(shape("Unsqueeze", &[0]), Some(vec![1, 5, 3]));
    assert_eq!(shape("Unsqueeze", &[-1, 0]), Some(vec![1, 5, 3, 1]));
    assert_eq!(shape("Unsqueeze", &[2, 1]), Some(vec![5, 1, 1, 3]));
    assert_eq!(shape("Unsqueeze", &[3]), None);
    assert_eq!(shape("Unsqueeze", &[3, 3]), None);
    assert_eq!(shape("Unsqueeze", &[]), None);
}

#[test]
fn ranges_count() {
    let count = |numbers: [i64; 3]| {
        let names = ["start", "limit", "step"];
        let tensors: Vec<_> =
            names.iter().zip(numbers).map(|(name, value)| integers(name, &[], &[value])).collect();
        inferred(&[1], &[node("Range", &names, "y")], &tensors)
    };
    assert_eq!(count([0, 80, 1]), Some(vec![80]));
    assert_eq!(count([2, 9, 3]), Some(vec![3]));
    assert_eq!(count([2, 8, 3]), Some(vec![2]));
    assert_eq!(count([9, 2, -3]), Some(vec![3]));
    assert_eq!(count([3, 3, 1]), Some(vec![0]));
    assert_eq!(count([5, 3, 1]), Some(vec![0]));
    for numbers in [[0, 1, 0], [i64::MIN, i64::MAX, 1], [0, i64::MIN, -1], [0, i64::MAX, 1]] {
        assert_eq!(count(numbers), None, "{numbers:?}");
    }
    assert_eq!(inferred(&[1], &[node("Range", &["a", "b", "c"], "y")], &[]), None);
}

#[test]
fn constants_of_a_shape_have_it() {
    let nodes = [node("Shape", &["x"], "s"), node("ConstantOfShape", &["s"], "y")];
    assert_eq!(inferred(&[5, 3], &nodes, &[]), Some(vec![5, 3]));
    let shape = |sizes: &[i64]| {
        inferred(&[1], &[node("ConstantOfShape", &["s"], "y")], &[list("s", sizes)])
    };
    assert_eq!(shape(&[2, 0]), Some(vec![2, 0]));
    assert_eq!(shape(&[2, -1]), None);
}

#[test]
fn concat_adds_along_its_axis() {
    let other = || node("Conv", &["x", "w"], "a");
    let w = || weights("w", &[4, 3, 1, 1]);
    for axis in [1, -3] {
        let nodes = [other(), node("Concat", &["x", "a", "x"], "y").with_int("axis", axis)];
        assert_eq!(inferred(&[1, 3, 5, 6], &nodes, &[w()]), Some(vec![1, 10, 5, 6]));
    }
    // Channels differ.
    let nodes = [other(), node("Concat", &["x", "a"], "y").with_int("axis", 2)];
    assert_eq!(inferred(&[1, 3, 5, 6], &nodes, &[w()]), None);
    // Unknown, no axis, an axis that is none, other ranks.
    for concat in [
        node("Concat", &["x", "other"], "y").with_int("axis", 1),
        node("Concat", &["x", "x"], "y"),
        node("Concat", &["x", "x"], "y").with_int("axis", 4),
        node("Concat", &["x", "x"], "y").with_int("axis", -5),
    ] {
        assert_eq!(inferred(&[1, 3, 5, 6], &[concat], &[]), None);
    }
    let flat = node("Reshape", &["x", "shape"], "a");
    let nodes = [flat, node("Concat", &["x", "a"], "y").with_int("axis", 1)];
    assert_eq!(inferred(&[2, 3, 4], &nodes, &[list("shape", &[2, 12])]), None);
    assert_eq!(inferred(&[2, 12], &nodes, &[list("shape", &[2, 3, 4])]), None);
    // The first dimension differs.
    assert_eq!(inferred(&[2, 12], &nodes, &[list("shape", &[3, 8])]), None);
}

#[test]
fn transposed_convolutions_enlarge() {
    let transposed = || node("ConvTranspose", &["x", "w"], "y").with_ints("strides", &[2, 3]);
    let inferred = |node| inferred(&[1, 4, 5, 6], &[node], &[weights("w", &[4, 7, 3, 2])]);
    // 4·2 + 3, 5·3 + 2
    assert_eq!(inferred(transposed()), Some(vec![1, 7, 11, 17]));
    assert_eq!(inferred(transposed().with_int("group", 2)), Some(vec![1, 14, 11, 17]));
    let padded = transposed().with_ints("pads", &[1, 0, 1, 1]);
    assert_eq!(inferred(padded.clone()), Some(vec![1, 7, 9, 16]));
    let more = padded.with_ints("output_padding", &[1, 2]);
    assert_eq!(inferred(more), Some(vec![1, 7, 10, 18]));
    // (3 - 1)·2 + 1 = 5
    let dilated = transposed().with_ints("dilations", &[2, 1]);
    assert_eq!(inferred(dilated), Some(vec![1, 7, 13, 17]));
    let same = transposed().with_string("auto_pad", "SAME_UPPER");
    assert_eq!(inferred(same), Some(vec![1, 7, 10, 18]));
    assert_eq!(inferred(transposed().with_ints("pads", &[9, 0, 9, 0])), None);
}

#[test]
fn tiles_repeat() {
    let tile = |repeats: &[i64]| {
        inferred(&[1, 4, 5, 6], &[node("Tile", &["x", "r"], "y")], &[list("r", repeats)])
    };
    assert_eq!(tile(&[1, 1, 2, 3]), Some(vec![1, 4, 10, 18]));
    assert_eq!(tile(&[1, 2]), None);
    assert_eq!(tile(&[1, 1, 1, -1]), None);
}

#[test]
fn pads_add_to_both_ends() {
    let input = node("Pad", &["x", "pads"], "y");
    let attribute = |pads: &[i64]| node("Pad", &["x"], "y").with_ints("pads", pads);
    // Beginnings, then ends; negative ones crop: 5 + 1 + 3, 6 + 2 − 4.
    let pads = [0, 0, 1, 2, 0, 0, 3, -4];
    for (node, tensors) in [(input.clone(), vec![list("pads", &pads)]), (attribute(&pads), vec![])]
    {
        assert_eq!(inferred(&[1, 3, 5, 6], &[node], &tensors), Some(vec![1, 3, 9, 4]));
    }
    assert_eq!(inferred(&[1, 5], &[attribute(&[0, -3, 0, -3])], &[]), None);
    assert_eq!(inferred(&[1, 5], &[attribute(&[1, 1])], &[]), None);
    assert_eq!(inferred(&[1, 5], &[attribute(&[0, 0, 0, i64::MAX])], &[]), None);
    assert_eq!(inferred(&[1, 5], &[node("Pad", &["x"], "y")], &[]), None);
    assert_eq!(inferred(&[1, 5], &[input], &[]), None);
    let pads = || list("pads", &[0, 1, 0, 1]);
    let value = node("Pad", &["x", "pads", "value", ""], "y");
    assert_eq!(inferred(&[1, 5], &[value], &[pads()]), Some(vec![1, 7]));
    let axes = node("Pad", &["x", "pads", "", "axes"], "y");
    assert_eq!(inferred(&[1, 5], &[axes], &[pads(), list("axes", &[1, 0])]), None);
}

#[test]
fn resize_takes_sizes() {
    let resize = node("Resize", &["x", "", "", "sizes"], "y");
    let shape = |sizes: &[i64]| inferred(&[1, 3, 5, 6], from_ref(&resize), &[list("sizes", sizes)]);
    assert_eq!(shape(&[1, 3, 7, 4]), Some(vec![1, 3, 7, 4]));
    assert_eq!(shape(&[7, 4]), None);
    assert_eq!(shape(&[1, 3, -7, 4]), None);
    assert_eq!(shape(&[2, 3, 7, 4]), None);
}

#[test]
fn resize_takes_scales() {
    let shape = |node: NodeProto, scales: &[f32]| {
        let scales = floats("scales", &[scales.len() as i64], scales);
        inferred(&[1, 3, 5, 6], &[node], &[scales])
    };
    let scales = [1.0, 1.0, 2.0, 0.45];
    // 6 · 0.45 = 2.7, rounded down.
    let expected = Some(vec![1, 3, 10, 2]);
    assert_eq!(shape(node("Resize", &["x", "", "scales"], "y"), &scales), expected);
    assert_eq!(shape(node("Resize", &["x", "roi", "scales", ""], "y"), &scales), expected);
    // Before opset 11 there is no region of interest.
    assert_eq!(shape(node("Resize", &["x", "scales"], "y"), &scales), expected);
    assert_eq!(shape(node("Upsample", &["x", "scales"], "y"), &scales), expected);
    let resize = || node("Resize", &["x", "scales"], "y");
    for wrong in [
        &[2.0, 2.0][..],
        &[1.0, 1.0, -1.0, 1.0],
        &[1.0, 1.0, 1e30, 1.0],
        &[1.0, 1.0, f32::NAN, 1.0],
        &[1.0, 1.0, f32::INFINITY, 1.0],
    ] {
        assert_eq!(shape(resize(), wrong), None, "{wrong:?}");
    }
    assert_eq!(shape(resize(), &[1.0, 1.0, 0.1, 1.0]), Some(vec![1, 3, 0, 6]));
    assert_eq!(shape(node("Resize", &["x"], "y"), &scales), None);
    assert_eq!(shape(node("Resize", &["x", "other"], "y"), &scales), None);
}

/// `Slice` with its operands as inputs, and as attributes.
fn slices(
    starts: &[i64],
    ends: &[i64],
    axes: Option<&[i64]>,
) -> [(NodeProto, Vec<TensorProto>); 2] {
    let mut inputs = vec!["x", "starts", "ends"];
    let mut tensors = vec![list("starts", starts), list("ends", ends)];
    let mut old = node("Slice", &["x"], "y").with_ints("starts", starts).with_ints("ends", ends);
    if let Some(axes) = axes {
        inputs.push("axes");
        tensors.push(list("axes", axes));
        old = old.with_ints("axes", axes);
    }
    [(node("Slice", &inputs, "y"), tensors), (old, vec![])]
}

#[test]
fn slice_cuts() {
    let cases: [(Numbers, Numbers, Option<Numbers>, Option<Sizes>); 12] = [
        // Of [1, 8, 5, 6].
        (&[2], &[5], Some(&[1]), Some(&[1, 3, 5, 6])),
        (&[-3], &[-1], Some(&[1]), Some(&[1, 2, 5, 6])),
        (&[0], &[i64::MAX], Some(&[3]), Some(&[1, 8, 5, 6])),
        (&[i64::MIN], &[100], Some(&[3]), Some(&[1, 8, 5, 6])),
        (&[1, 2], &[3, 4], Some(&[2, -1]), Some(&[1, 8, 2, 2])),
        (&[5], &[2], Some(&[1]), Some(&[1, 0, 5, 6])),
        (&[0, 2], &[1, 7], None, Some(&[1, 5, 5, 6])),
        (&[], &[], None, Some(&[1, 8, 5, 6])),
        (&[2], &[5], Some(&[4]), None),
        (&[2], &[5], Some(&[-5]), None),
        (&[2, 3], &[5], Some(&[1, 2]), None),
        (&[2, 3], &[5, 5], Some(&[1]), None),
    ];
    for (starts, ends, axes, expected) in cases {
        for (node, tensors) in slices(starts, ends, axes) {
            let shape = inferred(&[1, 8, 5, 6], &[node], &tensors);
            assert_eq!(shape.as_deref(), expected, "{starts:?} {ends:?} {axes:?}");
        }
    }
    let tensors = [
        list("starts", &[0]),
        list("ends", &[4]),
        list("axes", &[1]),
        list("one", &[1]),
        list("two", &[2]),
    ];
    let step = |step: &str| node("Slice", &["x", "starts", "ends", "axes", step], "y");
    assert_eq!(inferred(&[1, 8], &[step("one")], &tensors), Some(vec![1, 4]));
    assert_eq!(inferred(&[1, 8], &[step("two")], &tensors), None);
    // Without axes, the first dimensions.
    let first = node("Slice", &["x", "starts", "ends", "", "one"], "y");
    assert_eq!(inferred(&[6, 8], &[first], &tensors), Some(vec![4, 8]));
    assert_eq!(inferred(&[1, 8], &[step("other")], &tensors), None);
    let too_many = &slices(&[0, 0, 0], &[1, 1, 1], None)[0];
    assert_eq!(inferred(&[1, 8], from_ref(&too_many.0), &too_many.1), None);
}

#[test]
fn transpose_reorders() {
    let shape = |perm: &[i64]| {
        inferred(&[1, 2, 3, 4], &[node("Transpose", &["x"], "y").with_ints("perm", perm)], &[])
    };
    assert_eq!(shape(&[0, 2, 3, 1]), Some(vec![1, 3, 4, 2]));
    assert_eq!(shape(&[3, 0, 1, 2]), Some(vec![4, 1, 2, 3]));
    assert_eq!(shape(&[0, 4]), None);
}

#[test]
fn gather_takes_some_of_an_axis() {
    let gather = |axis: i64, indices: TensorProto| {
        inferred(&[1, 3, 4], &[node("Gather", &["x", "i"], "y").with_int("axis", axis)], &[indices])
    };
    assert_eq!(gather(1, list("i", &[2, 1, 0])), Some(vec![1, 3, 4]));
    assert_eq!(gather(-1, list("i", &[0, 0])), Some(vec![1, 3, 2]));
    assert_eq!(gather(3, list("i", &[0])), None);
    assert_eq!(gather(1, integers("i", &[], &[0])), None, "an axis less");
}

#[test]
fn reshape_keeps_the_elements() {
    let reshape = node("Reshape", &["x", "shape"], "y");
    let shape = |wanted: &[i64]| inferred(&[2, 3, 4], from_ref(&reshape), &[list("shape", wanted)]);
    assert_eq!(shape(&[6, 4]), Some(vec![6, 4]));
    // 0 keeps a dimension, and −1 takes what is left: 24 / 2 / 6.
    assert_eq!(shape(&[0, -1, 6]), Some(vec![2, 2, 6]));
    assert_eq!(shape(&[-1]), Some(vec![24]));
    assert_eq!(shape(&[1, -1, 0]), Some(vec![1, 6, 4]));
    assert_eq!(shape(&[0, 0, 0]), Some(vec![2, 3, 4]));
    assert_eq!(shape(&[5, 5]), None);
    assert_eq!(shape(&[5, -1]), None);
    assert_eq!(shape(&[1, 1, 1, 0, 24]), None);
    assert_eq!(shape(&[-2, -12]), None);
    assert_eq!(shape(&[i64::MAX, i64::MAX, -1]), None);
    // Of nothing, an open size could be any.
    let empty = |wanted: &[i64]| inferred(&[0, 3], from_ref(&reshape), &[list("shape", wanted)]);
    assert_eq!(empty(&[3, 0]), None);
    assert_eq!(empty(&[0, -1]), None);
    assert_eq!(empty(&[0, 7]), Some(vec![0, 7]));
    let scalar = [integers("shape", &[], &[24])];
    assert_eq!(inferred(&[2, 3, 4], from_ref(&reshape), &scalar), None);
    assert_eq!(inferred(&[2, 3, 4], &[reshape], &[]), None);
}

#[test]
fn shapes_of_unreasonable_size_are_unknown() {
    let reshape = node("Reshape", &["x", "shape"], "y");
    let shape = |size: usize, wanted: &[i64]| {
        inferred(&[size], from_ref(&reshape), &[list("shape", wanted)])
    };
    assert_eq!(shape(1 << 24, &[-1]), Some(vec![1 << 24]));
    assert_eq!(shape((1 << 24) + 1, &[-1]), None);
    assert_eq!(shape(1, &[1; 8]), Some(vec![1; 8]));
    assert_eq!(shape(1, &[1; 9]), None);
}

#[test]
fn shape_gives_the_sizes() {
    let shape = |node: NodeProto| computed(&[1, 3, 5, 6], &[node], &[]);
    let node = || node("Shape", &["x"], "y");
    assert_eq!(shape(node()), numbers(&[1, 3, 5, 6]));
    assert_eq!(shape(node().with_int("start", 2)), numbers(&[5, 6]));
    assert_eq!(shape(node().with_int("start", -3).with_int("end", -1)), numbers(&[3, 5]));
    assert_eq!(shape(node().with_int("end", 9)), numbers(&[1, 3, 5, 6]));
    assert_eq!(shape(node().with_int("start", 3).with_int("end", 1)), numbers(&[]));
}

#[test]
fn gather_picks() {
    let data = list("data", &[10, 20, 30]);
    let gather = |indices: TensorProto| {
        let nodes = [node("Gather", &["data", "i"], "y")];
        computed(&[1], &nodes, &[data.clone(), indices])
    };
    assert_eq!(gather(list("i", &[2, 0])), numbers(&[30, 10]));
    assert_eq!(gather(list("i", &[-1])), numbers(&[30]));
    assert_eq!(gather(list("i", &[-3])), numbers(&[10]));
    assert_eq!(gather(integers("i", &[], &[1])), number(20));
    assert_eq!(gather(list("i", &[3])), None);
    assert_eq!(gather(list("i", &[-4])), None);
    let scalar = integers("s", &[], &[1]);
    assert_eq!(
        computed(&[1], &[node("Gather", &["s", "i"], "y")], &[scalar, list("i", &[0])]),
        None
    );
    let axis = |axis: i64| {
        let nodes = [node("Gather", &["data", "i"], "y").with_int("axis", axis)];
        computed(&[1], &nodes, &[data.clone(), list("i", &[0])])
    };
    assert_eq!(axis(0), numbers(&[10]));
    assert_eq!(axis(1), None);
}

#[test]
fn scalars_and_lists_turn_into_each_other() {
    let tensors = [integers("scalar", &[], &[7]), list("one", &[8]), list("two", &[8, 9])];
    let of = |op: &str, value: &str| computed(&[1], &[node(op, &[value], "y")], &tensors);
    assert_eq!(of("Unsqueeze", "scalar"), numbers(&[7]));
    assert_eq!(of("Unsqueeze", "one"), None);
    assert_eq!(of("Squeeze", "one"), number(8));
    assert_eq!(of("Squeeze", "two"), None);
    assert_eq!(of("Identity", "two"), numbers(&[8, 9]));
    let nodes = [node("Shape", &["x"], "a"), node("Identity", &["a"], "y")];
    assert_eq!(computed(&[5, 6], &nodes, &[]), numbers(&[5, 6]));
    let cast =
        |to: i64| computed(&[1], &[node("Cast", &["two"], "y").with_int("to", to)], &tensors);
    // Int64 is number 7, float 1.
    assert_eq!((cast(7), cast(1)), (numbers(&[8, 9]), None));
}

#[test]
fn integers_are_calculated() {
    let tensors = [
        list("a", &[7, -7]),
        list("b", &[2, 2]),
        list("one", &[2]),
        list("zero", &[0]),
        list("large", &[i64::MAX]),
        list("three", &[1, 2, 3]),
        integers("scalar", &[], &[2]),
        integers("other", &[], &[5]),
    ];
    let of = |op: &str, left: &str, right: &str| {
        computed(&[1], &[node(op, &[left, right], "y")], &tensors)
    };
    for right in ["b", "one", "scalar"] {
        assert_eq!(of("Add", "a", right), numbers(&[9, -5]));
        assert_eq!(of("Sub", "a", right), numbers(&[5, -9]));
        assert_eq!(of("Mul", "a", right), numbers(&[14, -14]));
        // Towards zero.
        assert_eq!(of("Div", "a", right), numbers(&[3, -3]));
    }
    assert_eq!(of("Sub", "one", "a"), numbers(&[-5, 9]));
    assert_eq!(of("Sub", "other", "scalar"), number(3));
    assert_eq!(of("Sub", "other", "one"), numbers(&[3]));
    assert_eq!(of("Sub", "one", "other"), numbers(&[-3]));
    assert_eq!(of("Div", "a", "zero"), None);
    assert_eq!(of("Add", "large", "one"), None);
    assert_eq!(of("Mul", "large", "one"), None);
    assert_eq!(of("Add", "a", "three"), None);
}

/// As dynamo writes sizes: `(size − 1) / 8 + 1` as a number, made a list.
#[test]
fn integers_are_reshaped() {
    let reshape = node("Reshape", &["a", "shape"], "y");
    let reshaped = |data: TensorProto, shape: &[i64]| {
        computed(&[1], from_ref(&reshape), &[data, list("shape", shape)])
    };
    assert_eq!(reshaped(integers("a", &[], &[7]), &[-1]), numbers(&[7]));
    assert_eq!(reshaped(integers("a", &[], &[7]), &[1]), numbers(&[7]));
    assert_eq!(reshaped(list("a", &[7, 8]), &[-1]), numbers(&[7, 8]));
    assert_eq!(reshaped(list("a", &[7, 8]), &[2]), numbers(&[7, 8]));
    assert_eq!(reshaped(list("a", &[7]), &[]), number(7));
    assert_eq!(reshaped(list("a", &[7, 8]), &[]), None);
    assert_eq!(reshaped(list("a", &[7, 8]), &[3]), None);
    assert_eq!(reshaped(list("a", &[7, 8]), &[2, 1]), None);
}

#[test]
fn powers_and_limits_are_calculated() {
    let calculated = |op: &str, left: i64, right: i64| {
        let tensors = [integers("a", &[], &[left]), integers("b", &[], &[right])];
        computed(&[1], &[node(op, &["a", "b"], "y")], &tensors)
    };
    assert_eq!(calculated("Pow", 3, 4), number(81));
    assert_eq!(calculated("Pow", 3, -1), None);
    assert_eq!(calculated("Pow", 3, 64), None);
    assert_eq!(calculated("Max", 3, -4), number(3));
    assert_eq!(calculated("Min", 3, -4), number(-4));
    let tensors = [integers("a", &[], &[1])];
    assert_eq!(computed(&[1], &[node("Max", &["a", "a", "a"], "y")], &tensors), None);
}

#[test]
fn lists_are_cut_and_joined() {
    let tensors = [list("a", &[1, 2, 3, 4]), integers("s", &[], &[9]), list("two", &[2])];
    let tensors = [&tensors[..], &[list("end", &[-1]), list("pair", &[0, 1])]].concat();
    let of = |op: &str, inputs: &[&str]| computed(&[1], &[node(op, inputs, "y")], &tensors);
    assert_eq!(of("Slice", &["a", "two", "end"]), numbers(&[3]));
    assert_eq!(of("Slice", &["s", "two", "end"]), None);
    assert_eq!(of("Slice", &["a", "pair", "pair"]), None);
    assert_eq!(of("Concat", &["two", "a", "end"]), numbers(&[2, 1, 2, 3, 4, -1]));
    assert_eq!(of("Concat", &["two", "other"]), None);
    let long = list("long", &[0; 32]);
    let nodes = |inputs: &[&str]| [node("Concat", inputs, "y")];
    let length = |inputs: &[&str]| {
        computed(&[1], &nodes(inputs), &[long.clone(), list("t", &[1])])
            .map(|list| list.values.len())
    };
    assert_eq!(length(&["long", "long"]), Some(64));
    assert_eq!(length(&["long", "long", "t"]), None);
}

#[test]
fn constants_are_integers_unless_they_are_data() {
    let of = |tensor: TensorProto| computed(&[1], &[constant(tensor, "y")], &[]);
    assert_eq!(of(list("", &[4, 5])), numbers(&[4, 5]));
    assert_eq!(of(integers("", &[], &[4])), number(4));
    assert_eq!(of(integers("", &[1, 2], &[4, 5])), None);
    assert_eq!(of(floats("", &[1], &[4.0])), None);
    assert_eq!(of(list("", &[0; 64])), numbers(&[0; 64]));
    assert_eq!(of(list("", &[0; 65])), None);
}

#[test]
fn sizes_are_computed_as_exporters_do() {
    // Twice the height and width of the input, as an upsampling layer asks for them.
    let nodes = [
        node("Shape", &["x"], "shape"),
        constant(integers("", &[], &[2]), "two"),
        constant(integers("", &[], &[3]), "three"),
        node("Gather", &["shape", "two"], "height"),
        node("Gather", &["shape", "three"], "width"),
        node("Mul", &["height", "two"], "high"),
        node("Mul", &["width", "two"], "wide"),
        node("Unsqueeze", &["high"], "h"),
        node("Unsqueeze", &["wide"], "w"),
        node("Slice", &["shape", "start", "end"], "front"),
        node("Concat", &["front", "h", "w"], "sizes").with_int("axis", 0),
        node("Resize", &["x", "", "", "sizes"], "y"),
    ];
    let tensors = [list("start", &[0]), list("end", &[2])];
    assert_eq!(inferred(&[1, 16, 5, 7], &nodes, &tensors), Some(vec![1, 16, 10, 14]));
}

#[test]
fn what_depends_on_the_unknown_is_unknown() {
    let nodes = [node("Relu", &["a"], "y"), node("Relu", &["x"], "a")];
    assert_eq!(inferred(&[1, 2], &nodes, &[]), None);
    let nodes = [node("Relu", &["y"], "a"), node("Relu", &["a"], "y")];
    assert_eq!(inferred(&[1, 2], &nodes, &[]), None);
    let nodes = [node("Anything", &["x"], "a"), node("Relu", &["a"], "y")];
    assert_eq!(inferred(&[1, 2], &nodes, &[]), None);
    assert_eq!(inferred(&[1, 2], &[], &[]), None);
}
