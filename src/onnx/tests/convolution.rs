// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use crate::onnx::convolution::Convolution;

fn read(node: &NodeProto, tensors: &[TensorProto]) -> Option<Convolution> {
    Convolution::read(node, |name| tensors.iter().find(|tensor| tensor.name() == name))
}

fn count_up(len: usize) -> Vec<f32> {
    (1..=len).map(|value| value as f32).collect()
}

/// Two outputs of three inputs, with 1 to 6 as weights.
fn pointwise() -> Convolution {
    let tensors = [floats("w", &[2, 3, 1, 1], &count_up(6)), floats("b", &[2], &[0.5, -0.5])];
    read(&node("Conv", &["x", "w", "b"], "y"), &tensors).expect("a convolution")
}

#[test]
fn weights_and_bias_are_read() {
    let tensors = [floats("w", &[4, 1, 2, 3], &count_up(24)), floats("b", &[4], &count_up(4))];
    let conv = read(&node("Conv", &["x", "w", "b"], "y").with_int("group", 2), &tensors).unwrap();
    assert_eq!((conv.dims, conv.groups), ([4, 1, 2, 3], 2));
    assert_eq!((conv.outputs(), conv.inputs()), (4, 1));
    assert_eq!((conv.weights, conv.bias), (count_up(24), count_up(4)));

    for inputs in [&["x", "w"][..], &["x", "w", ""]] {
        let conv = read(&node("Conv", inputs, "y"), &tensors).unwrap();
        assert_eq!((conv.groups, conv.bias), (1, vec![0.0; 4]));
    }
}

#[test]
fn other_nodes_are_refused() {
    let conv = || node("Conv", &["x", "w", "b"], "y");
    let w = || floats("w", &[2, 3, 1, 1], &count_up(6));
    let b = || floats("b", &[2], &[0.0; 2]);
    assert!(read(&conv(), &[w(), b()]).is_some());
    let refused = [
        (node("ConvTranspose", &["x", "w", "b"], "y"), w(), b()),
        (node("Conv", &["x"], "y"), w(), b()),
        (node("Conv", &["x", "other"], "y"), w(), b()),
        (node("Conv", &["x", "w", "other"], "y"), w(), b()),
        (conv(), floats("w", &[2, 3, 1], &count_up(6)), b()),
        (conv(), floats("w", &[2, 3, 1, 1], &count_up(5)), b()),
        (conv(), floats("w", &[2, 0, 1, 1], &[]), b()),
        (conv(), floats("w", &[2, -3, -1, 1], &count_up(6)), b()),
        (conv(), w(), floats("b", &[1], &[0.0])),
        (conv(), w(), list("b", &[0, 0])),
        (conv().with_int("group", 0), w(), b()),
        (conv().with_int("group", -1), w(), b()),
        (conv().with_int("group", 3), w(), b()),
        (conv().with_ints("strides", &[0, 1]), w(), b()),
    ];
    for (node, w, b) in refused {
        assert!(read(&node, &[w.clone(), b.clone()]).is_none(), "{node:?} {w:?} {b:?}");
    }
}

#[test]
fn pointwise_convolutions_have_one_group_and_no_window() {
    let tensors =
        [floats("w", &[2, 3, 1, 1], &count_up(6)), floats("k", &[2, 1, 3, 1], &count_up(6))];
    let is_pointwise = |node: NodeProto| read(&node, &tensors).unwrap().is_pointwise();
    let conv = || node("Conv", &["x", "w"], "y");
    assert!(is_pointwise(conv()));
    assert!(!is_pointwise(conv().with_int("group", 2)));
    assert!(!is_pointwise(conv().with_ints("strides", &[2, 2])));
    assert!(!is_pointwise(node("Conv", &["x", "k"], "y")));
}

#[test]
fn batch_normalisation_is_merged_in() {
    // y = (x − mean) / sqrt(variance + epsilon) · scale + offset, with x = w·v + b.
    let constants = [
        floats("scale", &[2], &[3.0, -1.0]),
        floats("offset", &[2], &[5.0, 0.0]),
        floats("mean", &[2], &[7.0, 1.0]),
        floats("variance", &[2], &[3.0, 0.0]),
        floats("short", &[1], &[1.0]),
    ];
    let inputs = ["x", "scale", "offset", "mean", "variance"];
    let merge = |norm: &NodeProto| {
        let constant = |name: &str| constants.iter().find(|tensor| tensor.name() == name);
        // The constants outlive the node here, as they do in a graph.
        pointwise().normalised(norm, constant)
    };
    let norm = node("BatchNormalization", &inputs, "y").with_float("epsilon", 1.0);
    let merged = merge(&norm).unwrap();
    // Factors 3 / sqrt(3 + 1) = 1.5 and −1 / sqrt(0 + 1) = −1.
    assert_eq!(merged.weights, [1.5, 3.0, 4.5, -4.0, -5.0, -6.0]);
    // (0.5 − 7) · 1.5 + 5, and (−0.5 − 1) · −1 + 0.
    assert_eq!(merged.bias, [-4.75, 1.5]);
    assert_eq!(merged.dims, [2, 3, 1, 1]);

    // epsilon is 0.00001 if not given: factor −1 / sqrt(0.00001) = −316.2278.
    let merged = merge(&node("BatchNormalization", &inputs, "y")).unwrap();
    assert!((merged.weights[3] + 4.0 * 316.2278).abs() < 1e-2, "{}", merged.weights[3]);

    let mut training = norm.clone();
    training.output.push("running_mean".into());
    assert!(merge(&training).is_none());
    assert!(merge(&node("InstanceNormalization", &inputs, "y")).is_none());
    for at in 1..=4 {
        let mut short = inputs;
        short[at] = "short";
        assert!(merge(&node("BatchNormalization", &short, "y")).is_none(), "{at}");
        assert!(merge(&node("BatchNormalization", &inputs[..at], "y")).is_none(), "{at}");
    }
}

#[test]
fn outputs_are_repeated() {
    let tensors = [floats("w", &[3, 2, 1, 1], &count_up(6)), floats("b", &[3], &count_up(3))];
    let mut conv = read(&node("Conv", &["x", "w", "b"], "y"), &tensors).unwrap();
    conv.repeat_outputs(-2.0);
    assert_eq!(conv.dims, [6, 2, 1, 1]);
    let repeated = [-2.0, -4.0, -6.0, -8.0, -10.0, -12.0];
    assert_eq!(conv.weights, [&count_up(6)[..], &repeated].concat());
    assert_eq!(conv.bias, [1.0, 2.0, 3.0, -2.0, -4.0, -6.0]);
}

#[test]
fn inputs_are_repeated() {
    let mut conv = pointwise();
    conv.repeat_inputs(-2.0);
    assert_eq!(conv.dims, [2, 6, 1, 1]);
    assert_eq!(conv.weights, [1.0, 2.0, 3.0, -2.0, -4.0, -6.0, 4.0, 5.0, 6.0, -8.0, -10.0, -12.0]);
    assert_eq!(conv.bias, [0.5, -0.5]);
}

#[test]
fn outputs_are_padded() {
    let mut conv = pointwise();
    conv.pad_outputs(3);
    assert_eq!(conv.dims, [3, 3, 1, 1]);
    assert_eq!(conv.weights, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 0.0, 0.0]);
    assert_eq!(conv.bias, [0.5, -0.5, 0.0]);
}

#[test]
fn inputs_are_padded() {
    // Each input has a kernel of 2×3.
    let tensors = [floats("w", &[2, 1, 2, 3], &count_up(12))];
    let mut conv = read(&node("Conv", &["x", "w"], "y"), &tensors).unwrap();
    conv.pad_inputs(2);
    assert_eq!(conv.dims, [2, 2, 2, 3]);
    let nothing = vec![0.0; 6];
    let (first, second) = (count_up(6), count_up(12)[6..].to_vec());
    assert_eq!(conv.weights, [first, nothing.clone(), second, nothing].concat());
    assert_eq!(conv.bias, [0.0, 0.0]);
}
