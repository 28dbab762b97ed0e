// SPDX-License-Identifier: MIT OR Apache-2.0

//! A node with what is known of its inputs.

use crate::onnx::{
    graph::Graph,
    messages::{NodeProto, TensorProto},
    shapes::Shapes,
};

/// How many nodes lie between a weight in the file and the node that computes with it, at most.
const MAX_STEPS: usize = 8;

/// A node in its network.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    pub proto: &'a NodeProto,
    pub graph: &'a Graph<'a>,
    pub shapes: &'a Shapes<'a>,
}

/// Why a node makes no sense.
pub type Check = Result<(), String>;

impl<'a> Node<'a> {
    fn value(&self, index: usize) -> Option<&'a str> {
        self.proto.input.get(index).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether the input is there.
    pub fn has(&self, index: usize) -> bool {
        self.value(index).is_some()
    }

    /// The tensor of an input that is constant.
    pub fn constant(&self, index: usize) -> Option<&'a TensorProto> {
        self.graph.constant(self.value(index)?)
    }

    /// The shape of an input, where it is known.
    pub fn shape(&self, index: usize) -> Option<Vec<usize>> {
        let value = self.value(index)?;
        if let Some(shape) = self.shapes.shape(value) {
            return Some(shape.to_vec());
        }
        match self.shapes.integers(value) {
            Some(integers) if integers.scalar => Some(Vec::new()),
            Some(integers) => Some(vec![integers.values.len()]),
            None => sizes(&self.constant(index)?.dims),
        }
    }

    /// The integers in an input, where they are known.
    pub fn integers(&self, index: usize) -> Option<Vec<i64>> {
        Some(self.shapes.integers(self.value(index)?)?.values)
    }

    /// An operand that is an input in newer versions of the operator and an attribute in older ones;
    /// none where it is an input and not known.
    pub fn operand(&self, index: usize, attribute: &str) -> Option<Vec<i64>> {
        match self.has(index) {
            true => self.integers(index),
            false => Some(self.proto.ints(attribute).to_vec()),
        }
    }

    /// The shape of weights: of a tensor in the file, or what is made of one without changing its
    /// shape.
    pub fn weights(&self, index: usize) -> Result<Vec<usize>, String> {
        let mut value = self.value(index).ok_or("it has no weights")?;
        for _ in 0..MAX_STEPS {
            if let Some(tensor) = self.graph.constant(value) {
                return sizes(&tensor.dims).ok_or_else(|| "its weights have no shape".to_owned());
            }
            let node = self.graph.producer(value).map(|index| &self.graph.nodes[index]);
            match node.map(|node| (node.op(), node.input.first())) {
                Some((
                    "Cast" | "DequantizeLinear" | "Identity" | "QuantizeLinear",
                    Some(before),
                )) => {
                    value = before;
                }
                _ => break,
            }
        }
        Err("its weights are computed, and only those in the file are supported".to_owned())
    }
}

fn sizes(dims: &[i64]) -> Option<Vec<usize>> {
    dims.iter().map(|&size| usize::try_from(size).ok()).collect()
}
