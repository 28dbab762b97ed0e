// SPDX-License-Identifier: MIT OR Apache-2.0

//! Walking through a graph by the names of its values.

use std::collections::HashMap;

use super::messages::{GraphProto, NodeProto, TensorProto};

/// How many nodes a value is followed back over: more than any exporter puts between two that
/// compute something, and an end for graphs that run in a circle.
pub const MAX_STEPS: usize = 64;

/// A graph with an index of where each value comes from.
pub struct Graph<'a> {
    pub nodes: &'a [NodeProto],
    producers: HashMap<&'a str, usize>,
    initializers: HashMap<&'a str, &'a TensorProto>,
}

impl<'a> Graph<'a> {
    pub fn new(proto: &'a GraphProto) -> Self {
        let outputs = |(index, node): (usize, &'a NodeProto)| {
            node.output.iter().map(move |output| (output.as_str(), index))
        };
        Self {
            nodes: &proto.node,
            producers: proto.node.iter().enumerate().flat_map(outputs).collect(),
            initializers: proto.initializer.iter().map(|tensor| (tensor.name(), tensor)).collect(),
        }
    }

    /// The index of the node that makes a value; none for inputs and initialisers.
    pub fn producer(&self, value: &str) -> Option<usize> {
        self.producers.get(value).copied()
    }

    /// The node that makes a value, past nodes that only pass it on.
    pub fn origin(&self, value: &'a str) -> Option<usize> {
        let value = self.source(value)?;
        self.producer(value)
    }

    /// The constant that a value is, if it is one: an initialiser or a `Constant` node's tensor.
    pub fn constant(&self, value: &'a str) -> Option<&'a TensorProto> {
        let value = self.source(value)?;
        if let Some(tensor) = self.initializers.get(value) {
            return Some(tensor);
        }
        let node = &self.nodes[self.producer(value)?];
        if node.op() == "Constant" { node.tensor("value") } else { None }
    }

    /// The first name of a value that `Identity` nodes pass on.
    pub fn source(&self, mut value: &'a str) -> Option<&'a str> {
        for _ in 0..MAX_STEPS {
            match self.producer(value).map(|index| &self.nodes[index]) {
                Some(node) if matches!(node.op(), "Identity" | "Dropout") => {
                    value = node.input.first()?;
                }
                _ => return Some(value),
            }
        }
        None
    }

    /// How many pixels of `input` (across, down) lie between neighbours in each value, as far as
    /// convolutions, pooling and element-wise operators carry it from the input.
    ///
    /// Nodes are taken in their order, in which ONNX asks producers to come before consumers: where
    /// they do not, the values stay unknown.
    pub fn strides(&self, input: &'a str) -> HashMap<&'a str, (u64, u64)> {
        let mut strides = HashMap::from([(input, (1, 1))]);
        for node in self.nodes {
            let Some(&before) = node.input.iter().find_map(|value| strides.get(value.as_str()))
            else {
                continue;
            };
            if let (Some(after), Some(output)) = (stride_after(node, before), node.output.first()) {
                strides.insert(output, after);
            }
        }
        strides
    }
}

fn stride_after(node: &NodeProto, (across, down): (u64, u64)) -> Option<(u64, u64)> {
    match node.op() {
        "Conv" | "MaxPool" | "AveragePool" | "LpPool" => {
            let step = |index: usize| match node.ints("strides").get(index) {
                Some(&step) => u64::try_from(step).ok(),
                None => Some(1),
            };
            Some((across.checked_mul(step(1)?)?, down.checked_mul(step(0)?)?))
        }
        "Add"
        | "BatchNormalization"
        | "Cast"
        | "Clip"
        | "Concat"
        | "Div"
        | "Dropout"
        | "Elu"
        | "Gelu"
        | "HardSigmoid"
        | "HardSwish"
        | "Identity"
        | "InstanceNormalization"
        | "LeakyRelu"
        | "Mish"
        | "Mul"
        | "PRelu"
        | "Pad"
        | "Relu"
        | "Selu"
        | "Sigmoid"
        | "Softplus"
        | "Sub"
        | "Tanh" => Some((across, down)),
        _ => None,
    }
}
