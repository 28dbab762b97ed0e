// SPDX-License-Identifier: MIT OR Apache-2.0

//! Networks that tests build themselves.

use gstretinaface::onnx::messages::*;
use prost::bytes::Bytes;

/// A graph being built.
#[derive(Default)]
pub struct Build {
    pub nodes: Vec<NodeProto>,
    pub tensors: Vec<TensorProto>,
    pub outputs: Vec<ValueInfoProto>,
    count: usize,
    /// Of made-up weights.
    pub seed: u32,
}

impl Build {
    pub fn seeded(seed: u32) -> Self {
        Self { seed, ..Self::default() }
    }

    fn name(&mut self) -> String {
        self.count += 1;
        format!("v{}", self.count)
    }

    pub fn floats(&mut self, dims: &[i64], values: &[f32]) -> String {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(dims, DataType::Float, raw)
    }

    pub fn integers(&mut self, values: &[i64]) -> String {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(&[values.len() as i64], DataType::Int64, raw)
    }

    pub fn integer_scalar(&mut self, value: i64) -> String {
        self.tensor(&[], DataType::Int64, value.to_le_bytes().to_vec())
    }

    fn tensor(&mut self, dims: &[i64], data_type: DataType, raw: Vec<u8>) -> String {
        let name = self.name();
        self.tensors.push(tensor(&name, dims, data_type, raw));
        name
    }

    /// Attributes with one number are single, and those with more are lists. Returns the output.
    pub fn node(&mut self, op: &str, inputs: &[&str], attributes: &[(&str, &[i64])]) -> String {
        let output = self.name();
        let attribute = attributes.iter().map(|(name, values)| match values {
            [value] => AttributeProto::new_int(name, *value),
            values => AttributeProto::new_ints(name, values),
        });
        self.nodes.push(NodeProto {
            op_type: Some(op.into()),
            input: inputs.iter().map(|&input| input.into()).collect(),
            output: vec![output.clone()],
            attribute: attribute.collect(),
            ..NodeProto::default()
        });
        output
    }

    /// A network of operators of the version `opset`.
    pub fn finish(self, input: ValueInfoProto, opset: i64) -> ModelProto {
        let graph = GraphProto {
            name: Some("network".into()),
            node: self.nodes,
            initializer: self.tensors,
            input: vec![input],
            output: self.outputs,
            ..GraphProto::default()
        };
        let opset = OperatorSetIdProto { domain: None, version: Some(opset) };
        ModelProto {
            ir_version: Some(8),
            graph: Some(graph),
            opset_import: vec![opset],
            ..ModelProto::default()
        }
    }
}

pub fn tensor(name: &str, dims: &[i64], data_type: DataType, raw: Vec<u8>) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.into(),
        data_type: Some(data_type as i32),
        raw_data: Some(Bytes::from(raw)),
        ..TensorProto::default()
    }
}

/// A float value; sizes that are `None` are open.
pub fn value(name: &str, sizes: &[Option<i64>]) -> ValueInfoProto {
    let dimension = |(index, &size): (usize, &Option<i64>)| Dimension {
        value: Some(match size {
            Some(size) => DimensionValue::Value(size),
            None => DimensionValue::Param(format!("{name}_{index}")),
        }),
        denotation: None,
    };
    let dim = sizes.iter().enumerate().map(dimension).collect();
    let tensor = TensorType {
        elem_type: Some(DataType::Float as i32),
        shape: Some(TensorShapeProto { dim }),
    };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { value: Some(TypeValue::Tensor(tensor)), denotation: None }),
        ..ValueInfoProto::default()
    }
}
