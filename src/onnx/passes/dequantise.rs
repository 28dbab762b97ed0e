// SPDX-License-Identifier: MIT OR Apache-2.0

//! Networks of eight bit numbers become networks of floats.
//!
//! Quantised networks are exported as networks of floats with pairs of `QuantizeLinear` and
//! `DequantizeLinear` between the layers, which a runtime replaces with integer layers. Where it has no
//! such layers, or processors no such instructions, that is slower than floats; and what is between the
//! layers cannot be rewritten. The floats are more exact than the integers.

use std::collections::HashSet;

use prost::bytes::Bytes;

use crate::onnx::{graph::Graph, messages::*, shapes::absolute};

/// Makes weights and layers floats; returns whether there were others.
///
/// What a pair cuts off below zero stays cut off, and so does what is over 6: quantisers leave out a
/// `Relu` or a ReLU6 where a pair does as much. Other rounding and limits of the pairs go.
pub fn dequantise(model: &mut ModelProto) -> bool {
    let opset = model.opset();
    let Some(proto) = &mut model.graph else { return false };
    let before_layers = before_layers(proto);
    let graph = Graph::new(proto);
    let mut edits = Vec::new();
    for (index, node) in proto.node.iter().enumerate() {
        if node.op() == "DequantizeLinear"
            && let Some(output) = node.output.first()
            && let Some(edit) = edit(&graph, node, before_layers.contains(output))
        {
            edits.push((index, edit));
        }
    }
    let changed = !edits.is_empty();
    for (index, edit) in edits {
        let output = proto.node[index].output.first().cloned().unwrap_or_default();
        let (operator, input, attribute) = match edit {
            Edit::Tensor(tensor) => {
                ("Constant", vec![], vec![AttributeProto::new_tensor("value", *tensor)])
            }
            Edit::Pass { value } => ("Identity", vec![value], vec![]),
            Edit::Relu { value, most: Some(most) } if opset >= CLIP_TO_INPUTS => {
                let least = proto.add_tensor(&format!("{output}.min"), float(0.0));
                let most = proto.add_tensor(&format!("{output}.max"), float(most));
                ("Clip", vec![value, least, most], vec![])
            }
            Edit::Relu { value, .. } => ("Relu", vec![value], vec![]),
        };
        let node = &mut proto.node[index];
        node.op_type = Some(operator.to_owned());
        node.input = input;
        node.attribute = attribute;
    }
    if changed {
        drop_unread(proto);
    }
    changed
}

/// From this version on, the limits of Clip are inputs.
const CLIP_TO_INPUTS: i64 = 11;

/// What a `DequantizeLinear` becomes.
enum Edit {
    /// These floats.
    Tensor(Box<TensorProto>),
    /// The value from before the pair.
    Pass { value: String },
    /// What of that is over 0, and up to `most`.
    Relu { value: String, most: Option<f32> },
}

fn float(value: f32) -> TensorProto {
    TensorProto {
        data_type: Some(DataType::Float as i32),
        raw_data: Some(Bytes::copy_from_slice(&value.to_le_bytes())),
        ..TensorProto::default()
    }
}

/// The values that a convolution computes with: behind the last ones no activation was left out.
fn before_layers(proto: &GraphProto) -> HashSet<String> {
    let mut before = HashSet::new();
    for node in proto.node.iter().rev() {
        let is_layer = matches!(node.op(), "Conv" | "ConvTranspose" | "Gemm" | "MatMul");
        if is_layer || node.output.iter().any(|output| before.contains(output)) {
            before.extend(node.input.iter().cloned());
        }
    }
    before
}

fn edit(graph: &Graph, node: &NodeProto, before_layers: bool) -> Option<Edit> {
    let input = node.input.first()?;
    if let Some(tensor) = graph.constant(input) {
        return dequantised(graph, node, tensor).map(Box::new).map(Edit::Tensor);
    }
    let quantiser = &graph.nodes[graph.origin(input)?];
    let scale = scale(graph, node)?;
    if quantiser.op() != "QuantizeLinear" || self::scale(graph, quantiser)? != scale {
        return None;
    }
    let value = quantiser.input.first()?;
    let steps = steps_over_zero(graph, quantiser);
    Some(match (steps, scale.as_slice()) {
        (Some(steps), [scale]) if before_layers && !is_positive(graph, value, MAX_STEPS) => {
            // Of a ReLU6, quantisers take no more than 6 into account.
            let most = Some(steps * scale).filter(|&most| most < 6.01);
            Edit::Relu { value: value.clone(), most }
        }
        _ => Edit::Pass { value: value.clone() },
    })
}

/// The scale of a node of a pair: one number, or one for each of the channels.
fn scale(graph: &Graph, node: &NodeProto) -> Option<Vec<f32>> {
    graph.constant(node.input.get(1)?)?.floats()
}

/// How many integers there are over the one that stands for zero, if there is none for less.
fn steps_over_zero(graph: &Graph, node: &NodeProto) -> Option<f32> {
    let Some(name) = node.input.get(2).filter(|name| !name.is_empty()) else {
        // Without a zero point it is 0, and the integers have eight bits and no sign.
        return Some(u8::MAX.into());
    };
    let zero = graph.constant(name)?;
    let (least, most): (i32, i32) = match DataType::try_from(zero.data_type()).ok()? {
        DataType::Uint8 => (0, u8::MAX.into()),
        DataType::Uint16 => (0, u16::MAX.into()),
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        _ => return None,
    };
    let steps = (most - least) as f32;
    integers(zero)?.iter().all(|&zero| zero == least).then_some(steps)
}

/// How many nodes are followed back to find whether a value can be less than zero.
const MAX_STEPS: usize = 4;
/// Of a node on the way; keeps the work for a strange file small.
const MAX_INPUTS: usize = 8;

fn is_positive(graph: &Graph, value: &str, steps: usize) -> bool {
    let node = graph.origin(value).map(|index| &graph.nodes[index]);
    let Some(node) = node.filter(|_| steps > 0) else { return false };
    let is_positive = |value: &String| is_positive(graph, value, steps - 1);
    match node.op() {
        "Relu" | "Sigmoid" | "HardSigmoid" | "Softmax" => true,
        "AveragePool" | "MaxPool" | "Reshape" | "Resize" | "Slice" | "Transpose" => {
            node.input.first().is_some_and(is_positive)
        }
        "Add" | "Concat" => node.input.len() <= MAX_INPUTS && node.input.iter().all(is_positive),
        "DequantizeLinear" => steps_over_zero(graph, node).is_some(),
        _ => false,
    }
}

/// The floats that a constant of integers stands for.
fn dequantised(graph: &Graph, node: &NodeProto, tensor: &TensorProto) -> Option<TensorProto> {
    if node.int("block_size").unwrap_or(0) != 0 {
        return None;
    }
    let values = integers(tensor)?;
    let (scale, zero) = (scale(graph, node)?, zero(graph, node)?);
    let axis = absolute(node.int("axis").unwrap_or(1), tensor.dims.len());
    // How many channels there are, and how many values of one are side by side.
    let (channels, inner) = match axis {
        Some(axis) => {
            let size = |size: &i64| usize::try_from(*size).ok();
            let inner = tensor.dims[axis + 1..].iter();
            let inner = inner.map(size).try_fold(1usize, |inner, size| inner.checked_mul(size?));
            (size(&tensor.dims[axis])?, inner?.max(1))
        }
        None => (1, 1),
    };
    let of = |list: &[f32], index: usize| match list {
        [one] => Some(*one),
        each if each.len() == channels => each.get(index / inner % channels).copied(),
        _ => None,
    };
    let floats = values
        .iter()
        .enumerate()
        .map(|(index, &value)| Some((value as f32 - of(&zero, index)?) * of(&scale, index)?));
    let floats: Vec<f32> = floats.collect::<Option<_>>()?;
    let raw: Vec<u8> = floats.iter().flat_map(|value| value.to_le_bytes()).collect();
    Some(TensorProto {
        dims: tensor.dims.clone(),
        data_type: Some(DataType::Float as i32),
        raw_data: Some(Bytes::from(raw)),
        ..TensorProto::default()
    })
}

/// The integers that stand for zero: one, or one for each of the channels.
fn zero(graph: &Graph, node: &NodeProto) -> Option<Vec<f32>> {
    match node.input.get(2).filter(|name| !name.is_empty()) {
        Some(name) => {
            Some(integers(graph.constant(name)?)?.iter().map(|&zero| zero as f32).collect())
        }
        None => Some(vec![0.0]),
    }
}

/// The elements of a tensor of a type that is quantised to; none if there are not as many as its
/// shape says.
fn integers(tensor: &TensorProto) -> Option<Vec<i32>> {
    let raw = tensor.raw_data.as_deref().filter(|raw| !raw.is_empty());
    let data_type = DataType::try_from(tensor.data_type()).ok()?;
    let values: Vec<i32> = match (data_type, raw) {
        (
            DataType::Int8 | DataType::Uint8 | DataType::Int16 | DataType::Uint16 | DataType::Int32,
            None,
        ) => tensor.int32_data.clone(),
        (DataType::Int8, Some(raw)) => raw.iter().map(|&byte| (byte as i8).into()).collect(),
        (DataType::Uint8, Some(raw)) => raw.iter().map(|&byte| byte.into()).collect(),
        (DataType::Int16, Some(raw)) => {
            raw.as_chunks().0.iter().map(|&bytes| i16::from_le_bytes(bytes).into()).collect()
        }
        (DataType::Uint16, Some(raw)) => {
            raw.as_chunks().0.iter().map(|&bytes| u16::from_le_bytes(bytes).into()).collect()
        }
        (DataType::Int32, Some(raw)) => {
            raw.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes)).collect()
        }
        _ => return None,
    };
    (Some(values.len()) == tensor.element_count()).then_some(values)
}

/// Leaves out the quantisers that nothing reads any more.
fn drop_unread(proto: &mut GraphProto) {
    let outputs = proto.output.iter().map(|output| output.name().to_owned());
    let inputs = proto.node.iter().flat_map(|node| &node.input).cloned();
    let read: HashSet<String> = inputs.chain(outputs).collect();
    proto.node.retain(|node| {
        node.op() != "QuantizeLinear" || node.output.iter().any(|output| read.contains(output))
    });
}
