// SPDX-License-Identifier: MIT OR Apache-2.0

//! Adds channels to narrow layers, which makes them faster on CPUs.

use crate::onnx::builder::{GraphBuilder, dimension};
use crate::onnx::convolution::Convolution;
use crate::onnx::messages::{AttributeProto, NodeProto};

/// Pads layers with fewer channels than `lanes`, as MobileNet's first ones, to that many.
///
/// ONNX Runtime's CPU provider computes channels in blocks of `lanes`. It pads an incomplete block,
/// but leaves its blocked layout for that in front of the next 1×1 convolution, which costs more.
/// The pattern is a convolution, a depthwise and a 1×1 convolution, with batch normalisation (which
/// is merged into them) and activations between.
///
/// Where half of a block is padding, the leaky ReLU after the depthwise convolution becomes free.
/// It is ONNX Runtime's slowest step here: a ReLU is fused with the convolution, but a leaky one
/// takes a pass of its own, four floats at a time. It is `relu(x) − α·relu(−x)`: the padding computes
/// `−x`, and the next convolution, which adds channels up anyhow, applies the `−α`.
pub fn widen(builder: &mut GraphBuilder, lanes: usize) {
    fold_batch_norms(builder, lanes);
    let followers = builder.followers();
    let next = |index: usize| followers.get(index).copied().flatten();
    for first in 0..builder.nodes.len() {
        let chain = || {
            let activation = next(first)?;
            let depthwise = next(activation)?;
            let second_activation = next(depthwise)?;
            Some([first, activation, depthwise, second_activation, next(second_activation)?])
        };
        if let Some(chain) = chain().filter(|_| is_narrow(builder, first, lanes)) {
            widen_chain(builder, chain, lanes);
        }
    }
}

/// Whether the node at `index` is a convolution with fewer outputs than `lanes`.
fn is_narrow(builder: &GraphBuilder, index: usize, lanes: usize) -> bool {
    let node = &builder.nodes[index];
    let weights = node.input.get(1).and_then(|weights| builder.tensor(weights));
    let outputs = weights.and_then(|weights| weights.dims.first());
    node.op() == "Conv" && outputs.is_some_and(|&outputs| outputs < dimension(lanes))
}

/// Merges batch normalisations into the convolutions before them, where those have fewer channels
/// than `lanes`. Runtimes do so everywhere, but only after [`widen`].
fn fold_batch_norms(builder: &mut GraphBuilder, lanes: usize) {
    let mut merged = vec![false; builder.nodes.len()];
    for (index, norm) in builder.followers().into_iter().enumerate() {
        let Some(norm) = norm.filter(|_| is_narrow(builder, index, lanes)) else { continue };
        let constant = |name| builder.tensor(name);
        let folded = Convolution::read(&builder.nodes[index], constant)
            .and_then(|convolution| convolution.normalised(&builder.nodes[norm], constant));
        if let Some(folded) = folded {
            replace(builder, index, &folded);
            builder.nodes[index].output = builder.nodes[norm].output.clone();
            merged[norm] = true;
        }
    }
    let mut merged = merged.into_iter();
    builder.nodes.retain(|_| merged.next() != Some(true));
}

/// [`widen`] for the layers at these indices; leaves them as they are where they do not match the
/// pattern.
fn widen_chain(builder: &mut GraphBuilder, chain: [usize; 5], lanes: usize) -> Option<()> {
    let [first, _, depthwise, activation, last] = chain;
    let nodes = chain.map(|index| &builder.nodes[index]);
    let keeps_zero = |node: &NodeProto| matches!(node.op(), "Relu" | "LeakyRelu");
    if !keeps_zero(nodes[1]) || !keeps_zero(nodes[3]) {
        return None;
    }
    let convolution = |at: usize| Convolution::read(nodes[at], |name| builder.tensor(name));
    let (mut before, mut middle, mut after) = (convolution(0)?, convolution(2)?, convolution(4)?);
    let channels = before.outputs();
    let is_chain = before.groups == 1
        && middle.groups == channels
        && middle.outputs() == channels
        && middle.inputs() == 1
        && after.groups == 1
        && after.inputs() == channels;
    if !is_chain {
        return None;
    }
    let alpha = match nodes[3].op() {
        "LeakyRelu" if 2 * channels <= lanes => Some(nodes[3].float("alpha").unwrap_or(0.01)),
        _ => None,
    };
    if let Some(alpha) = alpha {
        before.repeat_outputs(1.0);
        middle.repeat_outputs(-1.0);
        after.repeat_inputs(-alpha);
    }
    before.pad_outputs(lanes);
    middle.pad_outputs(lanes);
    middle.groups = lanes;
    after.pad_inputs(lanes);
    replace(builder, first, &before);
    replace(builder, depthwise, &middle);
    replace(builder, last, &after);
    if alpha.is_some() {
        let node = &mut builder.nodes[activation];
        node.op_type = Some("Relu".to_owned());
        node.attribute.clear();
    }
    Some(())
}

/// Gives the node at `index` the weights of `convolution`.
fn replace(builder: &mut GraphBuilder, index: usize, convolution: &Convolution) {
    let Some(name) = builder.nodes[index].output.first().cloned() else { return };
    let dims = convolution.dims.map(dimension);
    let weights = builder.add_floats(&format!("{name}.weight"), &dims, &convolution.weights);
    let bias = builder.add_floats(&format!("{name}.bias"), &dims[..1], &convolution.bias);
    let node = &mut builder.nodes[index];
    node.input.truncate(1);
    node.input.extend([weights, bias]);
    node.attribute.retain(|attribute| attribute.name() != "group");
    node.attribute.push(AttributeProto::new_int("group", dimension(convolution.groups)));
}
