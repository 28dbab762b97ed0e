// SPDX-License-Identifier: MIT OR Apache-2.0

//! Networks that take channels last become ones that take channels first, as all their layers do.

use std::collections::HashSet;

use crate::onnx::{graph::Graph, messages::*};

const CHANNELS: i64 = 3;
/// From `[batch, height, width, channels]`.
const CHANNELS_FIRST: [i64; 4] = [0, 3, 1, 2];
/// From `[batch, channels, height, width]`.
const CHANNELS_LAST: [i64; 4] = [0, 2, 3, 1];

/// The channels are last, and go on from there in a way that is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its channels are last")]
pub struct NotTransposed;

/// Moves the channels of `input` first, if they are last, and leaves out where the network does so
/// itself: at once, or after arithmetic with a number or one for each channel. Returns whether it did.
pub fn channels_first(graph: &mut GraphProto, input: &str) -> Result<bool, NotTransposed> {
    let Some(value) = graph.input.iter().position(|value| value.name() == input) else {
        return Ok(false);
    };
    let sizes =
        graph.input[value].tensor().map(|(_, dimensions)| dimensions.iter().map(Dimension::size));
    match sizes.map(Iterator::collect::<Vec<_>>).as_deref() {
        Some(&[_, first, _, Some(CHANNELS)]) if first != Some(CHANNELS) => {}
        _ => return Ok(false),
    }
    let edits = edits(graph, input).ok_or(NotTransposed)?;
    let shape = edits.iter().any(|edit| matches!(edit, Edit::Shape { .. }));
    let turned = graph.unique_name("channels_last");
    for edit in edits {
        match edit {
            Edit::Drop { node } => {
                graph.node[node].op_type = Some("Identity".to_owned());
                graph.node[node].attribute.clear();
            }
            Edit::Shape { node } => graph.node[node].input = vec![turned.clone()],
            Edit::Turn { node, operand, mut tensor } => {
                tensor.dims = vec![CHANNELS, 1, 1];
                graph.node[node].input[operand] = graph.add_tensor("per_channel", *tensor);
            }
        }
    }
    if shape {
        graph.node.insert(
            0,
            NodeProto {
                op_type: Some("Transpose".to_owned()),
                input: vec![input.to_owned()],
                output: vec![turned],
                attribute: vec![AttributeProto::new_ints("perm", &CHANNELS_LAST)],
                ..NodeProto::default()
            },
        );
    }
    if let [_, outer @ ..] = graph.input[value].dimensions_mut() {
        outer.rotate_right(1);
    }
    graph.value_info.clear();
    Ok(true)
}

enum Edit {
    /// A node that moves the channels.
    Drop { node: usize },
    /// A node that asks for the shape, which all values up to where channels are moved have.
    Shape { node: usize },
    /// A constant of a value for each channel.
    Turn { node: usize, operand: usize, tensor: Box<TensorProto> },
}

/// What has to change for channels to come first; none where that cannot be told.
fn edits(proto: &GraphProto, input: &str) -> Option<Vec<Edit>> {
    let graph = Graph::new(proto);
    let mut last = HashSet::from([input]);
    let mut edits = Vec::new();
    for (index, node) in proto.node.iter().enumerate() {
        let Some(place) = node.input.iter().position(|value| last.contains(value.as_str())) else {
            continue;
        };
        match node.op() {
            "Transpose" if node.ints("perm") == CHANNELS_FIRST => {
                edits.push(Edit::Drop { node: index });
                continue;
            }
            "Shape" => {
                edits.push(Edit::Shape { node: index });
                continue;
            }
            "Identity" | "Cast" => {}
            "Add" | "Sub" | "Mul" | "Div" => {
                let operand = 1 - place;
                let tensor = graph.constant(node.input.get(operand)?)?;
                match tensor.dims.split_last() {
                    _ if tensor.element_count() == Some(1) && tensor.dims.len() <= 4 => {}
                    Some((&CHANNELS, outer)) if outer.iter().all(|&size| size == 1) => {
                        edits.push(Edit::Turn {
                            node: index,
                            operand,
                            tensor: Box::new(tensor.clone()),
                        });
                    }
                    _ => return None,
                }
            }
            _ => return None,
        }
        last.extend(node.output.first().map(String::as_str));
    }
    let is_given = proto.output.iter().any(|output| last.contains(output.name()));
    (!is_given).then_some(edits)
}
