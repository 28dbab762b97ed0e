// SPDX-License-Identifier: MIT OR Apache-2.0

//! Builds a graph: nodes in order, initialisers by name.

use std::collections::{BTreeMap, HashMap, HashSet};

use prost::bytes::Bytes;

use super::messages::{
    AttributeProto, DataType, GraphProto, NodeProto, TensorProto, ValueInfoProto,
};
use super::shapes::Integers;

/// A graph being built.
#[derive(Default)]
pub struct GraphBuilder {
    pub nodes: Vec<NodeProto>,
    /// Sorted, so that the same network always makes the same file.
    tensors: BTreeMap<String, TensorProto>,
    names: HashSet<String>,
}

impl GraphBuilder {
    /// An empty graph in which no new name will be one of `taken`.
    pub fn new<'a>(taken: impl Iterator<Item = &'a str>) -> Self {
        Self { names: taken.map(str::to_owned).collect(), ..Self::default() }
    }

    /// Reserves a name: `name`, with underscores appended until nothing else has it.
    pub fn unique_name(&mut self, name: &str) -> String {
        let mut unique = name.to_owned();
        while !self.names.insert(unique.clone()) {
            unique.push('_');
        }
        unique
    }

    /// The initialiser of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorProto> {
        self.tensors.get(name)
    }

    /// Copies a tensor of the network, under its name there.
    pub fn copy_tensor(&mut self, name: &str, tensor: &TensorProto) {
        if !self.has_tensor(name) {
            let tensor = TensorProto { name: Some(name.to_owned()), ..tensor.clone() };
            self.tensors.insert(name.to_owned(), tensor);
        }
    }

    /// Adds a float tensor under a unique name, which is returned.
    pub fn add_floats(&mut self, name: &str, dims: &[i64], values: &[f32]) -> String {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.add(name, dims, DataType::Float, raw)
    }

    /// Adds a list of integers under a unique name, which is returned.
    pub fn add_integers(&mut self, name: &str, values: &[i64]) -> String {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.add(name, &[dimension(values.len())], DataType::Int64, raw)
    }

    /// Makes a value of the network, of this name, a constant.
    pub fn set_integers(&mut self, name: &str, integers: &Integers) {
        let raw: Vec<u8> = integers.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let len = dimension(integers.values.len());
        let dims: &[i64] = if integers.scalar { &[] } else { &[len] };
        self.tensors.insert(name.to_owned(), tensor(name, dims, DataType::Int64, raw));
    }

    fn add(&mut self, name: &str, dims: &[i64], data_type: DataType, raw: Vec<u8>) -> String {
        let name = self.unique_name(name);
        self.tensors.insert(name.clone(), tensor(&name, dims, data_type, raw));
        name
    }

    /// For each node the index of the one that reads its output, where only one does, and as its
    /// first input.
    pub fn followers(&self) -> Vec<Option<usize>> {
        let mut readers: HashMap<&str, Vec<(usize, usize)>> = HashMap::new();
        for (reader, node) in self.nodes.iter().enumerate() {
            for (position, input) in node.input.iter().enumerate() {
                readers.entry(input).or_default().push((reader, position));
            }
        }
        let follower = |node: &NodeProto| match readers.get(node.output.first()?.as_str())?[..] {
            [(reader, 0)] => Some(reader),
            _ => None,
        };
        self.nodes.iter().map(follower).collect()
    }

    /// Whether each node reads only `input`, tensors and outputs of earlier nodes, and no value is
    /// computed twice.
    pub fn is_sound(&self, input: &str) -> bool {
        // Subgraphs read values of the outer graph that are not among a node's inputs.
        let nested = |node: &NodeProto| {
            let graph =
                |attribute: &AttributeProto| attribute.g.is_some() || !attribute.graphs.is_empty();
            node.attribute.iter().any(graph)
        };
        let mut computed = HashSet::from(["", input]);
        self.nodes.iter().all(|node| {
            let known =
                |value: &String| computed.contains(value.as_str()) || self.has_tensor(value);
            let sound = node.input.iter().all(known) && !nested(node);
            let mut outputs = node.output.iter().filter(|output| !output.is_empty());
            sound && outputs.all(|output| computed.insert(output))
        })
    }

    fn has_tensor(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The finished graph, with the tensors that its nodes read.
    pub fn finish(
        self,
        name: Option<String>,
        input: ValueInfoProto,
        output: Vec<ValueInfoProto>,
    ) -> GraphProto {
        let read: HashSet<&str> =
            self.nodes.iter().flat_map(|node| &node.input).map(String::as_str).collect();
        let mut tensors = self.tensors;
        tensors.retain(|name, _| read.contains(name.as_str()));
        GraphProto {
            name,
            input: vec![input],
            output,
            initializer: tensors.into_values().collect(),
            node: self.nodes,
            ..GraphProto::default()
        }
    }
}

/// A size as a dimension of ONNX.
pub fn dimension(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn tensor(name: &str, dims: &[i64], data_type: DataType, raw: Vec<u8>) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        dims: dims.to_vec(),
        data_type: Some(data_type as i32),
        raw_data: Some(Bytes::from(raw)),
        ..TensorProto::default()
    }
}
