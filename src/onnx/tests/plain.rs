// SPDX-License-Identifier: MIT OR Apache-2.0

use prost::bytes::Bytes;

use super::*;
use crate::onnx::{
    graph::Graph,
    passes::{
        batch::set_batch,
        plain::{NotPlain, make_plain},
    },
    shapes::Shapes,
};

fn declared(name: &str, data_type: DataType, sizes: &[i64]) -> ValueInfoProto {
    let dimension = |&size: &i64| Dimension {
        value: (size >= 0).then_some(DimensionValue::Value(size)),
        denotation: None,
    };
    let tensor = TensorType {
        elem_type: Some(data_type as i32),
        shape: Some(TensorShapeProto { dim: sizes.iter().map(dimension).collect() }),
    };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { value: Some(TypeValue::Tensor(tensor)), denotation: None }),
        ..ValueInfoProto::default()
    }
}

/// A network from `x` to `y`.
fn network(input: ValueInfoProto, nodes: &[NodeProto], tensors: &[TensorProto]) -> ModelProto {
    let graph = GraphProto {
        input: vec![input],
        output: vec![declared("y", DataType::Float, &[-1])],
        value_info: vec![declared("inner", DataType::Float16, &[4])],
        ..graph_of(nodes, tensors)
    };
    let opset = OperatorSetIdProto { domain: None, version: Some(13) };
    ModelProto { graph: Some(graph), opset_import: vec![opset], ..ModelProto::default() }
}

fn image(sizes: &[i64]) -> ValueInfoProto {
    declared("x", DataType::Float, sizes)
}

fn raw(name: &str, dims: &[i64], data_type: DataType, raw: &[u8]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.into(),
        data_type: Some(data_type as i32),
        raw_data: Some(Bytes::copy_from_slice(raw)),
        ..TensorProto::default()
    }
}

fn plain(model: &mut ModelProto) -> &GraphProto {
    assert!(make_plain(model).expect("it is understood"));
    let opset = model.opset();
    assert_eq!(opset, 13);
    model.graph.as_ref().expect("a graph")
}

fn operators(graph: &GraphProto) -> Vec<&str> {
    graph.node.iter().map(NodeProto::op).collect()
}

fn sizes(value: &ValueInfoProto) -> Vec<Option<i64>> {
    value.tensor().expect("a tensor").1.iter().map(Dimension::size).collect()
}

fn element(value: &ValueInfoProto) -> i32 {
    value.tensor().expect("a tensor").0
}

/// The floats of a constant.
fn values(graph: &GraphProto, name: &str) -> Vec<f32> {
    Graph::new(graph).constant(name).expect("a constant").floats().expect("floats")
}

#[test]
fn networks_of_floats_stay_as_they_are() {
    let cast = node("Cast", &["shape"], "wide").with_int("to", DataType::Float as i64);
    let nodes = [node("Shape", &["x"], "shape"), cast, node("Relu", &["x"], "y")];
    let mut model = network(image(&[1, 3, -1, -1]), &nodes, &[floats("w", &[1], &[0.5])]);
    model.graph.as_mut().expect("a graph").value_info.clear();
    let before = model.clone();
    assert_eq!(make_plain(&mut model), Ok(false));
    assert_eq!(model, before);
    assert_eq!(make_plain(&mut ModelProto::default()), Ok(false));
}

/// IEEE 754: 1.0 is 0x3c00 in binary16, 0x3f80 in bfloat16; 0xc100 is −2.5; 0x0001 is 2⁻²⁴, 0x03ff is
/// 1023·2⁻²⁴ and 0x0400 is 2⁻¹⁴; 0x7bff is 65504, 0x7c00 infinity and 0x7e00 no number.
#[test]
fn halves_and_doubles_become_floats() {
    let halves = [0x3c00, 0xc100, 0x0001, 0x83ff, 0x0400, 0x7bff, 0xfc00, 0x7e00, 0x3555u16];
    let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
    let expected = [1.0, -2.5, 2f32.powi(-24), -1023.0 * 2f32.powi(-24), 2f32.powi(-14), 65504.0];
    let as_integers = TensorProto {
        raw_data: None,
        int32_data: halves.iter().map(|&half| half.into()).collect(),
        ..raw("b", &[9], DataType::Float16, &[])
    };
    let doubles = TensorProto {
        raw_data: None,
        double_data: vec![0.1, -3.0],
        ..raw("d", &[2], DataType::Double, &[])
    };
    let tensors = [
        raw("a", &[9], DataType::Float16, &bytes),
        as_integers,
        raw("c", &[2], DataType::Bfloat16, &[0x80, 0x3f, 0x20, 0xc0]),
        doubles,
        raw("e", &[1], DataType::Double, &0.1f64.to_le_bytes()),
        // Not what its type says: refused later.
        raw("f", &[2], DataType::Float16, &[1, 2, 3]),
    ];
    let inner = constant(raw("", &[1], DataType::Float16, &[0x00, 0x3c]), "g");
    let to = |input, output, data_type: DataType| {
        node("Cast", &[input], output).with_int("to", data_type as i64)
    };
    let nodes = [
        inner,
        to("x", "single", DataType::Float),
        to("single", "half", DataType::Float16),
        node("Conv", &["half", "a"], "conv"),
        node("Shape", &["conv"], "shape"),
        to("shape", "sizes", DataType::Float16),
        to("a", "weight", DataType::Float),
        to("conv", "whole", DataType::Int64),
        to("whole", "y", DataType::Double),
    ];
    let mut model = network(declared("x", DataType::Double, &[1, 3, -1, -1]), &nodes, &tensors);
    model.graph.as_mut().unwrap().output[0] = declared("y", DataType::Bfloat16, &[-1]);
    let graph = plain(&mut model);
    let float = DataType::Float as i32;
    assert_eq!((element(&graph.input[0]), element(&graph.output[0])), (float, float));
    assert_eq!(element(&graph.value_info[0]), float);
    for name in ["a", "b"] {
        let found = values(graph, name);
        assert_eq!(found[..6], expected, "{name}");
        assert!(found[6] == f32::NEG_INFINITY && found[7].is_nan());
        assert!((found[8] - 1.0 / 3.0).abs() < 1e-4);
    }
    assert_eq!(values(graph, "c"), [1.0, -2.5]);
    assert_eq!(values(graph, "d"), [0.1, -3.0]);
    assert_eq!((values(graph, "e"), values(graph, "g")), (vec![0.1], vec![1.0]));
    assert!(graph.initializer[5].is(DataType::Float16));
    // Casts between floats are gone, others give floats.
    let expected = ["Constant", "Identity", "Identity", "Conv", "Shape", "Cast", "Identity"];
    assert_eq!(operators(graph)[..7], expected);
    assert_eq!(operators(graph)[7..], ["Cast", "Cast"]);
    let to = |index: usize| graph.node[index].int("to");
    assert_eq!((to(1), to(5), to(7)), (None, Some(float.into()), Some(DataType::Int64 as i64)));
}

#[test]
fn bytes_that_become_floats_are_floats() {
    let cast =
        |input, output| node("Cast", &[input], output).with_int("to", DataType::Float as i64);
    let bytes = || declared("x", DataType::Uint8, &[1, 3, -1, -1]);
    let turn = node("Transpose", &["x"], "t").with_ints("perm", &[0, 1, 3, 2]);
    let mut model = network(bytes(), &[turn, cast("t", "y"), cast("x", "z")], &[]);
    let graph = plain(&mut model);
    assert_eq!(element(&graph.input[0]), DataType::Float as i32);
    assert_eq!(operators(graph), ["Transpose", "Identity", "Identity"]);
    // What else is done to them is done to bytes.
    let integers = node("Cast", &["x"], "y").with_int("to", DataType::Int32 as i64);
    for nodes in [
        vec![cast("x", "y"), node("Relu", &["x"], "z")],
        vec![node("Identity", &["x"], "y")],
        vec![integers],
    ] {
        let mut model = network(bytes(), &nodes, &[]);
        make_plain(&mut model).expect("it is understood");
        let graph = model.graph.expect("a graph");
        assert_eq!(element(&graph.input[0]), DataType::Uint8 as i32, "{nodes:?}");
    }
}

#[test]
fn nodes_are_sorted() {
    let nodes = [
        node("Relu", &["a"], "first"),
        node("Relu", &["last", ""], "y"),
        node("Identity", &["x"], "a"),
        node("Add", &["first", "b"], "last"),
        node("Relu", &["a"], "b"),
    ];
    let mut model = network(image(&[1, 3, -1, -1]), &nodes, &[]);
    let found: Vec<_> = plain(&mut model).node.iter().map(|node| node.output[0].as_str()).collect();
    assert_eq!(found, ["a", "first", "b", "last", "y"]);
    // Sorted, if not as a walk from the outputs would be.
    let sorted = [node("Relu", &["x"], "a"), node("Relu", &["x"], "b"), node("Relu", &["a"], "y")];
    let cycle = [node("Relu", &["y"], "a"), node("Relu", &["a"], "y")];
    let itself = [node("Relu", &["x"], "b"), node("Add", &["b", "y"], "y")];
    for nodes in [&sorted[..], &cycle, &itself] {
        let mut model = network(image(&[1, 3, -1, -1]), nodes, &[]);
        model.graph.as_mut().unwrap().value_info.clear();
        assert_eq!(make_plain(&mut model), Ok(false));
        assert_eq!(model.graph.unwrap().node, nodes);
    }
}

const TO_FIRST: [i64; 4] = [0, 3, 1, 2];

#[test]
fn channels_come_first() {
    let turn = |input, output| node("Transpose", &[input], output).with_ints("perm", &TO_FIRST);
    let nodes = [
        node("Sub", &["x", "mean"], "less"),
        node("Mul", &["scale", "less"], "scaled"),
        node("Identity", &["scaled"], "same"),
        turn("same", "first"),
        node("Shape", &["x"], "shape"),
        turn("x", "also"),
        node("Relu", &["first"], "y"),
    ];
    let tensors = [floats("mean", &[1, 1, 1, 3], &[1.0, 2.0, 3.0]), floats("scale", &[], &[0.5])];
    for input in [[2, -1, 7, 3], [2, 5, 7, 3]] {
        let mut model = network(image(&input), &nodes, &tensors);
        model.graph.as_mut().unwrap().input[0] = image(&[&[1], &input[1..]].concat());
        let graph = plain(&mut model);
        let height = Some(input[1]).filter(|&size| size > 0);
        assert_eq!(sizes(&graph.input[0]), [Some(1), Some(3), height, Some(7)]);
        let expected =
            ["Transpose", "Sub", "Mul", "Identity", "Identity", "Shape", "Identity", "Relu"];
        assert_eq!(operators(graph), expected);
        // Who asks for the shape gets that of channels last.
        assert_eq!(graph.node[0].input, ["x"]);
        assert_eq!(graph.node[0].ints("perm"), [0, 2, 3, 1]);
        assert_eq!(graph.node[5].input, graph.node[0].output);
        let index = Graph::new(graph);
        let mean = index.constant(&graph.node[1].input[1]).expect("a constant");
        assert_eq!((&mean.dims[..], mean.floats()), (&[3, 1, 1][..], Some(vec![1.0, 2.0, 3.0])));
        assert_eq!(graph.node[2].input, ["scale", "less"]);
        assert!(graph.value_info.is_empty());
    }
}

#[test]
fn channels_that_are_not_moved_as_known_are_refused() {
    let last = || image(&[1, -1, -1, 3]);
    let other = node("Transpose", &["x"], "y").with_ints("perm", &[0, 2, 3, 1]);
    let wide = floats("t", &[2, 3], &[0.0; 6]);
    let outer = floats("t", &[3, 1], &[0.0; 3]);
    let many = floats("t", &[1, 1, 1, 1, 1], &[0.0]);
    let add = || node("Add", &["x", "t"], "y");
    for (nodes, tensors) in [
        (vec![node("Conv", &["x", "w"], "y")], vec![]),
        (vec![other], vec![]),
        (vec![add()], vec![wide]),
        (vec![add()], vec![outer]),
        (vec![add()], vec![many]),
        (vec![add()], vec![]),
        (vec![node("Identity", &["x"], "y")], vec![]),
    ] {
        let refused = make_plain(&mut network(last(), &nodes, &tensors));
        assert!(matches!(refused, Err(NotPlain::ChannelsLast(_))), "{nodes:?}: {refused:?}");
    }
    // Three rows of three: channels are first, as everywhere.
    for first in [&[1, 3, 3, 3][..], &[1, 3, -1, -1], &[1, -1, 3]] {
        let mut model = network(image(first), &[node("Relu", &["x"], "y")], &[]);
        model.graph.as_mut().unwrap().value_info.clear();
        assert_eq!(make_plain(&mut model), Ok(false), "{first:?}");
    }
}

/// What exporters write where the number of pictures is fixed: as the first of constants that others
/// share, in lists joined to sizes, and as one number.
fn of_many(pictures: i64) -> (Vec<NodeProto>, Vec<TensorProto>) {
    let nodes = vec![
        node("Conv", &["x", "w"], "features").with_ints("strides", &[2, 2]),
        node("Shape", &["x"], "shape"),
        node("Slice", &["shape", "two", "end"], "spatial"),
        node("Unsqueeze", &["number", "zero"], "one"),
        node("Concat", &["one", "channels", "spatial"], "sizes").with_int("axis", 0),
        node("Resize", &["features", "", "", "sizes"], "larger"),
        node("Reshape", &["larger", "rows"], "flat"),
        node("Expand", &["flat", "stretched"], "y"),
    ];
    let tensors = vec![
        weights("w", &[4, 3, 1, 1]),
        list("two", &[2]),
        list("end", &[4]),
        list("zero", &[0]),
        integers("number", &[], &[pictures]),
        // The same as four pictures, and not to be changed.
        list("channels", &[4]),
        list("rows", &[pictures, -1, 4]),
        list("stretched", &[pictures, 1, 4]),
    ];
    (nodes, tensors)
}

fn shape_of_y(graph: &GraphProto, input: &[usize]) -> Option<Vec<usize>> {
    let index = Graph::new(graph);
    Shapes::new(&index, "x", input.to_vec()).shape("y").map(<[usize]>::to_vec)
}

#[test]
fn networks_for_many_pictures_become_ones_for_one() {
    let (nodes, tensors) = of_many(4);
    let mut model = network(image(&[4, 3, -1, 8]), &nodes, &tensors);
    model.graph.as_mut().unwrap().output = vec![declared("y", DataType::Float, &[4, 64, 4])];
    let graph = plain(&mut model);
    assert_eq!(sizes(&graph.input[0]), [Some(1), Some(3), None, Some(8)]);
    assert_eq!(sizes(&graph.output[0]), [None, Some(64), Some(4)]);
    assert!(graph.value_info.is_empty());
    // Of any height: 4 · 8 · 6 values.
    assert_eq!(shape_of_y(graph, &[1, 3, 6, 8]), Some(vec![1, 48, 4]));
    assert_eq!(shape_of_y(graph, &[4, 3, 6, 8]), None);
    // And for others again.
    let mut graph = graph.clone();
    set_batch(&mut graph, "x", [1, 3, 6, 8], 2).expect("it is understood");
    assert_eq!(shape_of_y(&graph, &[2, 3, 6, 8]), Some(vec![2, 48, 4]));
    assert_eq!(sizes(&graph.input[0])[0], Some(2));
    let before = graph.clone();
    set_batch(&mut graph, "x", [2, 3, 6, 8], 2).expect("nothing to do");
    assert_eq!(graph, before);
}

#[test]
fn numbers_of_pictures_that_follow_the_input_stay() {
    let nodes = [
        node("Shape", &["x"], "shape"),
        node("Gather", &["shape", "first"], "number"),
        node("Concat", &["number", "rest"], "sizes").with_int("axis", 0),
        node("Reshape", &["x", "sizes"], "rows"),
        node("Reshape", &["rows", "all"], "y"),
    ];
    let tensors = [list("first", &[0]), list("rest", &[-1]), list("all", &[-1, 3])];
    let mut model = network(image(&[4, 3, 2, 2]), &nodes, &tensors);
    let graph = plain(&mut model);
    assert_eq!(graph.node, nodes);
    assert_eq!(shape_of_y(graph, &[1, 3, 2, 2]), Some(vec![4, 3]));
}

#[test]
fn numbers_of_pictures_that_are_not_understood_are_refused() {
    let refused = |nodes: &[NodeProto], tensors: &[TensorProto]| {
        let refused = make_plain(&mut network(image(&[4, 3, 2, 2]), nodes, tensors));
        assert!(matches!(refused, Err(NotPlain::Batch(4, _))), "{nodes:?}: {refused:?}");
        refused.unwrap_err().to_string()
    };
    let reshape = || node("Reshape", &["x", "sizes"], "y");
    // Four pictures in the count of all values.
    let message = refused(&[reshape()], &[list("sizes", &[48])]);
    assert!(message.contains("4 pictures at once, and how many is part of how y"), "{message}");
    let sum = node("Add", &["four", "zero"], "sizes");
    refused(&[sum, reshape()], &[list("four", &[4, 12]), list("zero", &[0, 0])]);
    let short = TensorProto {
        data_type: Some(DataType::Int32 as i32),
        int32_data: vec![4, 12],
        ..raw("sizes", &[2], DataType::Int32, &[])
    };
    refused(&[reshape()], &[short]);
    let message = refused(&[node("Anything", &["x"], "y")], &[]);
    assert!(message.contains("how its output y depends on them is not known"), "{message}");
}

/// `(q − zero) · scale`, from ONNX's documentation of DequantizeLinear.
#[test]
fn integers_become_the_floats_that_they_stand_for() {
    let dequantise = |inputs: &[&str]| node("DequantizeLinear", inputs, "y");
    let int8 = |name: &str, dims: &[i64], values: &[i8]| {
        let bytes: Vec<u8> = values.iter().map(|&value| value as u8).collect();
        raw(name, dims, DataType::Int8, &bytes)
    };
    let per_channel = |axis| {
        let nodes = [dequantise(&["q", "s", "z"]).with_int("axis", axis)];
        let tensors = [
            int8("q", &[2, 2, 3], &[1, 2, 3, -4, -5, -6, 7, 8, 9, 10, 11, -128]),
            floats("s", &[2], &[0.5, 2.0]),
            int8("z", &[2], &[1, 0]),
        ];
        let mut model = network(image(&[1, 3, -1, -1]), &nodes, &tensors);
        let graph = plain(&mut model);
        let index = Graph::new(graph);
        assert_eq!(index.constant("y").expect("a constant").dims, [2, 2, 3]);
        values(graph, "y")
    };
    let outer = [0.0, 0.5, 1.0, -2.5, -3.0, -3.5, 14.0, 16.0, 18.0, 20.0, 22.0, -256.0];
    assert_eq!(per_channel(0), outer);
    assert_eq!(per_channel(-3), outer);
    let inner = [0.0, 0.5, 1.0, -8.0, -10.0, -12.0, 3.0, 3.5, 4.0, 20.0, 22.0, -256.0];
    assert_eq!(per_channel(1), inner);

    let scale = || floats("s", &[], &[0.5]);
    let of = |tensor: TensorProto, zero: Option<TensorProto>| {
        let nodes = match zero {
            Some(_) => [dequantise(&["q", "s", "z"])],
            None => [dequantise(&["q", "s"])],
        };
        let tensors: Vec<_> = [tensor, scale()].into_iter().chain(zero).collect();
        let mut model = network(image(&[1, 3, -1, -1]), &nodes, &tensors);
        values(plain(&mut model), "y")
    };
    assert_eq!(of(raw("q", &[2], DataType::Uint8, &[0, 255]), None), [0.0, 127.5]);
    let zero = raw("z", &[], DataType::Uint8, &[128]);
    assert_eq!(of(raw("q", &[2], DataType::Uint8, &[0, 255]), Some(zero)), [-64.0, 63.5]);
    assert_eq!(of(raw("q", &[1], DataType::Int16, &[0, 0x80]), None), [-16384.0]);
    assert_eq!(of(raw("q", &[1], DataType::Uint16, &[0, 0x80]), None), [16384.0]);
    assert_eq!(of(raw("q", &[1], DataType::Int32, &[0, 0, 1, 0]), None), [32768.0]);
    let unpacked = TensorProto { int32_data: vec![-3, 4], ..raw("q", &[2], DataType::Int8, &[]) };
    assert_eq!(of(unpacked, None), [-1.5, 2.0]);

    // Left as they are: blocks, other numbers of scales or of values, other types.
    let blocks = dequantise(&["q", "s"]).with_int("block_size", 2);
    let two = || raw("q", &[2], DataType::Int8, &[1, 2]);
    for (node, tensors) in [
        (blocks, [two(), floats("s", &[], &[1.0])]),
        (dequantise(&["q", "s"]), [two(), floats("s", &[3], &[1.0; 3])]),
        (dequantise(&["q", "s"]), [raw("q", &[3], DataType::Int8, &[1, 2]), scale()]),
        (dequantise(&["q", "s"]), [floats("q", &[1], &[1.0]), scale()]),
        (dequantise(&["q"]), [two(), scale()]),
        (
            dequantise(&["q", "s"]),
            [raw("q", &[0, 0, 1 << 40, 1 << 40], DataType::Int8, &[]), scale()],
        ),
    ] {
        let mut model = network(image(&[1, 3, -1, -1]), &[node], &tensors);
        model.graph.as_mut().unwrap().value_info.clear();
        assert_eq!(make_plain(&mut model), Ok(false), "{:?}", model.graph);
    }
}

/// A layer, a pair with this zero point and scale, and what reads it.
fn quantised(
    layer: &str,
    (zero, scale): (Option<TensorProto>, f32),
    reader: &str,
    opset: i64,
) -> GraphProto {
    let operands: &[&str] = if zero.is_some() { &["s", "z"] } else { &["s"] };
    let pair = |op, input, output| node(op, &[&[input], operands].concat(), output);
    let nodes = [
        node(layer, &["x", "w"], "layer"),
        pair("QuantizeLinear", "layer", "q"),
        pair("DequantizeLinear", "q", "d"),
        node(reader, &["d", "w"], "y"),
    ];
    let tensors = [weights("w", &[3, 3, 1, 1]), floats("s", &[], &[scale])];
    let tensors: Vec<_> = tensors.into_iter().chain(zero).collect();
    let mut model = network(image(&[1, 3, -1, -1]), &nodes, &tensors);
    model.opset_import[0].version = Some(opset);
    assert_eq!(make_plain(&mut model), Ok(true));
    model.graph.expect("a graph")
}

#[test]
fn pairs_leave_what_they_cut_off() {
    let zero = |data_type, value: u8| Some(raw("z", &[], data_type, &[value]));
    let least = || zero(DataType::Int8, 0x80);
    let pair = |layer: &str, zero, scale| {
        let graph = quantised(layer, (zero, scale), "Conv", 13);
        assert_eq!(graph.node.len(), 3, "{:?}", operators(&graph));
        assert_eq!(graph.node[1].input[0], "layer");
        graph.node[1].op().to_owned()
    };
    for zero in [None, least(), zero(DataType::Uint8, 0)] {
        assert_eq!(pair("Conv", zero, 0.1), "Relu");
    }
    for zero in [zero(DataType::Int8, 0), zero(DataType::Uint8, 1), zero(DataType::Uint8, 255)] {
        assert_eq!(pair("Conv", zero, 0.1), "Identity");
    }
    let wide = |data_type, high: u8| Some(raw("z", &[], data_type, &[0, high]));
    assert_eq!(pair("Conv", wide(DataType::Uint16, 0), 0.1), "Relu");
    assert_eq!(pair("Conv", wide(DataType::Int16, 0x80), 0.1), "Relu");
    assert_eq!(pair("Conv", wide(DataType::Int16, 0), 0.1), "Identity");
    assert_eq!(pair("Conv", Some(raw("z", &[], DataType::Int32, &[0; 4])), 0.1), "Identity");
    // What cannot be less than zero needs no limit.
    for layer in ["Relu", "Sigmoid", "HardSigmoid", "Softmax"] {
        assert_eq!(pair(layer, least(), 0.1), "Identity", "{layer}");
    }
    // 255 steps of 6 / 255, the most that is left of a ReLU6.
    let graph = quantised("Conv", (least(), 6.0 / 255.0), "Conv", 13);
    assert_eq!(graph.node[1].op(), "Clip");
    let [_, low, high] = &graph.node[1].input[..] else { panic!("{:?}", graph.node[1]) };
    assert_eq!(values(&graph, low), [0.0]);
    assert!((values(&graph, high)[0] - 6.0).abs() < 1e-5);
    assert_eq!(quantised("Conv", (least(), 6.0 / 255.0), "Conv", 11).node[1].op(), "Clip");
    assert_eq!(quantised("Conv", (least(), 6.0 / 255.0), "Conv", 10).node[1].op(), "Relu");
    assert_eq!(pair("Conv", least(), 6.02 / 255.0), "Relu");
    // Behind the last layer there was no activation.
    assert_eq!(quantised("Conv", (least(), 0.1), "Softmax", 13).node[1].op(), "Identity");
}

#[test]
fn limits_are_looked_for_behind_what_moves_values() {
    let zero = || raw("z", &[], DataType::Uint8, &[0]);
    let pair = |input: &str, name: &str| {
        let q = format!("{name} q");
        [
            node("QuantizeLinear", &[input, "s", "z"], &q),
            node("DequantizeLinear", &[&q, "s", "z"], name),
        ]
    };
    let second = |middle: &[NodeProto]| {
        let mut nodes = vec![node("Conv", &["x", "w"], "a"), node("Conv", &["x", "w"], "b")];
        nodes.extend(pair("a", "one"));
        nodes.extend_from_slice(middle);
        nodes.extend(pair("moved", "two"));
        nodes.push(node("Conv", &["two", "w"], "y"));
        let tensors = [weights("w", &[3, 3, 1, 1]), floats("s", &[], &[0.1]), zero()];
        let mut model = network(image(&[1, 3, -1, -1]), &nodes, &tensors);
        let graph = plain(&mut model);
        let found = graph.node.iter().find(|node| node.output[0] == "two");
        found.expect("a node").op().to_owned()
    };
    for op in ["AveragePool", "MaxPool", "Reshape", "Resize", "Slice", "Transpose"] {
        assert_eq!(second(&[node(op, &["one"], "moved")]), "Identity", "{op}");
        assert_eq!(second(&[node(op, &["b"], "moved")]), "Relu", "{op}");
    }
    for op in ["Add", "Concat"] {
        assert_eq!(second(&[node(op, &["one", "one"], "moved")]), "Identity", "{op}");
        assert_eq!(second(&[node(op, &["one", "b"], "moved")]), "Relu", "{op}");
    }
    assert_eq!(second(&[node("Sub", &["one", "one"], "moved")]), "Relu");
}

#[test]
fn pairs_that_scale_or_are_read_elsewhere_stay() {
    let nodes = [
        node("QuantizeLinear", &["x", "s"], "q"),
        node("DequantizeLinear", &["q", "t"], "scaled"),
        node("DequantizeLinear", &["q", "s"], "same"),
        node("DequantizeLinear", &["other", "s"], "unknown"),
        node("Add", &["scaled", "same"], "y"),
    ];
    let tensors = [floats("s", &[], &[0.1]), floats("t", &[], &[0.2])];
    let mut model = network(image(&[1, 3, -1, -1]), &nodes, &tensors);
    let graph = plain(&mut model);
    let expected = ["QuantizeLinear", "DequantizeLinear", "Identity", "DequantizeLinear", "Add"];
    assert_eq!(operators(graph), expected);
}

#[test]
fn names_are_new_and_inputs_no_weights() {
    let mut graph = network(image(&[1]), &[node("Relu", &["x"], "a")], &[weights("a_", &[])]);
    let graph = graph.graph.as_mut().expect("a graph");
    graph.input.push(image(&[1]));
    graph.input[1].name = Some("a_".into());
    assert_eq!(graph.inputs().iter().map(|input| input.name()).collect::<Vec<_>>(), ["x"]);
    assert_eq!(graph.unique_name("x"), "x_");
    assert_eq!(graph.add_tensor("a", weights("b", &[7])), "a__");
    assert_eq!(graph.initializer[1], weights("a__", &[7]));
    let opsets = [("com.microsoft", 1), ("ai.onnx", 12), ("", 9)];
    let opset = |(domain, version): (&str, i64)| OperatorSetIdProto {
        domain: Some(domain.into()),
        version: Some(version),
    };
    let model = ModelProto { opset_import: opsets.map(opset).into(), ..ModelProto::default() };
    assert_eq!((model.opset(), ModelProto::default().opset()), (12, 0));
}
