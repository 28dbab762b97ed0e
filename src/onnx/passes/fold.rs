// SPDX-License-Identifier: MIT OR Apache-2.0

//! Factors behind convolutions become part of their weights.
//!
//! SCRFD multiplies the distances of each level by a trained number. Behind the convolution they would
//! keep it from being merged with others.

use std::collections::HashMap;

use crate::onnx::{
    graph::Graph,
    messages::{DataType, GraphProto, NodeProto, TensorProto},
};

/// A convolution, the node that multiplies all of its outputs by `factor`, and nothing else.
struct Scaled {
    convolution: usize,
    multiplication: usize,
    factor: f32,
}

/// Multiplies the weights of convolutions by what their outputs are multiplied by; whether there are
/// any. Nodes stay where they are; those that have become needless pass their input on.
pub fn fold_factors(proto: &mut GraphProto) -> bool {
    let mut folded = false;
    for Scaled { convolution, multiplication, factor } in scaled(proto) {
        let graph = Graph::new(proto);
        let weights = &graph.nodes[convolution].input[1..];
        let scaled: Option<Vec<_>> =
            weights.iter().map(|name| scale(graph.constant(name)?, factor)).collect();
        let Some(scaled) = scaled else { continue };
        let output = graph.nodes[convolution].output[0].clone();
        for (index, tensor) in scaled.into_iter().enumerate() {
            let name = proto.add_tensor(&format!("{output}.scaled{index}"), tensor);
            proto.node[convolution].input[1 + index] = name;
        }
        let node = &mut proto.node[multiplication];
        *node = NodeProto {
            input: vec![output],
            output: std::mem::take(&mut node.output),
            name: node.name.take(),
            op_type: Some("Identity".to_owned()),
            ..NodeProto::default()
        };
        folded = true;
    }
    folded
}

fn scaled(proto: &GraphProto) -> Vec<Scaled> {
    let graph = Graph::new(proto);
    let mut readers: HashMap<&str, usize> = HashMap::new();
    let inputs = proto.node.iter().flat_map(|node| &node.input);
    let outputs = proto.output.iter().filter_map(|output| output.name.as_ref());
    for value in inputs.chain(outputs) {
        *readers.entry(value).or_default() += 1;
    }
    let scaled = |(multiplication, node): (usize, &NodeProto)| {
        let [first, second] = &node.input[..] else { return None };
        let (value, factor) = match node.op() {
            "Mul" => match number(&graph, second) {
                Some(factor) => (first, factor),
                None => (second, number(&graph, first)?),
            },
            "Div" => (first, 1.0 / number(&graph, second)?),
            _ => return None,
        };
        let convolution = graph.producer(value)?;
        let node = &graph.nodes[convolution];
        let fits = node.op() == "Conv"
            && matches!(node.input.len(), 2 | 3)
            && factor.is_finite()
            && readers.get(value.as_str()) == Some(&1);
        fits.then_some(Scaled { convolution, multiplication, factor })
    };
    proto.node.iter().enumerate().filter_map(scaled).collect()
}

/// A constant of one number.
fn number<'a>(graph: &Graph<'a>, value: &'a str) -> Option<f32> {
    let tensor = graph.constant(value).filter(|tensor| tensor.element_count() == Some(1))?;
    tensor.floats()?.first().copied()
}

fn scale(tensor: &TensorProto, factor: f32) -> Option<TensorProto> {
    let values = tensor.floats()?;
    let raw: Vec<u8> = values.iter().flat_map(|value| (value * factor).to_le_bytes()).collect();
    Some(TensorProto {
        dims: tensor.dims.clone(),
        data_type: Some(DataType::Float as i32),
        raw_data: Some(raw.into()),
        ..TensorProto::default()
    })
}
