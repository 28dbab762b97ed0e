// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is wrong with small networks, one kind after the other.

use super::*;
use crate::onnx::validate::validate;

const SHAPE: [usize; 4] = [1, 3, 8, 6];

/// A network from `x` to the last node's output.
fn model(nodes: &[NodeProto], tensors: &[TensorProto]) -> ModelProto {
    let value = |name: &str| ValueInfoProto { name: Some(name.into()), ..Default::default() };
    let output = nodes.last().and_then(|node| node.output.first());
    let graph = GraphProto {
        input: vec![value("x")],
        output: vec![value(output.map_or("", String::as_str))],
        ..graph_of(nodes, tensors)
    };
    ModelProto { graph: Some(graph), ..ModelProto::default() }
}

/// What is wrong; empty if nothing is.
fn fault(model: &ModelProto) -> String {
    validate(model, "x", &SHAPE).err().map_or_else(String::new, |err| err.to_string())
}

fn zeros(name: &str, dims: &[i64]) -> TensorProto {
    floats(name, dims, &vec![0.0; dims.iter().product::<i64>() as usize])
}

/// That a network of one node, whose inputs besides `x` are these tensors, is refused with this text, or
/// accepted where that is empty.
#[track_caller]
fn expect(node: NodeProto, tensors: &[TensorProto], expected: &str) {
    let fault = fault(&model(std::slice::from_ref(&node), tensors));
    assert_eq!(fault.is_empty(), expected.is_empty(), "{node:?}: {fault}");
    assert!(fault.contains(expected), "{fault}");
}

fn conv() -> NodeProto {
    node("Conv", &["x", "w"], "y")
}

#[test]
fn convolutions_agree_with_their_weights() {
    let expect = |node, dims: &[i64], expected: &str| expect(node, &[zeros("w", dims)], expected);
    expect(conv(), &[4, 3, 3, 3], "");
    expect(conv().with_ints("kernel_shape", &[3, 5]), &[4, 3, 3, 5], "");
    expect(conv().with_ints("kernel_shape", &[3, 4]), &[4, 3, 3, 5], "kernel_shape is [3, 4]");
    expect(conv().with_ints("kernel_shape", &[3]), &[4, 3, 3, 5], "kernel_shape is [3]");
    expect(conv(), &[4, 3, 3], "not four dimensions");
    expect(conv(), &[0, 3, 3, 3], "are empty");
    expect(conv(), &[4, 2, 3, 3], "3 channels, and its weights are for 2");
    expect(conv().with_int("group", 3), &[6, 1, 3, 3], "");
    expect(conv().with_int("group", 3), &[4, 1, 3, 3], "not 3 groups");
    expect(conv().with_int("group", 0), &[4, 3, 3, 3], "group is 0");
    expect(conv().with_string("auto_pad", "SAME_UPPER"), &[4, 3, 3, 3], "");
    expect(conv().with_string("auto_pad", "OTHER"), &[4, 3, 3, 3], "auto_pad");
}

#[test]
fn windows_are_within_reason() {
    let expect = |node, expected: &str| expect(node, &[zeros("w", &[4, 3, 1, 3])], expected);
    for name in ["strides", "dilations"] {
        expect(conv().with_ints(name, &[64, 1]), "");
        for wrong in [&[0, 1][..], &[1, 65], &[-1, 1], &[i64::MAX, 1], &[1]] {
            expect(conv().with_ints(name, wrong), &format!("its {name} are"));
        }
    }
    expect(conv().with_ints("pads", &[1, 3, 1, 3]), "");
    // With holes of one the window reaches over 5.
    expect(conv().with_ints("pads", &[1, 5, 1, 5]).with_ints("dilations", &[1, 2]), "");
    for wrong in [[2, 0, 0, 0], [0, 4, 0, 0], [0, 0, 2, 0], [0, 0, 0, 4], [0, 0, 0, -1]] {
        expect(conv().with_ints("pads", &wrong), "its padding is");
    }
    expect(conv().with_ints("pads", &[1, 1]), "not 4 numbers");
    let pool = |size: i64| node("MaxPool", &["x"], "y").with_ints("kernel_shape", &[size, 1]);
    for (size, expected) in
        [(1, ""), (1024, ""), (1025, "reaches over"), (0, "empty"), (-3, "empty")]
    {
        expect(pool(size), expected);
    }
    expect(node("AveragePool", &["x"], "y"), "not two sizes");
    let square = |size: i64| node("MaxPool", &["x"], "y").with_ints("kernel_shape", &[size, size]);
    expect(square(32), "");
    expect(square(33), "1089 of its windows");
    expect(square(640).with_ints("strides", &[20, 20]), "");
    expect(square(640).with_ints("strides", &[20, 19]), "1088 of its windows");
    expect(pool(2).with_ints("pads", &[0, 0, 3, 0]), "its padding is 3");
}

#[test]
fn biases_and_channels_agree() {
    let with_bias = node("Conv", &["x", "w", "b"], "y");
    for (len, expected) in [(4, ""), (3, "its bias has the shape [3]")] {
        expect(with_bias.clone(), &[zeros("w", &[4, 3, 1, 1]), zeros("b", &[len])], expected);
    }
    expect(with_bias, &[zeros("w", &[4, 3, 1, 1]), zeros("b", &[4, 1])], "its bias has the shape");
    let norm = node("BatchNormalization", &["x", "p", "p", "p", "q"], "y");
    expect(norm.clone(), &[zeros("p", &[3]), zeros("q", &[3])], "");
    expect(norm.clone(), &[zeros("p", &[3]), zeros("q", &[2])], "input 4 has the shape [2]");
    expect(norm, &[zeros("p", &[2]), zeros("q", &[2])], "input 1 has the shape [2]");
    let slope = |dims: &[i64], expected: &str| {
        expect(node("PRelu", &["x", "s"], "y"), &[zeros("s", dims)], expected);
    };
    slope(&[3, 1, 1], "");
    slope(&[1], "");
    slope(&[3], "its slope has the shape [3]");
    slope(&[1, 1, 3, 1, 1], "its slope");
    let clip = node("Clip", &["x", "low"], "y");
    expect(clip.clone(), &[floats("low", &[], &[0.0])], "");
    expect(clip, &[zeros("low", &[2])], "has 2 values");
}

#[test]
fn transposed_convolutions_agree_with_their_weights() {
    let transposed = || node("ConvTranspose", &["x", "w"], "y").with_ints("strides", &[2, 2]);
    let expect = |node, dims: &[i64], expected: &str| expect(node, &[zeros("w", dims)], expected);
    expect(transposed(), &[3, 4, 2, 2], "");
    expect(transposed(), &[4, 3, 2, 2], "its weights are for 4");
    expect(transposed().with_int("group", 2), &[3, 4, 2, 2], "not 2 groups");
    expect(transposed().with_ints("output_padding", &[1, 1]), &[3, 4, 2, 2], "");
    expect(transposed().with_ints("output_padding", &[1, 2]), &[3, 4, 2, 2], "output_padding");
    expect(transposed().with_ints("output_shape", &[9, 9]), &[3, 4, 2, 2], "output_shape");
}

#[test]
fn axes_are_the_inputs() {
    let concat = |axis| node("Concat", &["x", "x"], "y").with_int("axis", axis);
    expect(concat(3), &[], "");
    expect(concat(-4), &[], "");
    expect(concat(4), &[], "its axis is 4, and its input has 4 dimensions");
    expect(concat(-5), &[], "its axis is -5");
    expect(node("Concat", &["x"], "y"), &[], "no axis");
    expect(node("Softmax", &["x"], "y").with_int("axis", 7), &[], "its axis is 7");
    expect(node("Flatten", &["x"], "y").with_int("axis", 4), &[], "");
    expect(node("Flatten", &["x"], "y").with_int("axis", 5), &[], "its axis is 5");
    expect(node("Transpose", &["x"], "y").with_ints("perm", &[0, 2, 3, 1]), &[], "");
    for wrong in [&[0, 1, 2][..], &[0, 1, 2, 2], &[0, 1, 2, 4], &[-1, 0, 1, 2]] {
        expect(node("Transpose", &["x"], "y").with_ints("perm", wrong), &[], "its perm is");
    }
    expect(node("Squeeze", &["x"], "y").with_ints("axes", &[4]), &[], "its axis is 4");
    expect(node("Unsqueeze", &["x"], "y").with_ints("axes", &[4]), &[], "");
    expect(node("Unsqueeze", &["x"], "y").with_ints("axes", &[5]), &[], "its axis is 5");
    let gather = node("Gather", &["x", "i"], "y").with_int("axis", 1);
    expect(gather.clone(), &[list("i", &[2, -3])], "");
    expect(gather.clone(), &[list("i", &[3])], "reads the element 3 of 3");
    expect(gather.with_int("other", 0), &[list("i", &[-4])], "reads the element -4");
    let split = |parts: &[i64]| node("Split", &["x"], "y").with_ints("split", parts);
    expect(split(&[3]), &[], "");
    expect(split(&[1, 2]), &[], "it has 1 outputs");
    expect(split(&[-1]), &[], "its parts are");
}

#[test]
fn sizes_are_within_reason() {
    let reshape = |shape: &[i64], expected: &str| {
        expect(node("Reshape", &["x", "s"], "y"), &[list("s", shape)], expected);
    };
    reshape(&[1, -1, 0], "");
    reshape(&[-1, -1], "is impossible");
    reshape(&[-2], "is impossible");
    reshape(&[1 << 24, 1 << 24], "is impossible");
    reshape(&[i64::MAX], "is impossible");
    let pad = |pads: &[i64], expected: &str| {
        expect(node("Pad", &["x", "p"], "y"), &[list("p", pads)], expected);
        expect(node("Pad", &["x"], "y").with_ints("pads", pads), &[], expected);
    };
    pad(&[0, 0, 1, 1, 0, 0, 1, 1024], "");
    pad(&[0, 0, 1, 1, 0, 0, 1, 1025], "its padding is 1025");
    pad(&[0, 0, 1, 1, 0, 0, 1, -1], "its padding is -1");
    pad(&[0, 0, 1, 1], "not two for each dimension");
    let resize = |scales: &[f32], expected: &str| {
        let tensor = floats("s", &[scales.len() as i64], scales);
        expect(node("Resize", &["x", "", "s"], "y"), std::slice::from_ref(&tensor), expected);
        expect(node("Upsample", &["x", "s"], "y"), &[tensor], expected);
    };
    resize(&[1.0, 1.0, 16.0, 0.0625], "");
    for scale in [16.5, 0.06, 0.0, -2.0, f32::NAN, f32::INFINITY] {
        resize(&[1.0, 1.0, scale, 2.0], "its scales are");
    }
    resize(&[1.0, 2.0], "its scales are");
    let sizes = |sizes: &[i64], expected: &str| {
        expect(node("Resize", &["x", "", "", "s"], "y"), &[list("s", sizes)], expected);
    };
    sizes(&[1, 3, 16, 12], "");
    sizes(&[1, 3, 16, 0], "impossible");
    sizes(&[1, 3, 1 << 25, 1], "impossible");
    let crop = node("Resize", &["x"], "y");
    expect(crop.with_string("coordinate_transformation_mode", "tf_crop_and_resize"), &[], "crops");
    for operator in ["Expand", "Tile"] {
        let node = node(operator, &["x", "s"], "y");
        expect(node.clone(), &[list("s", &[1, 1, 2, 2])], "");
        expect(node, &[list("s", &[1, 1, 1 << 20, 1 << 20])], "impossible");
    }
    let range = |limit: i64| {
        [integers("a", &[], &[0]), integers("b", &[], &[limit]), integers("c", &[], &[1])]
    };
    let node = node("Range", &["a", "b", "c"], "y");
    expect(node.clone(), &range(1 << 24), "");
    expect(node, &range(1 << 40), "it counts from 0");
}

#[test]
fn slices_are_whole() {
    let slice = |lists: [&[i64]; 4], expected: &str| {
        let tensors: Vec<_> = ["starts", "ends", "axes", "steps"]
            .iter()
            .zip(lists)
            .map(|(n, l)| list(n, l))
            .collect();
        let node = node("Slice", &["x", "starts", "ends", "axes", "steps"], "y");
        expect(node, &tensors, expected);
    };
    slice([&[0], &[2], &[3], &[-1]], "");
    slice([&[0], &[2], &[3], &[0]], "a step of 0");
    slice([&[0], &[2], &[4], &[1]], "its axis is 4");
    slice([&[0, 1], &[2], &[3], &[1]], "its starts are");
    slice([&[], &[], &[3], &[1]], "its starts are");
    slice([&[0], &[2], &[3, 2], &[1]], "its axes are");
    slice([&[0], &[2], &[3], &[1, 1]], "its steps are");
}

#[test]
fn tensors_have_what_their_shapes_promise() {
    let expect = |tensor: TensorProto, expected: &str| {
        let tensor = TensorProto { name: Some("t".into()), ..tensor };
        expect(node("Add", &["x", "t"], "y"), std::slice::from_ref(&tensor), expected);
        // In a node it is the same.
        let nodes = [constant(tensor, "t"), node("Add", &["x", "t"], "y")];
        let fault = fault(&model(&nodes, &[]));
        assert_eq!(fault.is_empty(), expected.is_empty(), "{fault}");
    };
    let of = |number: i32, dims: &[i64]| TensorProto {
        data_type: Some(number),
        dims: dims.into(),
        ..TensorProto::default()
    };
    let raw = |number: i32, dims: &[i64], len: usize| TensorProto {
        raw_data: Some(vec![0; len].into()),
        ..of(number, dims)
    };
    // Numbers and sizes of ONNX's data types.
    for (number, size) in [
        (1, 4),
        (2, 1),
        (3, 1),
        (4, 2),
        (5, 2),
        (6, 4),
        (7, 8),
        (9, 1),
        (10, 2),
        (11, 8),
        (12, 4),
        (13, 8),
        (16, 2),
    ] {
        expect(raw(number, &[2, 1], 2 * size), "");
        expect(raw(number, &[2, 1], 3 * size), "it has 3 values, and its shape [2, 1] 2");
        expect(raw(number, &[2, 1], size), "it has 1 values");
    }
    expect(raw(1, &[], 4), "");
    expect(raw(1, &[0], 0), "");
    expect(raw(1, &[2], 7), "of another type");
    for number in [0, 8, 14, 17, 99] {
        expect(raw(number, &[1], 4), &format!("its data type ({number})"));
    }
    expect(of(1, &[2]), "it has 0 values");
    expect(of(1, &[-1]), "its shape [-1] is impossible");
    expect(of(1, &[1 << 40, 1 << 40]), "is impossible");
    expect(of(1, &[1; 9]), "9 dimensions");
    let float = floats("t", &[2], &[0.0; 2]);
    expect(TensorProto { raw_data: Some(vec![0; 8].into()), ..float.clone() }, "there twice");
    expect(TensorProto { int64_data: vec![0; 2], ..float.clone() }, "there twice");
    expect(TensorProto { data_type: Some(7), ..float.clone() }, "of another type");
    expect(TensorProto { data_location: Some(1), ..float }, "in another file");
    for (number, tensor) in [
        (6, TensorProto { int32_data: vec![0], ..of(6, &[1]) }),
        (10, TensorProto { int32_data: vec![0], ..of(10, &[1]) }),
        (7, TensorProto { int64_data: vec![0], ..of(7, &[1]) }),
        (11, TensorProto { double_data: vec![0.0], ..of(11, &[1]) }),
        (12, TensorProto { uint64_data: vec![0], ..of(12, &[1]) }),
        (13, TensorProto { uint64_data: vec![0], ..of(13, &[1]) }),
    ] {
        expect(tensor.clone(), "");
        let other = if number == 7 { 6 } else { 7 };
        expect(TensorProto { data_type: Some(other), ..tensor }, "of another type");
    }
}

#[test]
fn values_have_one_origin_before_they_are_read() {
    let two = |a: NodeProto, b: NodeProto| fault(&model(&[a, b], &[floats("t", &[1], &[0.0])]));
    let relu = |from: &str, to: &str| node("Relu", &[from], to);
    assert_eq!(two(relu("x", "a"), relu("a", "y")), "");
    assert!(
        two(relu("a", "y"), relu("x", "a")).contains("node y (Relu): it reads a, which nothing")
    );
    assert!(two(relu("a", "a"), relu("a", "y")).contains("it reads a"));
    for taken in ["x", "a", "t"] {
        assert!(
            two(relu("x", "a"), relu("a", taken)).contains("already something else"),
            "{taken}"
        );
    }
    expect(NodeProto { output: Vec::new(), ..relu("x", "") }, &[], "it has no output");
    expect(relu("x", ""), &[], "it has no output");
    expect(node("Relu", &["x", "x"], "y"), &[], "too few inputs, or too many");
    expect(node("Relu", &[""], "y"), &[], "leaves out an input");
    expect(node("Max", &["x", ""], "y"), &[], "leaves out an input");
    expect(node("Conv", &["x", ""], "y"), &[], "too few inputs, or too many");
    expect(node("Clip", &["x", "", ""], "y"), &[], "");
    expect(node("Conv", &["x"], "y"), &[], "too few inputs");
    let outputs = |op: &str, names: &[&str]| NodeProto {
        output: names.iter().map(|&name| name.into()).collect(),
        ..node(op, &["x"], "")
    };
    expect(outputs("Relu", &["y", "z"]), &[], "too few outputs, or too many");
    expect(outputs("Dropout", &["y", "z"]), &[], "");
    expect(outputs("Anything", &["", "z"]), &[], "nothing computes its output");

    let mut sound = model(&[relu("x", "y")], &[]);
    let graph = sound.graph.as_mut().unwrap();
    graph.output.push(graph.output[0].clone());
    assert!(fault(&sound).contains("there twice"));
    let graph = sound.graph.as_mut().unwrap();
    graph.output.pop();
    graph.output[0].name = Some("z".into());
    assert!(fault(&sound).contains("nothing computes its output z"));
}

#[test]
fn layers_need_more_than_constants() {
    let weights = [zeros("w", &[3, 3, 1, 1])];
    let two = |a: NodeProto, b: NodeProto| fault(&model(&[a, b], &weights));
    for operator in ["Relu", "LeakyRelu", "Sigmoid", "Softmax", "GlobalAveragePool", "Anything"] {
        let fault = two(node(operator, &["w"], "a"), node("Add", &["x", "a"], "y"));
        assert!(fault.contains("with constants alone"), "{operator}: {fault}");
    }
    for operator in ["Identity", "Transpose", "Neg"] {
        assert_eq!(two(node(operator, &["w"], "a"), node("Add", &["x", "a"], "y")), "");
    }
    // What is computed from constants is one, and so is a shape.
    let shape = [node("Shape", &["x"], "a"), node("Relu", &["a"], "y")];
    assert!(fault(&model(&shape, &[])).contains("with constants alone"));
    let fault = two(node("Identity", &["w"], "a"), node("Relu", &["a"], "y"));
    assert!(fault.contains("with constants alone"));
    // Weights may be passed on, not computed.
    assert_eq!(two(node("Identity", &["w"], "a"), node("Conv", &["x", "a"], "y")), "");
    let fault = two(node("Add", &["w", "w"], "a"), node("Conv", &["x", "a"], "y"));
    assert!(fault.contains("its weights are computed"), "{fault}");
}

#[test]
fn what_is_not_supported_is_refused() {
    let relu = || node("Relu", &["x"], "y");
    expect(NodeProto { domain: Some("ai.onnx".into()), ..relu() }, &[], "");
    expect(NodeProto { domain: Some("com.microsoft".into()), ..relu() }, &[], "of com.microsoft");
    let with = |attribute: AttributeProto| NodeProto { attribute: vec![attribute], ..relu() };
    let inner = GraphProto::default;
    expect(with(AttributeProto { g: Some(inner()), ..Default::default() }), &[], "a graph inside");
    expect(
        with(AttributeProto { graphs: vec![inner()], ..Default::default() }),
        &[],
        "a graph inside",
    );
    let bytes = || Some(Bytes::from_static(b"any"));
    expect(with(AttributeProto { sparse_tensor: bytes(), ..Default::default() }), &[], "of a kind");
    expect(with(AttributeProto { tp: bytes(), ..Default::default() }), &[], "of a kind");
    let twice = conv().with_ints("pads", &[0; 4]).with_ints("pads", &[9; 4]);
    expect(twice, &[zeros("w", &[3, 3, 1, 1])], "an attribute twice");
    expect(NodeProto { name: Some("a\0b".into()), ..relu() }, &[], "control characters");
    expect(NodeProto { name: Some("n".repeat(5000)), ..relu() }, &[], "too long");
    expect(node("Cast", &["x"], "y").with_int("to", 1), &[], "");
    expect(node("Cast", &["x"], "y").with_int("to", 8), &[], "converts to");

    let sound = model(&[relu()], &[]);
    assert_eq!(fault(&sound), "");
    let functions = ModelProto { functions: vec![Bytes::new()], ..sound.clone() };
    assert!(fault(&functions).contains("functions of its own"));
    assert!(fault(&ModelProto::default()).contains("there is none"));
    let mut sparse = sound.clone();
    sparse.graph.as_mut().unwrap().sparse_initializer = vec![Bytes::new()];
    assert!(fault(&sparse).contains("sparse"));
    let mut sequence = sound;
    let kind = TypeProto { value: Some(TypeValue::Sequence(Bytes::new())), denotation: None };
    sequence.graph.as_mut().unwrap().output[0].r#type = Some(kind);
    assert!(fault(&sequence).contains("no tensor"));
}
