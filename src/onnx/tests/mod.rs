// SPDX-License-Identifier: MIT OR Apache-2.0

//! Graphs of a few nodes, and what ONNX's documentation says of them.

mod accessors;
mod builder;
mod convolution;
mod graph;
mod passes;
mod plain;
mod shapes;
mod specialise;
mod validate;
mod window;

use prost::bytes::Bytes;

use super::messages::*;

/// Operators whose output has the shape of the first input, of ONNX's documentation.
const SAME_SHAPE: [&str; 31] = [
    "Abs",
    "BatchNormalization",
    "Cast",
    "Celu",
    "Clip",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "Mish",
    "Neg",
    "PRelu",
    "Reciprocal",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Swish",
    "Tanh",
    "ThresholdedRelu",
];

pub fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(op.into()),
        input: inputs.iter().map(|&input| input.into()).collect(),
        output: vec![output.into()],
        ..NodeProto::default()
    }
}

impl NodeProto {
    fn with_int(mut self, name: &str, value: i64) -> Self {
        self.attribute.push(AttributeProto::new_int(name, value));
        self
    }

    fn with_ints(mut self, name: &str, values: &[i64]) -> Self {
        self.attribute.push(AttributeProto::new_ints(name, values));
        self
    }

    fn with_string(mut self, name: &str, value: &str) -> Self {
        self.attribute.push(AttributeProto::new_string(name, value));
        self
    }

    fn with_float(mut self, name: &str, value: f32) -> Self {
        self.attribute.push(AttributeProto {
            name: Some(name.into()),
            f: Some(value),
            ..AttributeProto::default()
        });
        self
    }
}

fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.into(),
        data_type: Some(DataType::Float as i32),
        float_data: values.into(),
        ..TensorProto::default()
    }
}

pub fn integers(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.into(),
        data_type: Some(DataType::Int64 as i32),
        int64_data: values.into(),
        ..TensorProto::default()
    }
}

/// Only the shape matters.
fn weights(name: &str, dims: &[i64]) -> TensorProto {
    floats(name, dims, &[])
}

fn list(name: &str, values: &[i64]) -> TensorProto {
    integers(name, &[values.len() as i64], values)
}

fn constant(tensor: TensorProto, output: &str) -> NodeProto {
    let attribute =
        AttributeProto { name: Some("value".into()), t: Some(tensor), ..AttributeProto::default() };
    NodeProto { attribute: vec![attribute], ..node("Constant", &[], output) }
}

fn graph_of(nodes: &[NodeProto], tensors: &[TensorProto]) -> GraphProto {
    GraphProto { node: nodes.into(), initializer: tensors.into(), ..GraphProto::default() }
}
