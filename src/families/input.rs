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
/// that small. One that only scales, from 0 to 1 to 255 or as its family's pictures were, needs
/// everything but that.
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
        let known = scale > 100.0 || (scale / trained.scale - 1.0).abs() < 0.05;
        // Any other is a layer of its own.
        let scale = if known { trained.scale / scale } else { trained.scale };
        return Normalisation { scale, order, ..trained };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        families::family::Family,
        families::{pytorch::RETINAFACE, scrfd::Scrfd, yunet::YuNet},
        onnx::{
            messages::{AttributeProto, DataType, GraphProto},
            tests::node,
        },
    };

    fn floats(name: &str, values: &[f32]) -> TensorProto {
        TensorProto {
            name: Some(name.into()),
            dims: if values.len() == 1 { vec![] } else { vec![1, 3, 1, 1] },
            data_type: Some(DataType::Float as i32),
            float_data: values.into(),
            ..TensorProto::default()
        }
    }

    fn reverse() -> TensorProto {
        TensorProto {
            name: Some("reverse".into()),
            dims: vec![3],
            data_type: Some(DataType::Int64 as i32),
            int64_data: vec![2, 1, 0],
            ..TensorProto::default()
        }
    }

    /// Of a network with these nodes before its first convolution: operator, and what its other input
    /// is. A minus before the operator: that one comes first.
    fn found(steps: &[(&str, &[f32])], trained: Normalisation) -> Normalisation {
        let mut graph = GraphProto { initializer: vec![reverse()], ..GraphProto::default() };
        let mut value = "image".to_owned();
        for (index, (op, numbers)) in steps.iter().enumerate() {
            let (other, output) = (format!("other{index}"), format!("value{index}"));
            graph.initializer.push(floats(&other, numbers));
            let made = match op.strip_prefix('-') {
                Some(op) => node(op, &[&other, &value], &output),
                None if *op == "Gather" => NodeProto {
                    attribute: vec![AttributeProto::new_int("axis", 1)],
                    ..node(op, &[&value, "reverse"], &output)
                },
                None if numbers.is_empty() => node(op, &[&value], &output),
                None => node(op, &[&value, &other], &output),
            };
            graph.node.push(made);
            value = output;
        }
        graph.node.push(node("Conv", &[&value, "weights"], "features"));
        normalisation(&Network::new(&graph, "image", None), trained)
    }

    #[test]
    fn what_the_graph_subtracts_is_not_subtracted_again() {
        let trained = RETINAFACE.normalisation();
        let mean = [104.0, 117.0, 123.0];
        let none = Normalisation { padding: mean, ..Normalisation::NONE };
        assert_eq!(found(&[], trained), trained);
        assert_eq!(found(&[("Sub", &mean)], trained), none);
        assert_eq!(found(&[("Add", &mean.map(|mean| -mean))], trained), none);
        // In steps, with what changes nothing between.
        assert_eq!(found(&[("Cast", &[]), ("Identity", &[]), ("Sub", &mean)], trained), none);
        // From 0 to 1: times 255 before, or a mean of that size.
        let unit = Normalisation { scale: 1.0 / 255.0, ..none };
        assert_eq!(found(&[("Mul", &[255.0]), ("Sub", &mean)], trained), unit);
        assert_eq!(found(&[("-Mul", &[255.0]), ("Sub", &mean)], trained), unit);
        let imagenet = [("Sub", &[0.4, 0.5, 0.6][..]), ("Div", &[0.2, 0.2, 0.25])];
        assert_eq!(found(&imagenet, trained), unit);
        assert_eq!(found(&[("-Sub", &mean)], trained), trained, "a layer of its own");
    }

    #[test]
    fn a_graph_that_scales_needs_the_rest() {
        let trained = RETINAFACE.normalisation();
        let unit = Normalisation { scale: 1.0 / 255.0, ..trained };
        assert_eq!(found(&[("Mul", &[255.0])], trained), unit);
        assert_eq!(found(&[("Div", &[1.0 / 128.0])], trained).scale, 1.0 / 128.0);
        assert_eq!(found(&[("Mul", &[1.0 / 64.0])], trained), trained, "a layer of its own");
        assert_eq!(found(&[("Mul", &[50.0])], trained), trained, "a layer of its own");
        let scrfd = Scrfd.normalisation();
        assert_eq!(found(&[("Div", &[128.0])], scrfd), Normalisation { scale: 1.0, ..scrfd });
        let both = found(&[("Sub", &[127.5]), ("Mul", &[1.0 / 128.0])], scrfd);
        assert_eq!((both.mean, both.scale, both.order), ([0.0; 3], 1.0, ChannelOrder::Rgb));
    }

    #[test]
    fn channels_that_the_graph_exchanges_come_the_other_way() {
        let order = |steps: &[(&str, &[f32])], trained| found(steps, trained).order;
        let gather: (&str, &[f32]) = ("Gather", &[]);
        assert_eq!(order(&[gather], RETINAFACE.normalisation()), ChannelOrder::Rgb);
        assert_eq!(order(&[gather], Scrfd.normalisation()), ChannelOrder::Bgr);
        assert_eq!(order(&[gather, gather], YuNet.normalisation()), ChannelOrder::Bgr);
    }
}
