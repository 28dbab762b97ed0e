// SPDX-License-Identifier: MIT OR Apache-2.0

//! Networks in half or double precision become networks of floats: runtimes compute half precision
//! on CPUs by converting around every layer, and double precision slowly or not at all.

use std::collections::HashSet;

use prost::bytes::Bytes;

use crate::onnx::{messages::*, operators::Operator};

/// Makes all numbers floats, those of the inputs and outputs included; returns whether there were
/// others. Pictures of whole numbers that the network itself converts are taken as floats, too.
pub fn to_float(graph: &mut GraphProto) -> bool {
    let mut changed = false;
    for tensor in graph.tensors_mut() {
        changed |= convert(tensor).is_some();
    }
    let (inputs, outputs) = (&mut graph.input, &mut graph.output);
    for value in inputs.iter_mut().chain(outputs).chain(&mut graph.value_info) {
        changed |= value.tensor_type_mut().is_some_and(|tensor| declare(&mut tensor.elem_type));
    }
    for attribute in graph.node.iter_mut().filter(|node| node.op() == "Cast").flat_map(to) {
        changed |= is_other_float(*attribute);
        if is_other_float(*attribute) {
            *attribute = DataType::Float as i64;
        }
    }
    changed |= take_bytes_as_floats(graph);
    changed | drop_casts(graph)
}

/// What a cast converts to.
fn to(cast: &mut NodeProto) -> Option<&mut i64> {
    cast.attribute.iter_mut().find(|attribute| attribute.name() == "to")?.i.as_mut()
}

fn is_other_float(data_type: i64) -> bool {
    [DataType::Float16, DataType::Bfloat16, DataType::Double]
        .iter()
        .any(|&other| other as i64 == data_type)
}

/// Replaces a data type of other precision; returns whether it was one.
fn declare(data_type: &mut Option<i32>) -> bool {
    let is_other = data_type.is_some_and(|data_type| is_other_float(data_type.into()));
    if is_other {
        *data_type = Some(DataType::Float as i32);
    }
    is_other
}

/// Replaces the data of a tensor of other precision, unless that is not what its type says.
fn convert(tensor: &mut TensorProto) -> Option<()> {
    let data_type = DataType::try_from(tensor.data_type()).ok()?;
    let single = |bits: u16| match data_type {
        DataType::Float16 => half_to_float(bits),
        _ => f32::from_bits(u32::from(bits) << 16),
    };
    let raw = tensor.raw_data.as_deref().filter(|raw| !raw.is_empty());
    let floats: Vec<f32> = match (data_type, raw) {
        (DataType::Float16 | DataType::Bfloat16, Some(raw)) => {
            let (halves, rest) = raw.as_chunks::<2>();
            rest.is_empty()
                .then(|| halves.iter().map(|&half| single(u16::from_le_bytes(half))))?
                .collect()
        }
        (DataType::Float16 | DataType::Bfloat16, None) => {
            // In the lower half of each.
            tensor.int32_data.iter().map(|&bits| single(bits as u16)).collect()
        }
        (DataType::Double, Some(raw)) => {
            let (doubles, rest) = raw.as_chunks::<8>();
            let double = |&double: &[u8; 8]| f64::from_le_bytes(double) as f32;
            rest.is_empty().then(|| doubles.iter().map(double))?.collect()
        }
        (DataType::Double, None) => tensor.double_data.iter().map(|&value| value as f32).collect(),
        _ => return None,
    };
    tensor.data_type = Some(DataType::Float as i32);
    tensor.int32_data.clear();
    tensor.double_data.clear();
    let raw: Vec<u8> = floats.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor.raw_data = Some(Bytes::from(raw));
    Some(())
}

/// IEEE 754's binary16: a sign, 5 bits of exponent with a bias of 15, and 10 of fraction.
fn half_to_float(bits: u16) -> f32 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    sign * match (exponent, fraction) {
        (0, _) => fraction * 2f32.powi(-24),
        (31, 0.0) => f32::INFINITY,
        (31, _) => f32::NAN,
        _ => (fraction + 1024.0) * 2f32.powi(exponent - 25),
    }
}

/// Declares inputs of bytes as floats, where they are only rearranged before they become floats.
fn take_bytes_as_floats(graph: &mut GraphProto) -> bool {
    let is_bytes = |input: &ValueInfoProto| {
        input.tensor_type().is_some_and(|tensor| tensor.elem_type() == DataType::Uint8 as i32)
    };
    let mut changed = false;
    for index in 0..graph.input.len() {
        if is_bytes(&graph.input[index])
            && become_floats(graph, graph.input[index].name())
            && let Some(tensor) = graph.input[index].tensor_type_mut()
        {
            tensor.elem_type = Some(DataType::Float as i32);
            changed = true;
        }
    }
    changed
}

fn become_floats(graph: &GraphProto, input: &str) -> bool {
    let mut bytes = HashSet::from([input]);
    for node in &graph.node {
        if !node.input.iter().any(|value| bytes.contains(value.as_str())) {
            continue;
        }
        match node.op() {
            "Cast" if node.int("to") == Some(DataType::Float as i64) => {}
            "Transpose" | "Identity" => bytes.extend(node.output.iter().map(String::as_str)),
            _ => return false,
        }
    }
    !graph.output.iter().any(|output| bytes.contains(output.name()))
}

/// Makes casts of floats to floats `Identity`, which is followed everywhere.
fn drop_casts(graph: &mut GraphProto) -> bool {
    let is_float = |value: &&ValueInfoProto| {
        value.tensor_type().is_some_and(|tensor| tensor.elem_type() == DataType::Float as i32)
    };
    let is_float_tensor = |tensor: &&TensorProto| tensor.is(DataType::Float);
    let inputs = graph.input.iter().filter(is_float).map(|input| input.name().to_owned());
    let tensors = graph.initializer.iter().filter(is_float_tensor).map(|t| t.name().to_owned());
    let mut floats: HashSet<String> = inputs.chain(tensors).collect();
    let mut changed = false;
    for node in &mut graph.node {
        let first = node.input.first().is_some_and(|value| floats.contains(value));
        let cast = node.op() == "Cast" && node.int("to") == Some(DataType::Float as i64);
        if cast && first {
            node.op_type = Some("Identity".to_owned());
            node.attribute.clear();
            changed = true;
        }
        let gives_floats = match Operator::of(node) {
            Some(Operator::Constant) => node.tensor("value").is_some_and(|t| t.is(DataType::Float)),
            Some(Operator::Cast) => cast,
            Some(Operator::Shape) | None => false,
            Some(_) => first,
        };
        if gives_floats {
            floats.extend(node.output.first().cloned());
        }
    }
    changed
}
