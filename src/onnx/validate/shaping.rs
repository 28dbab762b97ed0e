// SPDX-License-Identifier: MIT OR Apache-2.0

//! Operators that rearrange, cut and stretch.

use super::node::{Check, Node};
use crate::onnx::shapes::{MAX_DIMENSION, absolute};

/// Feature pyramids double sizes; nothing enlarges more at once.
const MAX_SCALE: f32 = 16.0;
/// Padding of a layer of its own, in front of a convolution.
const MAX_PAD: i64 = 1024;
/// What nodes that make tensors of a given shape make at most.
const MAX_ELEMENTS: i64 = 1 << 28;

pub fn check(node: &Node) -> Check {
    match node.proto.op() {
        "Concat" => axis(node, node.proto.int("axis").ok_or("it has no axis")?, 0),
        "Softmax" | "LogSoftmax" => node.proto.int("axis").map_or(Ok(()), |at| axis(node, at, 0)),
        "Flatten" => node.proto.int("axis").map_or(Ok(()), |at| axis(node, at, 1)),
        "Split" => split(node),
        "Gather" => gather(node),
        "Transpose" => transpose(node),
        "Squeeze" => axes(node, 1, 0),
        "Unsqueeze" => axes(node, 1, node.operand(1, "axes").map_or(0, |axes| axes.len())),
        "Slice" => slice(node),
        "Reshape" => shape(&node.operand(1, "shape").unwrap_or_default(), -1),
        "ConstantOfShape" => shape(&node.integers(0).unwrap_or_default(), 0),
        "Expand" | "Tile" => shape(&node.integers(1).unwrap_or_default(), 0),
        "Range" => range(node),
        "Pad" => pad(node),
        "Resize" | "Upsample" => resize(node),
        _ => Ok(()),
    }
}

/// That an axis is one of the first input's, of which there are `more` than its shape says.
fn axis(node: &Node, axis: i64, more: usize) -> Check {
    let rank = node.shape(0).map(|shape| shape.len().saturating_add(more));
    match rank {
        Some(rank) if absolute(axis, rank).is_none() => {
            Err(format!("its axis is {axis}, and its input has {rank} dimensions"))
        }
        _ => Ok(()),
    }
}

/// The axes in an input or an attribute.
fn axes(node: &Node, input: usize, more: usize) -> Check {
    let axes = node.operand(input, "axes").unwrap_or_default();
    axes.into_iter().try_for_each(|at| axis(node, at, more))
}

fn split(node: &Node) -> Check {
    axis(node, node.proto.int("axis").unwrap_or(0), 0)?;
    let parts = node.operand(1, "split").unwrap_or_default();
    if parts.iter().any(|&part| part < 0)
        || (!parts.is_empty() && parts.len() != node.proto.output.len())
    {
        return Err(format!(
            "its parts are {parts:?}, and it has {} outputs",
            node.proto.output.len()
        ));
    }
    Ok(())
}

fn gather(node: &Node) -> Check {
    let at = node.proto.int("axis").unwrap_or(0);
    axis(node, at, 0)?;
    let size = node.shape(0).and_then(|shape| Some(shape[absolute(at, shape.len())?]));
    let (Some(size), Some(indices)) = (size, node.integers(1)) else { return Ok(()) };
    match indices.into_iter().find(|&index| absolute(index, size).is_none()) {
        Some(index) => Err(format!("it reads the element {index} of {size}")),
        None => Ok(()),
    }
}

fn transpose(node: &Node) -> Check {
    let order = node.proto.ints("perm");
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    let rank = node.shape(0).map_or(order.len(), |shape| shape.len());
    let complete = sorted.iter().copied().eq(0..order.len() as i64) && order.len() == rank;
    if !order.is_empty() && !complete {
        return Err(format!("its perm is {order:?}, which is no order of {rank} dimensions"));
    }
    Ok(())
}

fn slice(node: &Node) -> Check {
    axes(node, 3, 0)?;
    let (starts, ends) = (node.operand(1, "starts"), node.operand(2, "ends"));
    if let (Some(starts), Some(ends)) = (&starts, &ends)
        && (starts.len() != ends.len() || starts.is_empty())
    {
        return Err(format!("its starts are {starts:?}, and its ends {ends:?}"));
    }
    if node.integers(4).is_some_and(|steps| steps.contains(&0)) {
        return Err("it has a step of 0".to_owned());
    }
    let count = starts.map(|starts| starts.len());
    for (name, operand) in [("axes", node.operand(3, "axes")), ("steps", node.integers(4))] {
        let other = operand.filter(|values| !values.is_empty() && Some(values.len()) != count);
        if let (Some(values), Some(count)) = (other, count) {
            return Err(format!("its {name} are {values:?}, and it has {count} starts"));
        }
    }
    Ok(())
}

/// Sizes of a shape, each at least `least`.
fn shape(sizes: &[i64], least: i64) -> Check {
    let elements = sizes.iter().try_fold(1i64, |count, &size| count.checked_mul(size.max(1)));
    let open = sizes.iter().filter(|&&size| size == -1).count();
    let sensible = sizes.iter().all(|&size| (least..=MAX_DIMENSION as i64).contains(&size));
    if !sensible || open > 1 || elements.is_none_or(|elements| elements > MAX_ELEMENTS) {
        return Err(format!("the shape {sizes:?} that it is given is impossible"));
    }
    Ok(())
}

fn range(node: &Node) -> Check {
    let [start, limit, step] =
        [0, 1, 2].map(|index| node.integers(index).and_then(|v| v.first().copied()));
    let (Some(start), Some(limit), Some(step)) = (start, limit, step) else { return Ok(()) };
    let count = limit.checked_sub(start).and_then(|all| all.checked_div(step));
    if count.is_none_or(|count| count > MAX_DIMENSION as i64) {
        return Err(format!("it counts from {start} to {limit} by {step}"));
    }
    Ok(())
}

fn pad(node: &Node) -> Check {
    let old = if node.proto.ints("pads").is_empty() { "paddings" } else { "pads" };
    let Some(pads) = node.operand(1, old) else { return Ok(()) };
    if let Some(pad) = pads.iter().find(|&pad| !(0..=MAX_PAD).contains(pad)) {
        return Err(format!("its padding is {pad}, and has to be 0 to {MAX_PAD}"));
    }
    let rank = node.shape(0).map(|shape| shape.len());
    if !node.has(3) && rank.is_some_and(|rank| pads.len() != 2 * rank) {
        return Err(format!("its pads are {pads:?}, and not two for each dimension"));
    }
    Ok(())
}

fn resize(node: &Node) -> Check {
    if node.proto.string("coordinate_transformation_mode") == Some("tf_crop_and_resize") {
        return Err("it crops, which is not supported".to_owned());
    }
    let rank = node.shape(0).map(|shape| shape.len());
    let of_rank =
        |len: usize| rank.is_none_or(|rank| len == rank) || !node.proto.ints("axes").is_empty();
    if let Some(sizes) = node.integers(3) {
        if !of_rank(sizes.len()) || sizes.contains(&0) {
            return Err(format!("the sizes {sizes:?} that it is given are impossible"));
        }
        shape(&sizes, 1)?;
    }
    // Before opset 11 there was no region of interest in front of the scales.
    let input = if node.proto.input.len() > 2 { 2 } else { 1 };
    let scales = match node.constant(input).and_then(|scales| scales.floats()) {
        Some(scales) => scales,
        None => node.proto.floats("scales").to_vec(),
    };
    // Where sizes are given, there are none.
    if scales.is_empty() {
        return Ok(());
    }
    let sensible = |scale: &f32| (1.0 / MAX_SCALE..=MAX_SCALE).contains(scale);
    if !of_rank(scales.len()) || !scales.iter().all(sensible) {
        return Err(format!(
            "its scales are {scales:?}, which is not a sensible one for each dimension"
        ));
    }
    Ok(())
}
