// SPDX-License-Identifier: MIT OR Apache-2.0

//! Networks that were exported for a number of pictures become ones for another.

use crate::onnx::{
    accessors::printable,
    builder::dimension,
    graph::{Graph, MAX_STEPS},
    messages::*,
    operators::Operator,
    shapes::Shapes,
};

/// The number of pictures is in a place that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotBatched(String);

impl NotBatched {
    fn node(node: &NodeProto) -> Self {
        let output = node.output.first().map_or("", String::as_str);
        Self(format!("how many is part of how {} is computed", printable(output)))
    }
}

/// That it is known how all that the network gives depends on its `input`, of this shape.
pub fn check_outputs(proto: &GraphProto, input: &str, shape: [usize; 4]) -> Result<(), NotBatched> {
    let graph = Graph::new(proto);
    let shapes = Shapes::new(&graph, input, shape.to_vec());
    let unknown = proto.output.iter().find(|output| shapes.shape(output.name()).is_none());
    unknown.map_or(Ok(()), |output| {
        let name = printable(output.name());
        Err(NotBatched(format!("how its output {name} depends on them is not known")))
    })
}

/// Changes a network whose `input` has the shape `before` so that it takes `pictures` instead of
/// `before[0]` at a time.
///
/// Most layers do not care; the number is in the shapes that others are given.
pub fn set_batch(
    graph: &mut GraphProto,
    input: &str,
    before: [usize; 4],
    pictures: usize,
) -> Result<(), NotBatched> {
    if before[0] == pictures {
        return Ok(());
    }
    for Edit { node, operand, tensor } in edits(graph, input, before, pictures)? {
        graph.node[node].input[operand] = graph.add_tensor("pictures", tensor);
    }
    check(graph, input, before, pictures)?;
    for value in graph.input.iter_mut().filter(|value| value.name() == input) {
        if let Some(batch) = value.dimensions_mut().first_mut() {
            batch.value = Some(DimensionValue::Value(dimension(pictures)));
        }
    }
    for value in &mut graph.output {
        value.open_dimensions(0..1);
    }
    graph.value_info.clear();
    Ok(())
}

/// The tensor that an operand is to be instead.
struct Edit {
    node: usize,
    operand: usize,
    tensor: TensorProto,
}

fn edits(
    proto: &GraphProto,
    input: &str,
    before: [usize; 4],
    pictures: usize,
) -> Result<Vec<Edit>, NotBatched> {
    let graph = Graph::new(proto);
    let shapes = Shapes::new(&graph, input, before.to_vec());
    let mut edits: Vec<Edit> = Vec::new();
    for (index, node) in proto.node.iter().enumerate() {
        let operand = match Operator::of(node) {
            Some(Operator::Reshape | Operator::Expand) => 1,
            Some(Operator::Resize) => 3,
            _ => continue,
        };
        let (Some(data), Some(shape)) = (node.input.first(), node.input.get(operand)) else {
            continue;
        };
        let in_data = shapes.shape(data).and_then(<[usize]>::first);
        let in_shape = shapes.integers(shape).and_then(|sizes| sizes.values.first().copied());
        if in_data != Some(&before[0]) || in_shape != Some(dimension(before[0])) {
            continue;
        }
        let not_batched = || NotBatched::node(node);
        let place = first_size(&graph, index, operand).ok_or_else(not_batched)?;
        if let Place::Constant { node, operand, tensor } = place
            && !edits.iter().any(|edit| (edit.node, edit.operand) == (node, operand))
        {
            let tensor = with_first(tensor, pictures).ok_or_else(not_batched)?;
            edits.push(Edit { node, operand, tensor });
        }
    }
    Ok(edits)
}

/// Where the first size of a shape comes from.
enum Place<'a> {
    /// The first of the integers in this tensor, which the node reads as this operand.
    Constant { node: usize, operand: usize, tensor: &'a TensorProto },
    /// It is computed from the shape of another value, and so changes with the input.
    Shape,
}

fn first_size<'a>(graph: &Graph<'a>, mut node: usize, mut operand: usize) -> Option<Place<'a>> {
    for _ in 0..MAX_STEPS {
        let value = graph.nodes[node].input.get(operand)?;
        if let Some(tensor) = graph.constant(value) {
            return Some(Place::Constant { node, operand, tensor });
        }
        (node, operand) = (graph.origin(value)?, 0);
        match Operator::of(&graph.nodes[node])? {
            Operator::Concat | Operator::Reshape | Operator::Unsqueeze | Operator::Cast => {}
            Operator::Shape | Operator::Slice | Operator::Gather => return Some(Place::Shape),
            _ => return None,
        }
    }
    None
}

fn with_first(tensor: &TensorProto, size: usize) -> Option<TensorProto> {
    let mut values = tensor.integers().filter(|_| tensor.is(DataType::Int64))?;
    *values.first_mut()? = dimension(size);
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Some(TensorProto { raw_data: Some(raw.into()), int64_data: Vec::new(), ..tensor.clone() })
}

/// That every value that was there before is there for each picture, or does not depend on pictures.
fn check(
    proto: &GraphProto,
    input: &str,
    before: [usize; 4],
    pictures: usize,
) -> Result<(), NotBatched> {
    let graph = Graph::new(proto);
    let [_, channels, height, width] = before;
    let was = Shapes::new(&graph, input, before.to_vec());
    let is = Shapes::new(&graph, input, vec![pictures, channels, height, width]);
    for node in &proto.node {
        let Some(output) = node.output.first() else { continue };
        let Some(was) = was.shape(output) else { continue };
        let fits = is.shape(output).is_some_and(|is| {
            let each =
                |shape: &[usize], pictures: usize| elements(shape)?.checked_div(pictures as u128);
            is == was || each(is, pictures) == each(was, before[0])
        });
        if !fits {
            return Err(NotBatched::node(node));
        }
    }
    Ok(())
}

fn elements(shape: &[usize]) -> Option<u128> {
    shape.iter().try_fold(1u128, |count, &size| count.checked_mul(size as u128))
}
