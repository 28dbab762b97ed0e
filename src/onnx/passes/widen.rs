// SPDX-License-Identifier: MIT OR Apache-2.0

//! Rewriting layers so that they compute the same faster.

use crate::onnx::builder::{GraphBuilder, dimension};
use crate::onnx::messages::{AttributeProto, NodeProto};

/// Gives layers with fewer channels than `lanes`, as MobileNet's first ones are, that many.
///
/// ONNX Runtime's CPU provider computes blocks of channels. It fills up an incomplete block, but
/// leaves its layout for it in front of the next 1×1 convolution, which costs more. The pattern is
/// a convolution, a depthwise and a 1×1 convolution, with batch normalisation (that this merges into
/// them) and activations between.
///
/// Half empty blocks also make the leaky ReLU after the depthwise convolution free. That is ORT's
/// slowest step here: where a ReLU is computed with the convolution, a leaky one takes a pass of its
/// own, with four floats at a time. It is `relu(x) − α·relu(−x)`: the empty half computes `−x`, and
/// the next convolution, which adds channels up anyhow, applies the `−α`.
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
/// than `lanes`. Runtimes do so everywhere, but [`widen`] comes before them.
fn fold_batch_norms(builder: &mut GraphBuilder, lanes: usize) {
    let mut merged = vec![false; builder.nodes.len()];
    for (index, norm) in builder.followers().into_iter().enumerate() {
        let Some(norm) = norm.filter(|_| is_narrow(builder, index, lanes)) else { continue };
        let folded = Weights::of(builder, &builder.nodes[index])
            .and_then(|weights| weights.normalised(builder, &builder.nodes[norm]));
        if let Some(folded) = folded {
            folded.replace(builder, index);
            builder.nodes[index].output = builder.nodes[norm].output.clone();
            merged[norm] = true;
        }
    }
    let mut merged = merged.into_iter();
    builder.nodes.retain(|_| merged.next() != Some(true));
}

/// [`widen`] for the layers at these indices; leaves them alone where they are not what it expects.
fn widen_chain(builder: &mut GraphBuilder, chain: [usize; 5], lanes: usize) -> Option<()> {
    let [first, _, depthwise, activation, last] = chain;
    let nodes = chain.map(|index| &builder.nodes[index]);
    let keeps_zero = |node: &NodeProto| matches!(node.op(), "Relu" | "LeakyRelu");
    if !keeps_zero(nodes[1]) || !keeps_zero(nodes[3]) {
        return None;
    }
    let weights = [0, 2, 4].map(|at| Weights::of(builder, nodes[at]));
    let [Some(mut before), Some(mut middle), Some(mut after)] = weights else { return None };
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
    before.replace(builder, first);
    middle.replace(builder, depthwise);
    after.replace(builder, last);
    if alpha.is_some() {
        let node = &mut builder.nodes[activation];
        node.op_type = Some("Relu".to_owned());
        node.attribute.clear();
    }
    Some(())
}

/// The weights and biases of a two-dimensional convolution.
struct Weights {
    /// Outputs, inputs a group, height, width.
    dims: [usize; 4],
    groups: usize,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Weights {
    fn of(builder: &GraphBuilder, node: &NodeProto) -> Option<Self> {
        if node.op() != "Conv" {
            return None;
        }
        let tensor = builder.tensor(node.input.get(1)?)?;
        let dims: [i64; 4] = tensor.dims.as_slice().try_into().ok()?;
        let dims = dims.map(|size| usize::try_from(size).unwrap_or(0));
        let groups = usize::try_from(node.int("group").unwrap_or(1)).ok()?;
        let bias = match node.input.get(2).filter(|bias| !bias.is_empty()) {
            Some(bias) => builder.tensor(bias)?.floats()?,
            None => vec![0.0; dims[0]],
        };
        // As many as `dims` says, or there are none.
        let weights = tensor.floats()?;
        let sound = !weights.is_empty() && bias.len() == dims[0];
        sound.then_some(Self { dims, groups, weights, bias })
    }

    fn outputs(&self) -> usize {
        self.dims[0]
    }

    /// The inputs of each group.
    fn inputs(&self) -> usize {
        self.dims[1]
    }

    /// The convolution and the batch normalisation `norm` in one.
    fn normalised(mut self, builder: &GraphBuilder, norm: &NodeProto) -> Option<Self> {
        // More outputs than one are what training asks for.
        if norm.op() != "BatchNormalization" || norm.output.len() != 1 {
            return None;
        }
        let parameter = |index: usize| {
            let values = builder.tensor(norm.input.get(index)?)?.floats()?;
            (values.len() == self.outputs()).then_some(values)
        };
        let (scale, offset) = (parameter(1)?, parameter(2)?);
        let (mean, variance) = (parameter(3)?, parameter(4)?);
        let epsilon = norm.float("epsilon").unwrap_or(1e-5);
        let row = self.weights.len() / self.outputs();
        for (output, weights) in self.weights.chunks_mut(row).enumerate() {
            let factor = scale[output] / (variance[output] + epsilon).sqrt();
            weights.iter_mut().for_each(|weight| *weight *= factor);
            self.bias[output] = (self.bias[output] - mean[output]) * factor + offset[output];
        }
        Some(self)
    }

    /// Appends all outputs once more, times `factor`.
    fn repeat_outputs(&mut self, factor: f32) {
        let repeat = |values: &mut Vec<f32>| {
            values.extend(values.clone().into_iter().map(|value| value * factor));
        };
        repeat(&mut self.weights);
        repeat(&mut self.bias);
        self.dims[0] *= 2;
    }

    /// Appends all inputs of each output once more, times `factor`.
    fn repeat_inputs(&mut self, factor: f32) {
        let rows = self.weights.chunks(self.weights.len() / self.outputs());
        let repeat = |row: &[f32]| {
            let repeated = row.iter().map(|weight| weight * factor).collect::<Vec<_>>();
            [row.to_vec(), repeated].concat()
        };
        self.weights = rows.flat_map(repeat).collect();
        self.dims[1] *= 2;
    }

    /// Appends outputs that are zero.
    fn pad_outputs(&mut self, outputs: usize) {
        let row = self.weights.len() / self.outputs();
        self.weights.resize(outputs * row, 0.0);
        self.bias.resize(outputs, 0.0);
        self.dims[0] = outputs;
    }

    /// Appends inputs that count for nothing.
    fn pad_inputs(&mut self, inputs: usize) {
        let kernel = self.weights.len() / self.outputs() / self.inputs();
        let rows = self.weights.chunks(self.inputs() * kernel);
        let pad = |row: &[f32]| {
            let mut row = row.to_vec();
            row.resize(inputs * kernel, 0.0);
            row
        };
        self.weights = rows.flat_map(pad).collect();
        self.dims[1] = inputs;
    }

    /// Gives the node at `index` these weights.
    fn replace(self, builder: &mut GraphBuilder, index: usize) {
        let name = builder.nodes[index].output[0].clone();
        let dims = self.dims.map(dimension);
        let groups = dimension(self.groups);
        let weights = builder.add_floats(&format!("{name}.weight"), &dims, &self.weights);
        let bias = builder.add_floats(&format!("{name}.bias"), &dims[..1], &self.bias);
        let node = &mut builder.nodes[index];
        node.input.truncate(1);
        node.input.extend([weights, bias]);
        node.attribute.retain(|attribute| attribute.name() != "group");
        node.attribute.push(AttributeProto::new_int("group", groups));
    }
}
