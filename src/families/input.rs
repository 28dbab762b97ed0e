// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a network itself does to the pixels before its first layer, which must not be done twice.

use super::family::Network;
use crate::{
    onnx::{
        graph::{Graph, MAX_STEPS},
        messages::{NodeProto, TensorProto},
    },
    preprocess::{ChannelOrder, Normalisation},
};

/// What the first nodes make of a sample x of each input channel: `factor`·x + `offset`.
struct Prepared {
    factor: [f32; 3],
    offset: [f32; 3],
    /// Whether they exchange the first and the last channel.
    reversed: bool,
}

/// What is left to do to samples of 0 to 255 for a network whose training pictures went through
/// `trained`.
///
/// A network that subtracts something takes samples as they are, or from 0 to 1 if what it subtracts is
/// that small. One that only scales still needs the rest.
pub fn normalisation(network: &Network, trained: Normalisation) -> Normalisation {
    let Prepared { factor, offset, reversed } = prepared(network);
    let order = match (trained.order, reversed) {
        (order, false) => order,
        (ChannelOrder::Bgr, true) => ChannelOrder::Rgb,
        (ChannelOrder::Rgb, true) => ChannelOrder::Bgr,
    };
    let [scale, ..] = factor;
    let same_scale = factor.iter().all(|factor| *factor == scale);
    if offset == [0.0; 3] && same_scale {
        return Normalisation { scale: trained.scale / scale, order, ..trained };
    }
    // The sample that becomes 0.
    let mean: [f32; 3] = std::array::from_fn(|channel| -offset[channel] / factor[channel]);
    let unit = mean.iter().all(|mean| mean.abs() <= 1.0);
    Normalisation {
        mean: [0.0; 3],
        scale: if unit { 1.0 / 255.0 } else { 1.0 },
        order,
        padding: trained.padding,
    }
}

fn prepared(network: &Network) -> Prepared {
    let mut prepared = Prepared { factor: [1.0; 3], offset: [0.0; 3], reversed: false };
    let graph = &network.graph;
    let mut value = network.input;
    for _ in 0..MAX_STEPS {
        let mut readers =
            graph.nodes.iter().filter(|node| node.input.iter().any(|input| input == value));
        let (Some(node), None) = (readers.next(), readers.next()) else { break };
        if apply(graph, node, value, &mut prepared).is_none() {
            break;
        }
        let Some(output) = node.output.first() else { break };
        value = output;
    }
    if prepared.reversed {
        // Blue, green and red of pixels are what is asked for, whatever the order of the channels.
        prepared.factor.reverse();
        prepared.offset.reverse();
    }
    prepared
}

/// Adds what a node does to `value`; none if it does anything else.
fn apply<'a>(
    graph: &Graph<'a>,
    node: &'a NodeProto,
    value: &str,
    prepared: &mut Prepared,
) -> Option<()> {
    if matches!(node.op(), "Identity" | "Cast" | "Transpose") {
        return Some(());
    }
    let first = node.input.first()? == value;
    let other = graph.constant(node.input.get(usize::from(first))?)?;
    if node.op() == "Gather" {
        let reverses = first && other.integers()? == [2, 1, 0];
        prepared.reversed ^= reverses.then_some(true)?;
        return Some(());
    }
    let numbers = channels(other)?;
    for (channel, number) in numbers.into_iter().enumerate() {
        let (factor, offset) = (&mut prepared.factor[channel], &mut prepared.offset[channel]);
        match node.op() {
            "Add" => *offset += number,
            "Sub" if first => *offset -= number,
            "Mul" => (*factor, *offset) = (*factor * number, *offset * number),
            "Div" if first => (*factor, *offset) = (*factor / number, *offset / number),
            _ => return None,
        }
    }
    Some(())
}

/// A number for each channel: three, or one for all.
fn channels(tensor: &TensorProto) -> Option<[f32; 3]> {
    let values = tensor.floats()?;
    match values[..] {
        [value] => Some([value; 3]),
        [first, second, third] => Some([first, second, third]),
        _ => None,
    }
}
