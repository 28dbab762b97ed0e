// SPDX-License-Identifier: MIT OR Apache-2.0

//! A whole network: that every value is known before it is read, and what each node says of itself.

use std::collections::HashSet;

use super::{arity, invalid::Invalid, node::Node, operators, tensor};
use crate::onnx::{
    accessors::printable,
    graph::Graph,
    messages::{AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto},
    shapes::{MAX_DIMENSION, MAX_RANK, Shapes},
};

/// No exporter gives longer names.
const MAX_NAME: usize = 4096;

/// Whether a network can be given to a runtime, where its input of this name has this shape. Checks
/// that need to know a shape are left out where it is not.
pub fn validate(model: &ModelProto, input: &str, shape: &[usize]) -> Result<(), Invalid> {
    if !model.functions.is_empty() {
        return Err(Invalid::network("it has functions of its own, which are not supported"));
    }
    let Some(proto) = &model.graph else {
        return Err(Invalid::network("there is none"));
    };
    check_tensors(proto)?;
    proto.node.iter().try_for_each(check_node)?;
    check_values(proto)?;
    let graph = Graph::new(proto);
    let shapes = Shapes::new(&graph, input, shape.to_vec());
    let mut constants: HashSet<&str> = proto.initializer.iter().map(|t| t.name()).collect();
    for node in &proto.node {
        let in_graph = Node { proto: node, graph: &graph, shapes: &shapes };
        operators::check(&in_graph).map_err(|why| Invalid::node(node, why))?;
        let mut named = node.input.iter().filter(|input| !input.is_empty());
        if node.op() == "Shape" || named.all(|input| constants.contains(input.as_str())) {
            if !arity::may_be_constant(node.op()) {
                let why = "it computes with constants alone, which no exported layer does";
                return Err(Invalid::node(node, why));
            }
            constants.extend(node.output.iter().map(String::as_str));
        }
    }
    Ok(())
}

fn check_tensors(proto: &GraphProto) -> Result<(), Invalid> {
    if !proto.sparse_initializer.is_empty() {
        return Err(Invalid::network("it has sparse tensors, which are not supported"));
    }
    let mut names = HashSet::new();
    for initializer in &proto.initializer {
        if initializer.name().is_empty() || !names.insert(initializer.name()) {
            return Err(Invalid::tensor(initializer.name(), "it has no name or another's"));
        }
    }
    proto.tensors().try_for_each(tensor::check)
}

/// That every value that is read has one origin, which comes first.
fn check_values(proto: &GraphProto) -> Result<(), Invalid> {
    for value in proto.input.iter().chain(&proto.output).chain(&proto.value_info) {
        check_value(value)?;
    }
    let mut known: HashSet<&str> = HashSet::new();
    for input in &proto.input {
        if input.name().is_empty() || !known.insert(input.name()) {
            let name = printable(input.name());
            return Err(Invalid::network(format!("its input {name} has no name or another's")));
        }
    }
    // Old exporters list weights among the inputs.
    known.extend(proto.initializer.iter().map(|tensor| tensor.name()));
    for node in &proto.node {
        let inputs = node.input.iter().filter(|input| !input.is_empty());
        if let Some(unknown) = inputs.clone().find(|input| !known.contains(input.as_str())) {
            let unknown = printable(unknown);
            let why = format!("it reads {unknown}, which nothing before it computes");
            return Err(Invalid::node(node, why));
        }
        let mut outputs = node.output.iter().filter(|output| !output.is_empty());
        if let Some(again) = outputs.find(|output| !known.insert(output)) {
            let again = printable(again);
            return Err(Invalid::node(node, format!("{again} is already something else")));
        }
    }
    let mut outputs = HashSet::new();
    for output in proto.output.iter().map(ValueInfoProto::name) {
        if !known.contains(output) || !outputs.insert(output) {
            let output = printable(output);
            let why = format!("nothing computes its output {output}, or it is there twice");
            return Err(Invalid::network(why));
        }
    }
    Ok(())
}

/// The name and, where it says one, the type and shape of an input, an output or an inner value.
fn check_value(value: &ValueInfoProto) -> Result<(), Invalid> {
    let name = check_name(value.name()).map_err(Invalid::network)?;
    if value.r#type.is_none() {
        return Ok(());
    }
    let Some(tensor) = value.tensor_type() else {
        return Err(Invalid::network(format!("{name} is no tensor")));
    };
    let dimensions = tensor.shape.iter().flat_map(|shape| &shape.dim);
    let limit = MAX_DIMENSION as i64;
    let mut sizes = dimensions.clone().filter_map(|dimension| dimension.size());
    if dimensions.count() > MAX_RANK || sizes.any(|size| size > limit) {
        return Err(Invalid::network(format!("the shape of {name} is impossible")));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<String, String> {
    if name.len() > MAX_NAME || name.contains(char::is_control) {
        return Err(format!("the name {} is too long or has control characters", printable(name)));
    }
    Ok(printable(name))
}

/// What has to be true of nodes of any operator.
fn check_node(node: &NodeProto) -> Result<(), Invalid> {
    let invalid = |why: &str| Err(Invalid::node(node, why));
    for name in node
        .input
        .iter()
        .chain(&node.output)
        .chain([node.op_type(), node.name()].map(String::from).iter())
    {
        check_name(name).map_err(|why| Invalid::node(node, why))?;
    }
    if !matches!(node.domain(), "" | "ai.onnx") {
        let domain = printable(node.domain());
        return invalid(&format!("its operator is one of {domain}, and only ONNX's are supported"));
    }
    let nested = |attribute: &AttributeProto| attribute.g.is_some() || !attribute.graphs.is_empty();
    if node.attribute.iter().any(nested) {
        return invalid("it has a graph inside, which is not supported");
    }
    let other = |attribute: &AttributeProto| {
        let sparse = attribute.sparse_tensor.is_some() || !attribute.sparse_tensors.is_empty();
        let types = attribute.tp.is_some() || !attribute.type_protos.is_empty();
        sparse || types || !attribute.ref_attr_name().is_empty()
    };
    if node.attribute.iter().any(other) {
        return invalid("it has an attribute of a kind that is not supported");
    }
    let mut names = HashSet::new();
    if !node.attribute.iter().all(|attribute| names.insert(attribute.name())) {
        return invalid("it has an attribute twice");
    }
    if node.input.iter().any(String::is_empty) && !arity::may_omit_inputs(node.op()) {
        return invalid("it leaves out an input that it needs");
    }
    let outputs = node.output.iter().filter(|output| !output.is_empty()).count();
    if outputs == 0 {
        return invalid("it has no output");
    }
    if let Some(inputs) = arity::inputs(node.op()) {
        let required = node.input.iter().take(*inputs.start());
        if !inputs.contains(&node.input.len()) || required.clone().any(String::is_empty) {
            return invalid("it has too few inputs, or too many");
        }
        let first = node.output.first().is_some_and(|output| !output.is_empty());
        if !first || node.output.len() > arity::most_outputs(node.op()) {
            return invalid("it has too few outputs, or too many");
        }
    }
    Ok(())
}
