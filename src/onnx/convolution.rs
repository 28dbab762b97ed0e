// SPDX-License-Identifier: MIT OR Apache-2.0

//! The weights of two-dimensional convolutions.

use super::messages::{NodeProto, TensorProto};
use super::window::Window;

/// A two-dimensional convolution.
pub struct Convolution {
    /// Output channels, input channels of each group, height and width of the kernel; none is 0.
    pub dims: [usize; 4],
    pub groups: usize,
    /// As many as `dims` says, row by row.
    pub weights: Vec<f32>,
    /// One for each output channel.
    pub bias: Vec<f32>,
    window: Window,
}

impl Convolution {
    /// Reads a node, if it is a convolution whose weights and bias are floats that `constant` finds
    /// by their names.
    pub fn read<'a>(
        node: &'a NodeProto,
        constant: impl Fn(&'a str) -> Option<&'a TensorProto>,
    ) -> Option<Self> {
        if node.op() != "Conv" {
            return None;
        }
        let tensor = constant(node.input.get(1)?)?;
        let [outputs, inputs, height, width] = *tensor.dims.as_slice() else { return None };
        let size = |size: i64| usize::try_from(size).ok().filter(|&size| size > 0);
        let dims = [size(outputs)?, size(inputs)?, size(height)?, size(width)?];
        let groups = size(node.int("group").unwrap_or(1))?;
        let weights = tensor.floats()?;
        let bias = match node.input.get(2).filter(|bias| !bias.is_empty()) {
            Some(bias) => constant(bias)?.floats()?,
            None => vec![0.0; dims[0]],
        };
        let window = Window::new(node, &[height, width])?;
        let sound = bias.len() == dims[0] && dims[0].is_multiple_of(groups);
        sound.then_some(Self { dims, groups, weights, bias, window })
    }

    pub fn outputs(&self) -> usize {
        self.dims[0]
    }

    /// The input channels of each group.
    pub fn inputs(&self) -> usize {
        self.dims[1]
    }

    /// Whether each output is a weighted sum of the channels of the one input in its place.
    pub fn is_pointwise(&self) -> bool {
        self.groups == 1 && self.window.is_pointwise()
    }

    /// Merges in the batch normalisation that follows; none, if that is not what `norm` is.
    pub fn normalised<'a>(
        mut self,
        norm: &'a NodeProto,
        constant: impl Fn(&'a str) -> Option<&'a TensorProto>,
    ) -> Option<Self> {
        // Training mode has more outputs than one.
        if norm.op() != "BatchNormalization" || norm.output.len() != 1 {
            return None;
        }
        let parameter = |index: usize| {
            let values = constant(norm.input.get(index)?)?.floats()?;
            (values.len() == self.outputs()).then_some(values)
        };
        let (scale, offset) = (parameter(1)?, parameter(2)?);
        let (mean, variance) = (parameter(3)?, parameter(4)?);
        let epsilon = norm.float("epsilon").unwrap_or(1e-5);
        let row = self.row();
        for (output, weights) in self.weights.chunks_mut(row).enumerate() {
            let factor = scale[output] / (variance[output] + epsilon).sqrt();
            weights.iter_mut().for_each(|weight| *weight *= factor);
            self.bias[output] = (self.bias[output] - mean[output]) * factor + offset[output];
        }
        Some(self)
    }

    /// Appends every output channel once more, times `factor`.
    pub fn repeat_outputs(&mut self, factor: f32) {
        for values in [&mut self.weights, &mut self.bias] {
            let repeated: Vec<_> = values.iter().map(|value| value * factor).collect();
            values.extend(repeated);
        }
        self.dims[0] *= 2;
    }

    /// Appends all input channels of each output once more, with their weights times `factor`.
    pub fn repeat_inputs(&mut self, factor: f32) {
        let rows = self.weights.chunks(self.row());
        let repeat = |row: &[f32]| {
            let repeated: Vec<_> = row.iter().map(|weight| weight * factor).collect();
            [row, &repeated].concat()
        };
        self.weights = rows.flat_map(repeat).collect();
        self.dims[1] *= 2;
    }

    /// Appends output channels that are zero until there are `outputs`.
    pub fn pad_outputs(&mut self, outputs: usize) {
        self.weights.resize(outputs * self.row(), 0.0);
        self.bias.resize(outputs, 0.0);
        self.dims[0] = outputs;
    }

    /// Appends input channels with the weight zero until there are `inputs`.
    pub fn pad_inputs(&mut self, inputs: usize) {
        let row = inputs * self.dims[2] * self.dims[3];
        let rows = self.weights.chunks(self.row());
        let pad = |weights: &[f32]| {
            let mut weights = weights.to_vec();
            weights.resize(row, 0.0);
            weights
        };
        self.weights = rows.flat_map(pad).collect();
        self.dims[1] = inputs;
    }

    /// The number of weights of one output channel.
    fn row(&self) -> usize {
        self.weights.len() / self.dims[0]
    }
}
