// SPDX-License-Identifier: MIT OR Apache-2.0

//! From a network's output back to the convolution that makes its numbers.

use crate::onnx::{
    graph::{Graph, MAX_STEPS},
    messages::NodeProto,
};

/// The convolution behind a value, and what lies between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Index of the node.
    pub convolution: usize,
    /// Its output channels.
    pub channels: usize,
    pub softmax: bool,
    /// Whether channels were moved last.
    pub channels_last: bool,
}

/// Follows a value back over operators that only rearrange numbers, and softmax along one of
/// `axes`, to the convolution that made them.
pub fn branch<'a>(graph: &Graph<'a>, mut value: &'a str, axes: &[i64]) -> Option<Branch> {
    let (mut softmax, mut channels_last) = (false, false);
    for _ in 0..MAX_STEPS {
        let index = graph.origin(value)?;
        let node = &graph.nodes[index];
        match node.op() {
            "Conv" => {
                let channels = out_channels(graph, index)?;
                return Some(Branch { convolution: index, channels, softmax, channels_last });
            }
            "Softmax" if !softmax && axes.contains(&softmax_axis(node)) => softmax = true,
            "Transpose" if !channels_last && node.ints("perm") == [0, 2, 3, 1] => {
                channels_last = true;
            }
            "Reshape" | "Flatten" => {}
            _ => return None,
        }
        value = node.input.first()?;
    }
    None
}

pub fn softmax_axis(node: &NodeProto) -> i64 {
    // Before opset 13 the default was another, at which no detector's softmax makes sense.
    node.int("axis").unwrap_or(-1)
}

fn out_channels(graph: &Graph, convolution: usize) -> Option<usize> {
    let weights = graph.constant(graph.nodes[convolution].input.get(1)?)?;
    usize::try_from(*weights.dims.first()?).ok()
}
