// SPDX-License-Identifier: MIT OR Apache-2.0

//! What nodes of the known operators say of themselves, against what they compute with.

use std::ops::Range;

use super::{
    node::{Check, Node},
    shaping, windows,
};
use crate::onnx::messages::{DataType, TensorProto};

pub fn check(node: &Node) -> Check {
    match node.proto.op() {
        "Conv" => windows::convolution(node, 1, Some(2)),
        "ConvInteger" => windows::convolution(node, 1, None),
        "QLinearConv" => windows::convolution(node, 3, Some(8)),
        "ConvTranspose" => windows::transposed(node),
        "AveragePool" | "LpPool" | "MaxPool" => windows::pooling(node),
        "BatchNormalization" => per_channel(node, 1..5),
        "InstanceNormalization" => per_channel(node, 1..3),
        "PRelu" => slope(node),
        "Clip" => (1..3).try_for_each(|bound| scalar(node, bound)),
        "Cast" => cast(node),
        _ => shaping::check(node),
    }
}

/// That inputs are vectors of a value for each channel.
fn per_channel(node: &Node, parameters: Range<usize>) -> Check {
    let channels = node.shape(0).map(|shape| shape.get(1).copied());
    let first = node.weights(parameters.start)?;
    for index in parameters {
        let shape = node.weights(index)?;
        let fits = channels.is_none_or(|channels| channels == shape.first().copied());
        if shape.len() != 1 || shape != first || !fits {
            return Err(format!(
                "its input {index} has the shape {shape:?}, and not a value for each channel"
            ));
        }
    }
    Ok(())
}

/// That the slope of each value is known: the slope's shape stretches to that of the values.
fn slope(node: &Node) -> Check {
    let slope = node.weights(1)?;
    let Some(shape) = node.shape(0) else { return Ok(()) };
    let pairs = slope.iter().rev().zip(shape.iter().rev());
    if slope.len() > shape.len() || pairs.clone().any(|(&a, &b)| a != 1 && a != b) {
        return Err(format!("its slope has the shape {slope:?}, and its values {shape:?}"));
    }
    Ok(())
}

fn scalar(node: &Node, index: usize) -> Check {
    match node.constant(index).and_then(TensorProto::element_count) {
        Some(1) | None => Ok(()),
        Some(count) => Err(format!("its input {index} has {count} values instead of one")),
    }
}

fn cast(node: &Node) -> Check {
    let to = node.proto.int("to").and_then(|to| i32::try_from(to).ok());
    let known = to.and_then(|to| DataType::try_from(to).ok()).and_then(DataType::size);
    known
        .map(|_| ())
        .ok_or_else(|| "it converts to a data type that detectors do not have".to_owned())
}
