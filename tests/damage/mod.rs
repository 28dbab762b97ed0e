// SPDX-License-Identifier: MIT OR Apache-2.0

//! Networks gone wrong: changes of an ONNX file's bytes, and of what it says.

use gstretinaface::onnx::messages::*;
use proptest::{prelude::*, sample::Index};

/// Sizes, counts and offsets at which arithmetic goes wrong.
fn number() -> impl Strategy<Value = i64> {
    prop_oneof![
        -3i64..20,
        Just(i64::MAX),
        Just(i64::MIN),
        Just(1 << 24),
        Just(1 << 31),
        Just(1 << 32),
        Just(1 << 62),
        any::<i64>(),
    ]
}

/// A change of the file's bytes.
#[derive(Clone, Debug)]
pub enum Damage {
    Overwrite(Index, Vec<u8>),
    Truncate(Index),
    Insert(Index, Vec<u8>),
    /// Copies bytes from one place to another.
    Splice(Index, Index, usize),
    Remove(Index, usize),
}

pub fn damage() -> impl Strategy<Value = Damage> {
    let bytes = || prop::collection::vec(any::<u8>(), 1..12);
    let at = any::<Index>;
    prop_oneof![
        6 => (at(), bytes()).prop_map(|(at, bytes)| Damage::Overwrite(at, bytes)),
        1 => at().prop_map(Damage::Truncate),
        2 => (at(), bytes()).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        2 => (at(), at(), 1usize..5000).prop_map(|(from, to, len)| Damage::Splice(from, to, len)),
        2 => (at(), 1usize..2000).prop_map(|(at, len)| Damage::Remove(at, len)),
    ]
}

impl Damage {
    pub fn apply(&self, file: &mut Vec<u8>) {
        if file.is_empty() {
            return;
        }
        match self {
            Self::Overwrite(at, bytes) => {
                let at = at.index(file.len());
                file[at..].iter_mut().zip(bytes).for_each(|(old, new)| *old = *new);
            }
            Self::Truncate(at) => file.truncate(at.index(file.len())),
            Self::Insert(at, bytes) => {
                let at = at.index(file.len());
                file.splice(at..at, bytes.iter().copied());
            }
            Self::Splice(from, to, len) => {
                let (from, to) = (from.index(file.len()), to.index(file.len()));
                let part = file[from..(from + len).min(file.len())].to_vec();
                file.splice(to..to, part);
            }
            Self::Remove(at, len) => {
                let at = at.index(file.len());
                file.drain(at..(at + len).min(file.len()));
            }
        }
    }
}

/// A change of what the file says. Indices choose nodes, values and so on.
#[derive(Clone, Debug)]
pub enum Change {
    RemoveNode(Index),
    DuplicateNode(Index),
    SwapNodes(Index, Index),
    Operator(Index, &'static str),
    Domain(Index),
    /// Another input of the first node: a value that the second makes, or reads.
    Input(Index, Index, Index),
    AddInput(Index, Index),
    RemoveInputs(Index),
    Output(Index, Index),
    RemoveOutputs(Index),
    Attribute(Index, Index, i64),
    RemoveAttributes(Index),
    AddAttribute(Index, &'static str, Vec<i64>),
    Subgraph(Index),
    /// A constant's numbers.
    Integers(Index, Vec<i64>),
    Dims(Index, Index, i64),
    AddDim(Index, i64),
    DataType(Index, i32),
    Data(Index, usize),
    RemoveTensor(Index),
    GraphInput(Index, i64),
    GraphOutput(Index, &'static str),
    OutputOf(Index, Index),
    DuplicateOutput(Index),
    Opset(i64),
}

const OPERATORS: [&str; 28] = [
    "Add",
    "BatchNormalization",
    "Cast",
    "Concat",
    "Constant",
    "Conv",
    "Div",
    "Dropout",
    "Flatten",
    "Gather",
    "Identity",
    "LeakyRelu",
    "MaxPool",
    "Mul",
    "Pad",
    "Relu",
    "Reshape",
    "Resize",
    "Shape",
    "Slice",
    "Softmax",
    "Squeeze",
    "Sub",
    "Transpose",
    "Unsqueeze",
    "Upsample",
    "If",
    "Anything",
];

const ATTRIBUTES: [&str; 14] = [
    "strides",
    "pads",
    "dilations",
    "group",
    "kernel_shape",
    "ceil_mode",
    "axis",
    "perm",
    "to",
    "starts",
    "ends",
    "axes",
    "start",
    "end",
];

const OUTPUTS: [&str; 7] = [
    "face_rpn_cls_prob_reshape_stride8",
    "face_rpn_bbox_pred_stride8",
    "face_rpn_landmark_pred_stride8",
    "face_rpn_cls_prob_reshape_stride4294967295",
    "face_rpn_bbox_pred_stride4294967295",
    "face_rpn_cls_prob_reshape_stride0",
    "",
];

pub fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    let numbers = || prop::collection::vec(number(), 0..8);
    let nodes = prop_oneof![
        at().prop_map(Change::RemoveNode),
        at().prop_map(Change::DuplicateNode),
        (at(), at()).prop_map(|(a, b)| Change::SwapNodes(a, b)),
        (at(), prop::sample::select(&OPERATORS[..])).prop_map(|(at, op)| Change::Operator(at, op)),
        at().prop_map(Change::Domain),
        (at(), at(), at()).prop_map(|(at, input, value)| Change::Input(at, input, value)),
        (at(), at()).prop_map(|(at, value)| Change::AddInput(at, value)),
        at().prop_map(Change::RemoveInputs),
        (at(), at()).prop_map(|(at, value)| Change::Output(at, value)),
        at().prop_map(Change::RemoveOutputs),
        (at(), at(), number()).prop_map(|(at, which, value)| Change::Attribute(at, which, value)),
        at().prop_map(Change::RemoveAttributes),
        (at(), prop::sample::select(&ATTRIBUTES[..]), numbers())
            .prop_map(|(at, name, values)| Change::AddAttribute(at, name, values)),
        at().prop_map(Change::Subgraph),
        (at(), numbers()).prop_map(|(at, values)| Change::Integers(at, values)),
    ];
    let others = prop_oneof![
        (at(), at(), number()).prop_map(|(at, dim, size)| Change::Dims(at, dim, size)),
        (at(), number()).prop_map(|(at, size)| Change::AddDim(at, size)),
        (at(), 0..12).prop_map(|(at, data_type)| Change::DataType(at, data_type)),
        (at(), 0usize..300).prop_map(|(at, len)| Change::Data(at, len)),
        at().prop_map(Change::RemoveTensor),
        (at(), number()).prop_map(|(dim, size)| Change::GraphInput(dim, size)),
        (at(), prop::sample::select(&OUTPUTS[..]))
            .prop_map(|(at, name)| Change::GraphOutput(at, name)),
        (at(), at()).prop_map(|(at, value)| Change::OutputOf(at, value)),
        at().prop_map(Change::DuplicateOutput),
        number().prop_map(Change::Opset),
    ];
    prop_oneof![3 => nodes, 2 => others]
}

/// One of a list, unless that is empty.
fn pick<'a, T>(list: &'a mut [T], at: &Index) -> Option<&'a mut T> {
    if list.is_empty() { None } else { Some(&mut list[at.index(list.len())]) }
}

/// The name of some value of the graph.
fn value(graph: &GraphProto, at: &Index) -> String {
    let values = graph.node.iter().flat_map(|node| node.output.iter().chain(&node.input));
    let values: Vec<_> = values.collect();
    values.get(at.index(values.len().max(1))).map_or_else(String::new, |&name| name.clone())
}

impl Change {
    pub fn apply(&self, model: &mut ModelProto) -> Option<()> {
        let graph = model.graph.as_mut()?;
        let count = graph.node.len();
        match self {
            Self::RemoveNode(at) if count > 0 => drop(graph.node.remove(at.index(count))),
            Self::RemoveNode(_) => (),
            Self::DuplicateNode(at) => {
                let node = pick(&mut graph.node, at)?.clone();
                graph.node.push(node);
            }
            Self::SwapNodes(a, b) if count > 0 => graph.node.swap(a.index(count), b.index(count)),
            Self::SwapNodes(..) => (),
            Self::Operator(at, op) => {
                pick(&mut graph.node, at)?.op_type = Some((*op).to_owned());
            }
            Self::Domain(at) => {
                pick(&mut graph.node, at)?.domain = Some("com.microsoft".to_owned());
            }
            Self::Input(at, input, name) => {
                let name = value(graph, name);
                *pick(&mut pick(&mut graph.node, at)?.input, input)? = name;
            }
            Self::AddInput(at, name) => {
                let name = value(graph, name);
                pick(&mut graph.node, at)?.input.push(name);
            }
            Self::RemoveInputs(at) => pick(&mut graph.node, at)?.input.clear(),
            Self::Output(at, name) => {
                let name = value(graph, name);
                *pick(&mut graph.node, at)?.output.first_mut()? = name;
            }
            Self::RemoveOutputs(at) => pick(&mut graph.node, at)?.output.clear(),
            Self::Attribute(at, which, number) => {
                let attribute = pick(&mut pick(&mut graph.node, at)?.attribute, which)?;
                match attribute.ints.first_mut() {
                    Some(first) => *first = *number,
                    None => attribute.i = Some(*number),
                }
            }
            Self::RemoveAttributes(at) => pick(&mut graph.node, at)?.attribute.clear(),
            Self::AddAttribute(at, name, numbers) => {
                let node = pick(&mut graph.node, at)?;
                node.attribute.retain(|attribute| attribute.name() != *name);
                node.attribute.push(AttributeProto {
                    name: Some((*name).to_owned()),
                    i: numbers.first().copied(),
                    ints: numbers.clone(),
                    ..AttributeProto::default()
                });
            }
            Self::Subgraph(at) => {
                let inner = GraphProto { node: graph.node.clone(), ..GraphProto::default() };
                let attribute = AttributeProto { g: Some(inner), ..AttributeProto::default() };
                pick(&mut graph.node, at)?.attribute.push(attribute);
            }
            Self::Integers(at, numbers) => {
                let nodes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
                let mut constants: Vec<_> = nodes.filter_map(|node| node.t.as_mut()).collect();
                let tensor = pick(&mut constants, at)?;
                tensor.dims = vec![numbers.len() as i64];
                tensor.data_type = Some(DataType::Int64 as i32);
                tensor.raw_data = None;
                tensor.int64_data = numbers.clone();
            }
            Self::Dims(at, dim, size) => {
                *pick(&mut pick(&mut graph.initializer, at)?.dims, dim)? = *size;
            }
            Self::AddDim(at, size) => pick(&mut graph.initializer, at)?.dims.push(*size),
            Self::DataType(at, data_type) => {
                pick(&mut graph.initializer, at)?.data_type = Some(*data_type);
            }
            Self::Data(at, len) => {
                let tensor = pick(&mut graph.initializer, at)?;
                tensor.raw_data = None;
                tensor.float_data = vec![f32::NAN; *len];
            }
            Self::RemoveTensor(at) if !graph.initializer.is_empty() => {
                graph.initializer.remove(at.index(graph.initializer.len()));
            }
            Self::RemoveTensor(_) => (),
            Self::GraphInput(dim, size) => {
                let value = graph.input.first_mut()?.r#type.as_mut()?.value.as_mut()?;
                let TypeValue::Tensor(tensor) = value else { return None };
                let dim = pick(&mut tensor.shape.as_mut()?.dim, dim)?;
                dim.value = Some(DimensionValue::Value(*size));
            }
            Self::GraphOutput(at, name) => {
                pick(&mut graph.output, at)?.name = Some((*name).to_owned());
            }
            Self::OutputOf(at, name) => {
                let name = value(graph, name);
                pick(&mut graph.output, at)?.name = Some(name);
            }
            Self::DuplicateOutput(at) => {
                let output = pick(&mut graph.output, at)?.clone();
                graph.output.push(output);
            }
            Self::Opset(version) => model.opset_import.first_mut()?.version = Some(*version),
        }
        Some(())
    }
}
