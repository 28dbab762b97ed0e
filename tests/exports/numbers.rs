// SPDX-License-Identifier: MIT OR Apache-2.0

//! Networks that compute with other numbers than floats.

use std::collections::HashMap;

use gstretinaface::onnx::messages::*;
use prost::Message;

use crate::{
    common::graph::{tensor, value},
    network::{INPUT, Numbers},
    picture::Picture,
    runtime,
};

/// A network of floats as one with other numbers.
pub fn convert(mut model: ModelProto, numbers: Numbers) -> ModelProto {
    let graph = model.graph.as_mut().expect("a graph");
    match numbers {
        Numbers::Halves | Numbers::HalvesInside => {
            for tensor in graph.initializer.iter_mut().filter(|t| t.is(DataType::Float)) {
                let halves = tensor.floats().expect("floats").into_iter().map(half);
                tensor.raw_data = Some(halves.flat_map(u16::to_le_bytes).collect());
                tensor.data_type = Some(DataType::Float16 as i32);
            }
            for value in graph.input.iter_mut().chain(&mut graph.output) {
                replace(&mut value.r#type, DataType::Float16);
            }
            if numbers == Numbers::Halves {
                return model;
            }
            let mut model = with_ends(model, DataType::Float, DataType::Float);
            // Converters append the node that they put in front of all others.
            model.graph.as_mut().expect("a graph").node.rotate_left(1);
            model
        }
        Numbers::DoublesOutside => with_ends(model, DataType::Double, DataType::Double),
        Numbers::Floats | Numbers::Quantised { .. } => model,
    }
}

/// IEEE 754's binary16, cut off; too small numbers are zero.
fn half(value: f32) -> u16 {
    let bits = value.to_bits();
    let exponent = (bits >> 23 & 0xff) as i32 - 127 + 15;
    let sign = (bits >> 16 & 0x8000) as u16;
    if exponent <= 0 { sign } else { sign | (exponent as u16) << 10 | (bits >> 13 & 0x3ff) as u16 }
}

fn cast(from: &str, to: &str, data_type: i32) -> NodeProto {
    NodeProto {
        op_type: Some("Cast".into()),
        input: vec![from.into()],
        output: vec![to.into()],
        attribute: vec![AttributeProto::new_int("to", data_type.into())],
        ..NodeProto::default()
    }
}

/// The same network with floats as its input and outputs, whatever it takes and gives.
pub fn with_float_ends(file: &[u8]) -> Vec<u8> {
    let model = ModelProto::decode(file).expect("an ONNX file");
    with_ends(model, DataType::Float, DataType::Float).encode_to_vec()
}

/// Declares the input and the outputs with these types, and converts behind and in front of them.
fn with_ends(mut model: ModelProto, input: DataType, output: DataType) -> ModelProto {
    let graph = model.graph.as_mut().expect("a graph");
    let mut nodes = Vec::new();
    let count = graph.node.len();
    let inside = |name: &str| format!("{name} of {count} nodes");
    for declared in &mut graph.input {
        let inner = inside(declared.name());
        let element = replace(&mut declared.r#type, input);
        for value in graph.node.iter_mut().flat_map(|node| &mut node.input) {
            if *value == declared.name() {
                *value = inner.clone();
            }
        }
        nodes.push(cast(declared.name(), &inner, element));
    }
    nodes.append(&mut graph.node);
    for declared in &mut graph.output {
        let inner = inside(declared.name());
        replace(&mut declared.r#type, output);
        for value in nodes.iter_mut().flat_map(|node| node.input.iter_mut().chain(&mut node.output))
        {
            if *value == declared.name() {
                *value = inner.clone();
            }
        }
        nodes.push(cast(&inner, declared.name(), output as i32));
    }
    graph.node = nodes;
    model
}

/// Sets the element type of a tensor; returns the one before.
fn replace(value: &mut Option<TypeProto>, element: DataType) -> i32 {
    match value.as_mut().and_then(|value| value.value.as_mut()) {
        Some(TypeValue::Tensor(tensor)) => {
            tensor.elem_type.replace(element as i32).expect("a type")
        }
        _ => panic!("no tensor"),
    }
}

/// The operators whose outputs get a pair.
const QUANTISED: [&str; 5] = ["Add", "Conv", "LeakyRelu", "Mul", "Relu"];

/// What ONNX Runtime's quantiser makes of a network: integers for the weights, and pairs of operators
/// around what convolutions read and give. With zero points, a pair does what a `Relu` does, which is
/// left out.
pub fn quantise(mut model: ModelProto, picture: &Picture, zero_points: bool) -> ModelProto {
    let ranges = ranges(&model, picture);
    let graph = model.graph.as_mut().expect("a graph");
    let nodes = std::mem::take(&mut graph.node);
    let mut quantiser = Quantiser { zero_points, scales: HashMap::new(), graph };
    for (index, node) in nodes.iter().enumerate() {
        let mut node = node.clone();
        for input in &mut node.input {
            if quantiser.scales.contains_key(input) {
                *input = dequantised(input);
            }
        }
        let mut output = node.output[0].clone();
        if node.op_type() == "Conv" {
            quantiser.parameters(&mut node);
        }
        let left_out = |node: &NodeProto| zero_points && node.op_type() == "Relu";
        if left_out(&node) {
            continue;
        }
        if let Some(next) = nodes.get(index + 1).filter(|next| left_out(next)) {
            output = next.output[0].clone();
            node.output[0] = output.clone();
        }
        let is_quantised = QUANTISED.contains(&node.op_type());
        quantiser.graph.node.push(node);
        if is_quantised {
            quantiser.pair(&output, ranges[&output]);
        }
    }
    model
}

/// The least and the largest of each value while the network runs.
fn ranges(model: &ModelProto, picture: &Picture) -> HashMap<String, (f32, f32)> {
    let mut model = model.clone();
    let graph = model.graph.as_mut().expect("a graph");
    let floats = graph.node.iter().filter(|node| QUANTISED.contains(&node.op_type()));
    let open = |node: &NodeProto| value(&node.output[0], &[None; 4]);
    let outputs: Vec<_> = floats.map(open).collect();
    graph.output = outputs;
    let values = runtime::run(&model.encode_to_vec(), INPUT, &picture.planes(1));
    let range = |values: &[f32]| {
        values.iter().fold((0f32, 0f32), |(least, most), &v| (least.min(v), most.max(v)))
    };
    values.into_iter().map(|(name, array)| (name, range(&array.values))).collect()
}

fn dequantised(value: &str) -> String {
    format!("{value} dequantised")
}

struct Quantiser<'a> {
    zero_points: bool,
    /// Of the values that have a pair.
    scales: HashMap<String, f32>,
    graph: &'a mut GraphProto,
}

impl Quantiser<'_> {
    /// A pair behind a value of this range.
    fn pair(&mut self, value: &str, (least, most): (f32, f32)) {
        let (scale, zero) = match self.zero_points {
            true => ((most - least) / 255.0, (-least / (most - least) * 255.0 - 128.0).round()),
            false => (most.max(-least) / 127.0, 0.0),
        };
        self.scales.insert(value.to_owned(), scale);
        let scale = self.tensor(value, "scale", &[], floats(&[scale]));
        let zero = self.tensor(value, "zero", &[], (DataType::Int8, vec![zero as i8 as u8]));
        let quantised = format!("{value} quantised");
        for (op, input, output) in [
            ("QuantizeLinear", value, quantised.as_str()),
            ("DequantizeLinear", &quantised, &dequantised(value)),
        ] {
            self.node(op, [input, &scale, &zero], output);
        }
    }

    /// Integers for the weights and the bias of a convolution, with a scale for each channel.
    fn parameters(&mut self, node: &mut NodeProto) {
        let before = node.input[0].trim_end_matches(" dequantised");
        let input_scale = self.scales[before];
        let [weights, bias] = [1, 2].map(|index| {
            let tensors = &mut self.graph.initializer;
            let place = tensors.iter().position(|tensor| tensor.name() == node.input[index]);
            tensors.remove(place.expect("a tensor in the file"))
        });
        let values = weights.floats().expect("floats");
        let row = values.len() / weights.dims[0] as usize;
        let most = |row: &[f32]| row.iter().fold(f32::MIN_POSITIVE, |most, v| most.max(v.abs()));
        let scales: Vec<_> = values.chunks(row).map(|row| most(row) / 127.0).collect();
        let integer = |(index, value): (usize, &f32)| (value / scales[index / row]).round() as i8;
        let integers: Vec<u8> =
            values.iter().enumerate().map(integer).map(|value| value as u8).collect();
        let biases = bias.floats().expect("floats");
        let bias_scales: Vec<_> = scales.iter().map(|scale| scale * input_scale).collect();
        let biases = biases
            .iter()
            .zip(&bias_scales)
            .flat_map(|(bias, scale)| ((bias / scale).round() as i32).to_le_bytes());
        let biases = biases.collect();
        for (index, tensor, integers, scales) in [
            (1, weights, (DataType::Int8, integers), scales),
            (2, bias, (DataType::Int32, biases), bias_scales),
        ] {
            let name = tensor.name().to_owned();
            let channels = &tensor.dims[..1];
            let zeros =
                vec![0; integers.1.len() / tensor.element_count().expect("a shape") * scales.len()];
            let zero = self.tensor(&name, "zero", channels, (integers.0, zeros));
            let scale = self.tensor(&name, "scale", channels, floats(&scales));
            let quantised = self.tensor(&name, "quantised", &tensor.dims, integers);
            node.input[index] = dequantised(&name);
            self.node("DequantizeLinear", [&quantised, &scale, &zero], &dequantised(&name));
            let axis = AttributeProto::new_int("axis", 0);
            self.graph.node.last_mut().expect("a node").attribute.push(axis);
        }
    }

    fn tensor(
        &mut self,
        value: &str,
        kind: &str,
        dims: &[i64],
        (data_type, raw): (DataType, Vec<u8>),
    ) -> String {
        let name = format!("{value} {kind}");
        self.graph.initializer.push(tensor(&name, dims, data_type, raw));
        name
    }

    fn node(&mut self, op: &str, inputs: [&str; 3], output: &str) {
        self.graph.node.push(NodeProto {
            op_type: Some(op.into()),
            input: inputs.map(str::to_owned).to_vec(),
            output: vec![output.to_owned()],
            ..NodeProto::default()
        });
    }
}

fn floats(values: &[f32]) -> (DataType, Vec<u8>) {
    (DataType::Float, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}
