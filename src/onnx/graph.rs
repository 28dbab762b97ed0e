// SPDX-License-Identifier: MIT OR Apache-2.0

//! Following values through a graph by their names.

use std::collections::HashMap;

use super::messages::{GraphProto, NodeProto, TensorProto};
use super::operators::Operator;
use super::window;

/// How many nodes a value is followed back over: more than any exporter puts between two that
/// compute something, and a limit for graphs with cycles.
pub const MAX_STEPS: usize = 64;

/// A graph with an index of the nodes and initialisers that its values come from.
pub struct Graph<'a> {
    pub nodes: &'a [NodeProto],
    producers: HashMap<&'a str, usize>,
    initializers: HashMap<&'a str, &'a TensorProto>,
}

impl<'a> Graph<'a> {
    pub fn new(proto: &'a GraphProto) -> Self {
        let outputs = |(index, node): (usize, &'a NodeProto)| {
            // Outputs that are left out have no name.
            let named = node.output.iter().filter(|output| !output.is_empty());
            named.map(move |output| (output.as_str(), index))
        };
        Self {
            nodes: &proto.node,
            producers: proto.node.iter().enumerate().flat_map(outputs).collect(),
            initializers: proto.initializer.iter().map(|tensor| (tensor.name(), tensor)).collect(),
        }
    }

    /// The index of the node that computes a value; none for inputs and initialisers.
    pub fn producer(&self, value: &str) -> Option<usize> {
        self.producers.get(value).copied()
    }

    /// The index of the node that computes a value, behind nodes that only pass it on.
    pub fn origin(&self, value: &'a str) -> Option<usize> {
        let value = self.source(value)?;
        self.producer(value)
    }

    /// The tensor of a constant: an initialiser's or a `Constant` node's.
    pub fn constant(&self, value: &'a str) -> Option<&'a TensorProto> {
        let value = self.source(value)?;
        if let Some(tensor) = self.initializers.get(value) {
            return Some(tensor);
        }
        let node = &self.nodes[self.producer(value)?];
        matches!(Operator::of(node), Some(Operator::Constant)).then(|| node.tensor("value"))?
    }

    /// The value that `Identity` nodes pass on as this one; none in a cycle.
    pub fn source(&self, mut value: &'a str) -> Option<&'a str> {
        for _ in 0..MAX_STEPS {
            match self.producer(value).map(|index| &self.nodes[index]) {
                Some(node) if matches!(Operator::of(node), Some(Operator::Identity)) => {
                    value = node.input.first()?;
                }
                _ => return Some(value),
            }
        }
        None
    }

    /// How many pixels of `input` (across, down) lie between neighbours in each value, as far as
    /// windows and operators that keep the grid carry it from the input.
    ///
    /// Not computed from [`Shapes`](super::shapes::Shapes): networks whose inner shapes are unknown,
    /// for example because a `Resize` computes its scales, have known strides all the same. Nodes
    /// are taken in their order, in which ONNX asks producers to come before consumers: where they
    /// do not, the values stay unknown.
    pub fn strides(&self, input: &'a str) -> HashMap<&'a str, (u64, u64)> {
        let mut strides = HashMap::from([(input, (1, 1))]);
        for node in self.nodes {
            let known = node.input.iter().find_map(|value| strides.get(value.as_str()));
            let Some(after) = known.and_then(|&before| stride_after(node, before)) else {
                continue;
            };
            strides.extend(node.output.iter().map(|output| (output.as_str(), after)));
        }
        strides
    }
}

/// The stride of a node's output where that of its input is (`across`, `down`).
fn stride_after(node: &NodeProto, (across, down): (u64, u64)) -> Option<(u64, u64)> {
    match Operator::of(node)? {
        Operator::Convolution | Operator::Pooling => {
            let step = |axis: usize| u64::try_from(window::stride(node, axis)?).ok();
            Some((across.checked_mul(step(1)?)?, down.checked_mul(step(0)?)?))
        }
        Operator::Identity
        | Operator::Cast
        | Operator::SameShape
        | Operator::Arithmetic(_)
        | Operator::Concat
        | Operator::MatrixProduct
        | Operator::Pad => Some((across, down)),
        // Of channels.
        Operator::Gather | Operator::Split if node.int("axis") == Some(1) => Some((across, down)),
        Operator::Constant
        | Operator::Expand
        | Operator::Fill
        | Operator::Gather
        | Operator::GlobalPooling
        | Operator::Range
        | Operator::Reduction
        | Operator::Reshape
        | Operator::Resize
        | Operator::Shape
        | Operator::Slice
        | Operator::Split
        | Operator::Squeeze
        | Operator::Tile
        | Operator::Transpose
        | Operator::TransposedConvolution
        | Operator::Unsqueeze => None,
    }
}
