// SPDX-License-Identifier: MIT OR Apache-2.0

//! Convolutions and poolings.

use super::node::{Check, Node};

/// Wider windows, and steps of more than [`MAX_STEP`], have no use in a detector.
const MAX_EXTENT: i64 = 1024;
const MAX_STEP: i64 = 64;
/// Windows of which more overlap in a place take too long.
const MAX_OVERLAP: usize = 1024;

/// A convolution whose weights and bias are these inputs.
pub fn convolution(node: &Node, weights: usize, bias: Option<usize>) -> Check {
    let [outputs, inputs, kernel @ ..] = kernel(node, weights)?;
    let groups = groups(node)?;
    if !outputs.is_multiple_of(groups) {
        return Err(format!("its {outputs} output channels are not {groups} groups"));
    }
    window(node, kernel)?;
    channels(node, inputs.checked_mul(groups))?;
    lengths(node, bias, outputs)
}

pub fn transposed(node: &Node) -> Check {
    let [inputs, outputs, kernel @ ..] = kernel(node, 1)?;
    let groups = groups(node)?;
    if !inputs.is_multiple_of(groups) {
        return Err(format!("its {inputs} input channels are not {groups} groups"));
    }
    window(node, kernel)?;
    let (padding, steps) = (node.proto.ints("output_padding"), node.proto.ints("strides"));
    let fits =
        |(axis, &padding): (usize, &i64)| (0..*steps.get(axis).unwrap_or(&1)).contains(&padding);
    if padding.len() > 2 || !padding.iter().enumerate().all(fits) {
        return Err(format!("its output_padding {padding:?} is not less than its strides"));
    }
    if !node.proto.ints("output_shape").is_empty() {
        return Err("it has an output_shape, which is not supported".to_owned());
    }
    channels(node, Some(inputs))?;
    lengths(node, Some(2), outputs.checked_mul(groups).unwrap_or(0))
}

pub fn pooling(node: &Node) -> Check {
    let [height, width] = *node.proto.ints("kernel_shape") else {
        return Err("its kernel_shape is not two sizes".to_owned());
    };
    let kernel = [height, width].map(|size| usize::try_from(size).unwrap_or(0));
    window(node, kernel)?;
    match node.shape(0) {
        Some(shape) if shape.len() != 4 => Err(format!("its input has the shape {shape:?}")),
        _ => Ok(()),
    }
}

/// The shape of weights, with the height and width of the kernel last, which is also what the
/// attribute kernel_shape says.
fn kernel(node: &Node, weights: usize) -> Result<[usize; 4], String> {
    let shape = node.weights(weights)?;
    let Ok(dims) = <[usize; 4]>::try_from(shape.as_slice()) else {
        return Err(format!("its weights have the shape {shape:?}, and not four dimensions"));
    };
    if dims.contains(&0) {
        return Err(format!("its weights are empty: {shape:?}"));
    }
    let said = node.proto.ints("kernel_shape");
    let agrees =
        said.iter().map(|&size| usize::try_from(size).ok()).eq(dims[2..].iter().copied().map(Some));
    if !said.is_empty() && !agrees {
        return Err(format!(
            "its kernel_shape is {said:?}, and that of its weights {:?}",
            &dims[2..]
        ));
    }
    Ok(dims)
}

fn groups(node: &Node) -> Result<usize, String> {
    let groups = node.proto.int("group").unwrap_or(1);
    let positive = usize::try_from(groups).ok().filter(|&groups| groups > 0);
    positive.ok_or_else(|| format!("its group is {groups}"))
}

fn channels(node: &Node, expected: Option<usize>) -> Check {
    let Some(shape) = node.shape(0) else { return Ok(()) };
    match shape[..] {
        [_, channels, _, _] if Some(channels) == expected => Ok(()),
        [_, channels, _, _] => Err(format!(
            "its input has {channels} channels, and its weights are for {}",
            expected.map_or_else(|| "too many".to_owned(), |expected| expected.to_string())
        )),
        _ => Err(format!("its input has the shape {shape:?}, and not four dimensions")),
    }
}

fn lengths(node: &Node, bias: Option<usize>, outputs: usize) -> Check {
    let Some(index) = bias.filter(|&index| node.has(index)) else { return Ok(()) };
    let shape = node.weights(index)?;
    if shape != [outputs] {
        return Err(format!(
            "its bias has the shape {shape:?}, and it has {outputs} output channels"
        ));
    }
    Ok(())
}

/// The attributes of a window with a kernel of this height and width.
fn window(node: &Node, kernel: [usize; 2]) -> Check {
    let node = node.proto;
    let list = |name: &str, len: usize| match node.ints(name) {
        values if values.is_empty() || values.len() == len => Ok(values),
        values => Err(format!("its {name} are {values:?}, and not {len} numbers")),
    };
    let (strides, dilations) = (list("strides", 2)?, list("dilations", 2)?);
    let pads = list("pads", 4)?;
    for (name, values) in [("strides", strides), ("dilations", dilations)] {
        if values.iter().any(|value| !(1..=MAX_STEP).contains(value)) {
            return Err(format!("its {name} are {values:?}, and have to be 1 to {MAX_STEP}"));
        }
    }
    for (axis, size) in kernel.into_iter().enumerate() {
        let dilation = dilations.get(axis).copied().unwrap_or(1);
        let extent =
            i64::try_from(size).ok().and_then(|size| size.checked_sub(1)?.checked_mul(dilation));
        let extent = extent.map_or(0, |last| last.saturating_add(1));
        if !(1..=MAX_EXTENT).contains(&extent) {
            return Err(format!(
                "its window of {kernel:?} is empty or reaches over more than {MAX_EXTENT}"
            ));
        }
        let around = [pads.get(axis), pads.get(axis + 2)].into_iter().flatten();
        // Exporters pad kernels of 1 by 1 here and there; no window has a use for more.
        if let Some(pad) = around.copied().find(|pad| !(0..=extent).contains(pad)) {
            return Err(format!("its padding is {pad}, where its window reaches over {extent}"));
        }
    }
    let steps = |axis: usize| strides.get(axis).and_then(|&stride| usize::try_from(stride).ok());
    let overlaps =
        kernel.iter().enumerate().map(|(axis, size)| size.div_ceil(steps(axis).unwrap_or(1)));
    let overlap: usize = overlaps.product();
    if overlap > MAX_OVERLAP {
        return Err(format!("{overlap} of its windows of {kernel:?} overlap"));
    }
    if !matches!(
        node.string("auto_pad").unwrap_or("NOTSET"),
        "NOTSET" | "VALID" | "SAME_UPPER" | "SAME_LOWER"
    ) {
        return Err("its auto_pad is none that there is".to_owned());
    }
    Ok(())
}
