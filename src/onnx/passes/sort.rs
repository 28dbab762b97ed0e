// SPDX-License-Identifier: MIT OR Apache-2.0

//! Nodes in the order in which they can be computed, as ONNX asks for and not every tool leaves them:
//! converters to half precision append nodes. Runtimes sort them themselves.

use std::collections::HashMap;

use crate::onnx::messages::{GraphProto, NodeProto};

/// Moves nodes in front of those that read their outputs, and otherwise leaves them in their order;
/// returns whether any was behind. A graph with a cycle stays as it is.
pub fn sort(graph: &mut GraphProto) -> bool {
    match order(&graph.node) {
        Some(order) if !order.is_sorted() => {
            let mut nodes: Vec<_> = graph.node.drain(..).map(Some).collect();
            graph.node = order.into_iter().filter_map(|index| nodes[index].take()).collect();
            true
        }
        _ => false,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Progress {
    Unseen,
    /// What it reads is on its way.
    Open,
    Done,
}

/// The indices of all nodes, each after those that compute what it reads; none in a cycle.
fn order(nodes: &[NodeProto]) -> Option<Vec<usize>> {
    let outputs = nodes
        .iter()
        .enumerate()
        .flat_map(|(index, node)| node.output.iter().map(move |output| (output.as_str(), index)));
    let producers: HashMap<&str, usize> = outputs.collect();
    let mut progress = vec![Progress::Unseen; nodes.len()];
    let mut order = Vec::with_capacity(nodes.len());
    for first in 0..nodes.len() {
        let mut path = vec![first];
        while let Some(&node) = path.last() {
            if progress[node] == Progress::Unseen {
                progress[node] = Progress::Open;
                let inputs = nodes[node].input.iter().filter(|input| !input.is_empty());
                for &before in inputs.rev().filter_map(|input| producers.get(input.as_str())) {
                    match progress[before] {
                        Progress::Unseen => path.push(before),
                        Progress::Open => return None,
                        Progress::Done => {}
                    }
                }
                continue;
            }
            if progress[node] == Progress::Open {
                progress[node] = Progress::Done;
                order.push(node);
            }
            path.pop();
        }
    }
    Some(order)
}
