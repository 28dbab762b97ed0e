// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is wrong with a network.

use crate::onnx::{accessors::printable, messages::NodeProto};

/// A part of a network, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct Invalid {
    place: String,
    why: String,
}

impl Invalid {
    pub fn network(why: impl Into<String>) -> Self {
        Self { place: "the graph".to_owned(), why: why.into() }
    }

    pub fn tensor(name: &str, why: impl Into<String>) -> Self {
        Self { place: format!("the tensor {}", printable(name)), why: why.into() }
    }

    /// Nodes may have no name; their first output then says which it is.
    pub fn node(node: &NodeProto, why: impl Into<String>) -> Self {
        let output = node.output.first().map_or("", String::as_str);
        let name = if node.name().is_empty() { output } else { node.name() };
        let operator = printable(node.op_type());
        Self { place: format!("the node {} ({operator})", printable(name)), why: why.into() }
    }
}
