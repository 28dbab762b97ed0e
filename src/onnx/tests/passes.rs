// SPDX-License-Identifier: MIT OR Apache-2.0

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::onnx::builder::GraphBuilder;
use crate::onnx::passes::{fold, pixels, widen};
use crate::preprocess::{ChannelOrder, Normalisation, Pixels, ScaleMethod};

/// A 1×1 convolution with 2 outputs, a depthwise one and one with 1 output, with activations
/// between; of one input channel.
fn narrow(first: NodeProto, second: NodeProto) -> GraphBuilder {
    let mut builder = GraphBuilder::default();
    for tensor in [
        floats("w0", &[2, 1, 1, 1], &[2.0, -3.0]),
        floats("b0", &[2], &[0.5, 1.0]),
        floats("w1", &[2, 1, 1, 1], &[4.0, 5.0]),
        floats("b1", &[2], &[-1.0, 2.0]),
        floats("w2", &[1, 2, 1, 1], &[6.0, 7.0]),
    ] {
        builder.copy_tensor(tensor.name(), &tensor);
    }
    builder.nodes = vec![
        node("Conv", &["x", "w0", "b0"], "c0"),
        first,
        node("Conv", &["a0", "w1", "b1"], "c1").with_int("group", 2),
        second,
        node("Conv", &["a1", "w2"], "y"),
    ];
    builder
}

fn relu(input: &str, output: &str) -> NodeProto {
    node("Relu", &[input], output)
}

fn leaky(input: &str, output: &str, alpha: f32) -> NodeProto {
    node("LeakyRelu", &[input], output).with_float("alpha", alpha)
}

/// Weights and bias of the convolution at `index`.
fn parameters(builder: &GraphBuilder, index: usize) -> [(Vec<i64>, Vec<f32>); 2] {
    [1, 2].map(|input| {
        let tensor = builder.tensor(&builder.nodes[index].input[input]).expect("a tensor");
        (tensor.dims.clone(), tensor.floats().expect("floats"))
    })
}

/// Computes `y` for one pixel of one channel: 1×1 convolutions and activations.
fn evaluate(builder: &GraphBuilder, x: f32) -> f32 {
    let mut values = HashMap::from([("x", vec![x])]);
    for node in &builder.nodes {
        let input = &values[node.input[0].as_str()];
        let output = match node.op() {
            "Conv" => {
                let tensor = |at: usize| node.input.get(at).and_then(|name| builder.tensor(name));
                let weights = tensor(1).expect("weights");
                let bias = tensor(2).map(|bias| bias.floats().expect("floats"));
                let (outputs, inputs) = (weights.dims[0] as usize, weights.dims[1] as usize);
                let groups = node.int("group").unwrap_or(1) as usize;
                assert_eq!(inputs * groups, input.len());
                let weights = weights.floats().expect("floats");
                let sum = |output: usize| {
                    let first = output / (outputs / groups) * inputs;
                    let products = (0..inputs)
                        .map(|channel| weights[output * inputs + channel] * input[first + channel]);
                    bias.as_ref().map_or(0.0, |bias| bias[output]) + products.sum::<f32>()
                };
                (0..outputs).map(sum).collect()
            }
            "Relu" => input.iter().map(|value| value.max(0.0)).collect(),
            "LeakyRelu" => {
                let alpha = node.float("alpha").unwrap_or(0.01);
                let leak = |&value: &f32| if value < 0.0 { alpha * value } else { value };
                input.iter().map(leak).collect()
            }
            op => panic!("{op}"),
        };
        values.insert(&node.output[0], output);
    }
    values["y"][0]
}

#[test]
fn narrow_layers_are_padded() {
    let mut builder = narrow(relu("c0", "a0"), relu("c1", "a1"));
    widen::widen(&mut builder, 3);
    assert_eq!(
        parameters(&builder, 0),
        [(vec![3, 1, 1, 1], vec![2.0, -3.0, 0.0]), (vec![3], vec![0.5, 1.0, 0.0])]
    );
    assert_eq!(
        parameters(&builder, 2),
        [(vec![3, 1, 1, 1], vec![4.0, 5.0, 0.0]), (vec![3], vec![-1.0, 2.0, 0.0])]
    );
    assert_eq!(
        parameters(&builder, 4),
        [(vec![1, 3, 1, 1], vec![6.0, 7.0, 0.0]), (vec![1], vec![0.0])]
    );
    assert_eq!([0, 2, 4].map(|index| builder.nodes[index].int("group")), [1, 3, 1].map(Some));
    let groups = |node: &NodeProto| node.attribute.iter().filter(|a| a.name() == "group").count();
    assert_eq!(groups(&builder.nodes[2]), 1);
}

#[test]
fn a_leaky_relu_becomes_two() {
    // relu(v) − ¼ · relu(−v), where there is room for both.
    let mut builder = narrow(relu("c0", "a0"), leaky("c1", "a1", 0.25));
    widen::widen(&mut builder, 5);
    assert_eq!(builder.nodes[3], relu("c1", "a1"));
    assert_eq!(
        parameters(&builder, 0),
        [
            (vec![5, 1, 1, 1], vec![2.0, -3.0, 2.0, -3.0, 0.0]),
            (vec![5], vec![0.5, 1.0, 0.5, 1.0, 0.0])
        ]
    );
    assert_eq!(
        parameters(&builder, 2),
        [
            (vec![5, 1, 1, 1], vec![4.0, 5.0, -4.0, -5.0, 0.0]),
            (vec![5], vec![-1.0, 2.0, 1.0, -2.0, 0.0])
        ]
    );
    assert_eq!(parameters(&builder, 4)[0], (vec![1, 5, 1, 1], vec![6.0, 7.0, -1.5, -1.75, 0.0]));
    assert_eq!(builder.nodes[2].int("group"), Some(5));
}

#[test]
fn a_leaky_relu_stays_where_there_is_no_room() {
    for (lanes, activation) in [(3, "LeakyRelu"), (4, "Relu")] {
        let mut builder = narrow(relu("c0", "a0"), leaky("c1", "a1", 0.25));
        widen::widen(&mut builder, lanes);
        assert_eq!(builder.nodes[3].op(), activation, "{lanes} lanes");
        assert_eq!(parameters(&builder, 0)[1].0, [lanes as i64]);
    }
}

#[test]
fn three_channels_need_six_lanes_for_both() {
    for (lanes, activation) in [(5, "LeakyRelu"), (6, "Relu")] {
        let mut builder = narrow(relu("c0", "a0"), leaky("c1", "a1", 0.25));
        for (at, dims) in [(0, [3, 1, 1, 1]), (2, [3, 1, 1, 1]), (4, [1, 3, 1, 1])] {
            let name = format!("three{at}");
            builder.copy_tensor(&name, &floats("", &dims, &[1.0, 2.0, 3.0]));
            builder.nodes[at].input.truncate(1);
            builder.nodes[at].input.push(name);
        }
        builder.nodes[2].attribute[0].i = Some(3);
        widen::widen(&mut builder, lanes);
        assert_eq!(builder.nodes[3].op(), activation, "{lanes} lanes");
        assert_eq!(parameters(&builder, 0)[1].0, [lanes as i64]);
    }
}

#[test]
fn a_leaky_relu_leaks_a_hundredth_by_default() {
    let mut builder = narrow(relu("c0", "a0"), node("LeakyRelu", &["c1"], "a1"));
    widen::widen(&mut builder, 4);
    assert_eq!(parameters(&builder, 4)[0].1, [6.0, 7.0, -0.06, -0.07]);
}

proptest! {
    #[test]
    fn padding_changes_no_number(
        x in -10.0f32..10.0,
        alpha in 0.0f32..1.0,
        other in 0.0f32..1.0,
        lanes in 1usize..9,
    ) {
        for second in [relu("c1", "a1"), leaky("c1", "a1", alpha)] {
            for first in [relu("c0", "a0"), leaky("c0", "a0", other)] {
                let mut builder = narrow(first, second.clone());
                let before = evaluate(&builder, x);
                widen::widen(&mut builder, lanes);
                let after = evaluate(&builder, x);
                // The terms of the sum are below 2000, and floats have 24 bits.
                prop_assert!((after - before).abs() <= 2e-3, "{after} for {before}");
            }
        }
    }
}

#[test]
fn other_layers_are_left_alone() {
    let unchanged = |change: &dyn Fn(&mut GraphBuilder), lanes: usize| {
        let mut builder = narrow(relu("c0", "a0"), leaky("c1", "a1", 0.25));
        change(&mut builder);
        let before = builder.nodes.clone();
        widen::widen(&mut builder, lanes);
        builder.nodes == before
    };
    assert!(!unchanged(&|_| (), 4));
    // Wide enough.
    assert!(unchanged(&|_| (), 2));
    // Sigmoid of nothing is something.
    assert!(unchanged(&|b| b.nodes[1].op_type = Some("Sigmoid".into()), 4));
    assert!(unchanged(&|b| b.nodes[3].op_type = Some("Sigmoid".into()), 4));
    // Not depthwise, or with two inputs a group.
    assert!(unchanged(&|b| b.nodes[2].attribute.clear(), 4));
    assert!(unchanged(&|b| b.nodes[2].attribute[0].i = Some(1), 4));
    let replace = |b: &mut GraphBuilder, at: usize, tensor: TensorProto| {
        b.copy_tensor(tensor.name(), &tensor);
        b.nodes[at].input[1] = tensor.name().into();
        b.nodes[at].input.truncate(2);
    };
    let with = |at: usize, dims: &[i64]| {
        let count: i64 = dims.iter().product();
        let tensor = floats("new", dims, &vec![1.0; count as usize]);
        unchanged(&|b| replace(b, at, tensor.clone()), 4)
    };
    assert!(!with(4, &[1, 2, 1, 1]));
    // Two outputs for each input, one input for both, or other channels before or after.
    assert!(with(2, &[4, 1, 1, 1]));
    assert!(with(2, &[2, 2, 1, 1]));
    assert!(with(4, &[1, 1, 1, 1]));
    assert!(with(4, &[1, 3, 1, 1]));
    assert!(with(0, &[3, 1, 1, 1]));
    // Groups before or after.
    assert!(unchanged(&|b| b.nodes[0].attribute.push(AttributeProto::new_int("group", 2)), 4));
    let grouped = |b: &mut GraphBuilder| {
        replace(b, 4, floats("new", &[2, 2, 1, 1], &[1.0; 4]));
        b.nodes[4].attribute.push(AttributeProto::new_int("group", 2));
    };
    assert!(unchanged(&grouped, 4));
    // Somebody else reads a value of the pattern, or weights are unknown.
    assert!(unchanged(&|b| b.nodes.push(relu("a0", "z")), 4));
    assert!(unchanged(&|b| b.nodes[2].input[1] = "computed".into(), 4));
}

/// A convolution with one output, and batch normalisation with factor 3 / sqrt(3 + 1) = 1.5.
fn normalised(readers: &[NodeProto]) -> GraphBuilder {
    let mut builder = GraphBuilder::default();
    for (name, value) in [("scale", 3.0), ("offset", 5.0), ("mean", 7.0), ("variance", 3.0)] {
        builder.copy_tensor(name, &floats("", &[1], &[value]));
    }
    builder.copy_tensor("w", &floats("", &[1, 1, 1, 1], &[2.0]));
    let norm = node("BatchNormalization", &["c", "scale", "offset", "mean", "variance"], "n");
    builder.nodes = vec![node("Conv", &["x", "w"], "c"), norm.with_float("epsilon", 1.0)];
    builder.nodes.extend_from_slice(readers);
    builder
}

#[test]
fn batch_normalisation_of_narrow_layers_is_merged() {
    let mut builder = normalised(&[node("Sigmoid", &["n"], "y")]);
    widen::widen(&mut builder, 2);
    let ops: Vec<_> = builder.nodes.iter().map(|node| (node.op(), &node.output[..])).collect();
    assert_eq!(ops, [("Conv", &["n".to_owned()][..]), ("Sigmoid", &["y".to_owned()])]);
    // 2 · 1.5, and (0 − 7) · 1.5 + 5.
    let [weights, bias] = parameters(&builder, 0);
    assert_eq!((weights.1, bias.1), (vec![3.0], vec![-5.5]));
}

#[test]
fn other_batch_normalisation_stays() {
    for (lanes, readers) in [(1, vec![]), (2, vec![node("Sigmoid", &["c"], "y")])] {
        let mut builder = normalised(&readers);
        let before = builder.nodes.clone();
        widen::widen(&mut builder, lanes);
        assert_eq!(builder.nodes, before);
    }
}

/// What is put before a node that reads "planes", and the new input.
fn prepended(
    pixels: &Pixels,
    batch: usize,
    target: (u32, u32),
    normalisation: Normalisation,
) -> (String, GraphBuilder) {
    let mut builder = GraphBuilder::new(["planes", "y"].into_iter());
    builder.nodes.push(node("Conv", &["planes"], "y"));
    let input = pixels::prepend(&mut builder, "planes", pixels, (batch, target), normalisation);
    (input, builder)
}

fn subtracted(mean: [f32; 3]) -> Normalisation {
    Normalisation { mean, ..Normalisation::NONE }
}

/// (x − 127.5)/128 of red, green and blue, as SCRFD networks expect; the mean follows the order.
#[test]
fn scale_and_order_become_part_of_the_network() {
    let bgra =
        Pixels { size: (4, 3), channels: 4, order: [0, 1, 2], method: ScaleMethod::Bilinear };
    let mean = [1.0, 2.0, 3.0];
    let normalisation =
        Normalisation { mean, scale: 1.0 / 128.0, order: ChannelOrder::Rgb, padding: mean };
    let (_, builder) = prepended(&bgra, 1, (4, 3), normalisation);
    assert_eq!(ops(&builder), ["Cast", "Gather", "Transpose", "Sub", "Mul", "Conv"]);
    let operand = |index: usize| builder.tensor(&builder.nodes[index].input[1]).unwrap();
    assert_eq!(operand(1).integers(), Some(vec![2, 1, 0]));
    assert_eq!(operand(3).floats(), Some(vec![3.0, 2.0, 1.0]));
    assert_eq!(operand(4).floats(), Some(vec![1.0 / 128.0]));
}

fn ops(builder: &GraphBuilder) -> Vec<&str> {
    builder.nodes.iter().map(NodeProto::op).collect()
}

#[test]
fn pixels_become_planes() {
    let bgr =
        Pixels { size: (40, 30), channels: 3, order: [0, 1, 2], method: ScaleMethod::Bilinear };
    let (input, builder) = prepended(&bgr, 1, (40, 30), Normalisation::NONE);
    assert_eq!(input, "pixels");
    assert_eq!(ops(&builder), ["Cast", "Transpose", "Conv"]);
    assert_eq!(builder.nodes[0].input, ["pixels"]);
    assert_eq!(builder.nodes[1].input, builder.nodes[0].output);
    assert_eq!(builder.nodes[1].output, ["planes"]);
    assert_eq!([0, 1].map(|at| builder.nodes[at].name()), ["Cast", "planes"]);
    // Float is number 1; the last dimension, the channels, comes second.
    assert_eq!(builder.nodes[0].int("to"), Some(1));
    assert_eq!(builder.nodes[1].ints("perm"), [0, 3, 1, 2]);

    let (input, builder) = prepended(&bgr, 1, (40, 30), subtracted([104.0, 117.0, 123.0]));
    assert_eq!(input, "pixels");
    assert_eq!(ops(&builder), ["Cast", "Transpose", "Sub", "Conv"]);
    let sub = &builder.nodes[2];
    assert_eq!(
        (&sub.input[0], &sub.output[..]),
        (&builder.nodes[1].output[0], &["planes".into()][..])
    );
    let mean = builder.tensor(&sub.input[1]).unwrap();
    assert_eq!(mean.dims, [1, 3, 1, 1]);
    assert_eq!(mean.floats(), Some(vec![104.0, 117.0, 123.0]));
}

#[test]
fn channels_are_picked() {
    for (channels, order) in [(4, [0, 1, 2]), (3, [2, 1, 0]), (1, [0, 0, 0]), (4, [3, 2, 1])] {
        let pixels = Pixels { size: (4, 3), channels, order, method: ScaleMethod::Nearest };
        let (_, builder) = prepended(&pixels, 1, (4, 3), Normalisation::NONE);
        assert_eq!(ops(&builder), ["Cast", "Gather", "Transpose", "Conv"]);
        let gather = &builder.nodes[1];
        // The last of batch, rows, columns and channels.
        assert_eq!(gather.int("axis"), Some(3));
        let picked = builder.tensor(&gather.input[1]).unwrap().integers().unwrap();
        assert_eq!(picked, order.map(|channel| channel as i64));
    }
}

#[test]
fn planes_are_resized() {
    for (method, attributes) in [
        (
            ScaleMethod::Nearest,
            [("mode", "nearest"), ("coordinate_transformation_mode", "asymmetric")],
        ),
        (
            ScaleMethod::Bilinear,
            [("mode", "linear"), ("coordinate_transformation_mode", "half_pixel")],
        ),
    ] {
        let pixels = Pixels { size: (40, 30), channels: 3, order: [0, 1, 2], method };
        let (_, builder) = prepended(&pixels, 5, (64, 32), subtracted([1.0, 0.0, 0.0]));
        assert_eq!(ops(&builder), ["Cast", "Transpose", "Sub", "Resize", "Conv"]);
        let resize = &builder.nodes[3];
        for (name, value) in attributes {
            assert_eq!(resize.string(name), Some(value));
        }
        let floor = (method == ScaleMethod::Nearest).then_some("floor");
        assert_eq!(resize.string("nearest_mode"), floor);
        assert_eq!(resize.output, ["planes"]);
        let [_, region, scales, sizes] = &resize.input[..] else { panic!("{resize:?}") };
        for none in [region, scales] {
            assert_eq!(builder.tensor(none).unwrap().floats(), Some(vec![]));
        }
        // Batch, channels, height, width.
        assert_eq!(builder.tensor(sizes).unwrap().integers(), Some(vec![5, 3, 32, 64]));
    }
}

#[test]
fn names_of_the_network_are_left_to_it() {
    let pixels =
        Pixels { size: (4, 3), channels: 3, order: [0, 1, 2], method: ScaleMethod::Nearest };
    let mut builder = GraphBuilder::new(["planes", "pixels", "Cast"].into_iter());
    let input = pixels::prepend(&mut builder, "planes", &pixels, (1, (4, 3)), Normalisation::NONE);
    assert_eq!(input, "pixels_");
    assert_eq!(builder.nodes[0].output, ["Cast_"]);
    assert!(builder.is_sound("pixels_"));
}

/// A convolution of two outputs, which a node multiplies or divides.
fn factored(behind: NodeProto, tensors: &[TensorProto]) -> GraphProto {
    let convolution = node("Conv", &["x", "w", "b"], "c");
    let own = [floats("w", &[2, 1, 1, 1], &[2.0, -3.0]), floats("b", &[2], &[0.5, 1.0])];
    graph_of(&[convolution, behind, node("Relu", &["y"], "z")], &[&own[..], tensors].concat())
}

#[test]
fn factors_behind_convolutions_become_part_of_their_weights() {
    let factor = floats("factor", &[], &[4.0]);
    for (behind, expected) in [
        (node("Mul", &["c", "factor"], "y"), 4.0),
        (node("Mul", &["factor", "c"], "y"), 4.0),
        (node("Div", &["c", "factor"], "y"), 0.25),
    ] {
        let mut graph = factored(behind, std::slice::from_ref(&factor));
        assert!(fold::fold_factors(&mut graph));
        let [convolution, behind, _] = &graph.node[..] else { panic!("the nodes stay") };
        assert_eq!((behind.op(), &behind.input[..]), ("Identity", &["c".to_owned()][..]));
        assert_eq!(behind.output, ["y"]);
        let tensor = |input: usize| {
            let name = &convolution.input[input];
            let tensor = graph.initializer.iter().find(|tensor| tensor.name() == name).unwrap();
            (tensor.dims.clone(), tensor.floats().unwrap())
        };
        assert_eq!(tensor(1), (vec![2, 1, 1, 1], vec![2.0 * expected, -3.0 * expected]));
        assert_eq!(tensor(2), (vec![2], vec![0.5 * expected, expected]));
        assert_eq!(convolution.input[0], "x");
    }
}

#[test]
fn other_factors_stay() {
    let factor = floats("factor", &[], &[4.0]);
    let unchanged = |graph: GraphProto| {
        let mut folded = graph.clone();
        assert!(!fold::fold_factors(&mut folded));
        assert_eq!(folded, graph);
    };
    let many = floats("factor", &[1, 2, 1, 1], &[4.0, 5.0]);
    unchanged(factored(node("Mul", &["c", "factor"], "y"), &[many]));
    unchanged(factored(node("Mul", &["c", "z"], "y"), &[]));
    unchanged(factored(node("Add", &["c", "factor"], "y"), std::slice::from_ref(&factor)));
    unchanged(factored(node("Div", &["factor", "c"], "y"), std::slice::from_ref(&factor)));
    unchanged(factored(node("Div", &["c", "zero"], "y"), &[floats("zero", &[], &[0.0])]));
    let multiplied = || factored(node("Mul", &["c", "factor"], "y"), std::slice::from_ref(&factor));
    // Others read what is multiplied, or the caller does.
    let mut shared = multiplied();
    shared.node.push(node("Relu", &["c"], "other"));
    unchanged(shared);
    let mut output = multiplied();
    output.output = vec![ValueInfoProto { name: Some("c".into()), ..ValueInfoProto::default() }];
    unchanged(output);
    let mut pool = multiplied();
    pool.node[0] = node("MaxPool", &["x"], "c");
    unchanged(pool);
}
