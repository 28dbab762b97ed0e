// SPDX-License-Identifier: MIT OR Apache-2.0

//! How much memory the values of a network take while it runs.

use std::collections::HashMap;

use super::{graph::Graph, messages::GraphProto, shapes::Shapes};

/// All that a runtime computes with is of this size.
const ELEMENT: u64 = 4;

/// Bytes of the values that exist at one time, at most, where `input` has this shape: nodes run in
/// their order, and each value lasts until it is read for the last time. Values of unknown shapes
/// count nothing.
///
/// `lanes` is how many channels the runtime computes side by side; values with fewer are filled up.
pub fn peak(proto: &GraphProto, input: &str, shape: &[usize], lanes: usize) -> u64 {
    let graph = Graph::new(proto);
    let shapes = Shapes::new(&graph, input, shape.to_vec());
    let reads = proto.node.iter().enumerate();
    let reads = reads.flat_map(|(index, node)| node.input.iter().map(move |value| (value, index)));
    let mut last_reads: HashMap<&str, usize> =
        reads.map(|(value, index)| (value.as_str(), index)).collect();
    // Outputs are read in the end.
    last_reads.extend(proto.output.iter().map(|output| (output.name(), usize::MAX)));
    let bytes = |value: &str| shapes.shape(value).map_or(0, |shape| bytes(shape, lanes));

    let mut alive = bytes(input);
    let mut peak = alive;
    // The values that each node is the last to read.
    let mut ends: HashMap<usize, u64> =
        HashMap::from([(last_reads.get(input).copied().unwrap_or(0), alive)]);
    for (index, node) in proto.node.iter().enumerate() {
        for output in &node.output {
            let bytes = bytes(output);
            alive = alive.saturating_add(bytes);
            let end = last_reads.get(output.as_str()).copied().unwrap_or(index);
            let ending = ends.entry(end).or_default();
            *ending = ending.saturating_add(bytes);
        }
        peak = peak.max(alive);
        alive = alive.saturating_sub(ends.remove(&index).unwrap_or(0));
    }
    peak
}

fn bytes(shape: &[usize], lanes: usize) -> u64 {
    let filled = |(axis, &size): (usize, &usize)| match axis {
        1 if shape.len() == 4 => size.next_multiple_of(lanes),
        _ => size,
    };
    let sizes = shape.iter().enumerate().map(filled);
    sizes.fold(ELEMENT, |bytes, size| bytes.saturating_mul(size as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::{
        messages::{TensorProto, ValueInfoProto},
        tests::node,
    };

    fn graph(output: &str) -> GraphProto {
        let weights = TensorProto {
            name: Some("w".into()),
            dims: vec![4, 3, 1, 1],
            ..TensorProto::default()
        };
        GraphProto {
            node: vec![
                node("Conv", &["x", "w"], "a"),
                node("Relu", &["a"], "b"),
                node("Anything", &["b"], "unknown"),
                node("Add", &["a", "b"], "c"),
                node("Relu", &["c"], "d"),
            ],
            initializer: vec![weights],
            output: vec![ValueInfoProto { name: Some(output.into()), ..Default::default() }],
            ..GraphProto::default()
        }
    }

    /// x has 3·10 values; a, b, c, d have 4·10 each.
    #[test]
    fn values_last_until_they_are_read_for_the_last_time() {
        let peak = |output: &str, lanes: usize| peak(&graph(output), "x", &[1, 3, 2, 5], lanes) / 4;
        // a, b and c when they are added.
        assert_eq!(peak("d", 1), 120);
        // With b as an output, also d; a is gone by then.
        assert_eq!(peak("b", 1), 120);
        // With x as an output, all the time.
        assert_eq!(peak("x", 1), 150);
        // With 8 channels instead of 4.
        assert_eq!(peak("d", 8), 240);
    }

    #[test]
    fn sizes_beyond_all_bounds_saturate() {
        let size = usize::MAX / 2;
        assert_eq!(peak(&graph("d"), "x", &[1, 3, size, size], 16), u64::MAX);
    }
}
