// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is known of a graph's values once the input's shape is: their shapes, and the whole numbers
//! that exporters compute from shapes.

use std::collections::HashMap;

use super::graph::Graph;
use super::messages::NodeProto;

/// Dimensions beyond this are a mistake, and make arithmetic overflow.
const MAX_DIMENSION: usize = 1 << 24;

/// Detectors have no tensors of more dimensions.
const MAX_RANK: usize = 8;

/// Numbers computed from shapes are few; longer tensors are data.
const MAX_INTEGERS: usize = 64;

/// A scalar or a list of whole numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Integers {
    pub scalar: bool,
    pub values: Vec<i64>,
}

impl Integers {
    fn list(values: Vec<i64>) -> Option<Self> {
        (values.len() <= MAX_INTEGERS).then_some(Self { scalar: false, values })
    }
}

/// The known shapes and numbers, by the names of the values.
pub struct Shapes<'a> {
    graph: &'a Graph<'a>,
    shapes: HashMap<&'a str, Vec<usize>>,
    integers: HashMap<&'a str, Integers>,
}

impl<'a> Shapes<'a> {
    /// Follows the graph from the input on. Values that depend on anything unknown, and those of
    /// nodes that come before their inputs, stay unknown.
    pub fn new(graph: &'a Graph<'a>, input: &'a str, shape: Vec<usize>) -> Self {
        let mut shapes =
            Self { graph, shapes: HashMap::from([(input, shape)]), integers: HashMap::new() };
        for node in graph.nodes {
            let Some(output) = node.output.first() else { continue };
            if let Some(integers) = shapes.infer_integers(node) {
                shapes.integers.insert(output, integers);
            } else if let Some(shape) = shapes.infer_shape(node) {
                shapes.shapes.insert(output, shape);
            }
        }
        shapes
    }

    /// The shape of a value that is computed from the input.
    pub fn shape(&self, value: &str) -> Option<&[usize]> {
        self.shapes.get(value).map(Vec::as_slice)
    }

    /// The numbers in a value, if they are known: from shapes, or a constant.
    pub fn integers(&self, value: &'a str) -> Option<Integers> {
        if let Some(integers) = self.integers.get(value) {
            return Some(integers.clone());
        }
        let tensor = self.graph.constant(value)?;
        if tensor.dims.len() > 1 || tensor.len()? > MAX_INTEGERS {
            return None;
        }
        Some(Integers { scalar: tensor.dims.is_empty(), values: tensor.integers()? })
    }

    fn input_shape(&self, node: &'a NodeProto, index: usize) -> Option<&[usize]> {
        self.shape(node.input.get(index)?)
    }

    fn input_integers(&self, node: &'a NodeProto, index: usize) -> Option<Integers> {
        self.integers(node.input.get(index)?)
    }

    fn infer_integers(&self, node: &'a NodeProto) -> Option<Integers> {
        match node.op() {
            "Constant" => self.integers(node.output.first()?),
            "Shape" => {
                let shape = self.input_shape(node, 0)?;
                let range = clamped_range(
                    node.int("start").unwrap_or(0),
                    node.int("end").unwrap_or(i64::MAX),
                    shape.len(),
                );
                let sizes = shape.get(range)?.iter().map(|&size| i64::try_from(size).ok());
                Integers::list(sizes.collect::<Option<_>>()?)
            }
            "Gather" if node.int("axis").unwrap_or(0) == 0 => {
                let data = self.input_integers(node, 0).filter(|data| !data.scalar)?;
                let indices = self.input_integers(node, 1)?;
                let values = indices
                    .values
                    .iter()
                    .map(|&index| data.values.get(absolute(index, data.values.len())?).copied());
                Some(Integers { scalar: indices.scalar, values: values.collect::<Option<_>>()? })
            }
            "Unsqueeze" => {
                let data = self.input_integers(node, 0).filter(|data| data.scalar)?;
                Integers::list(data.values)
            }
            "Squeeze" => {
                let data = self.input_integers(node, 0).filter(|data| data.values.len() == 1)?;
                Some(Integers { scalar: true, values: data.values })
            }
            "Concat" => {
                let mut values = Vec::new();
                for index in 0..node.input.len() {
                    values.extend(self.input_integers(node, index)?.values);
                    if values.len() > MAX_INTEGERS {
                        return None;
                    }
                }
                Integers::list(values)
            }
            "Slice" => {
                let data = self.input_integers(node, 0).filter(|data| !data.scalar)?;
                let slices = self.slices(node, 1)?;
                let [Some(slice)] = slices.as_slice() else { return None };
                let range = clamped_range(slice.0, slice.1, data.values.len());
                Integers::list(data.values.get(range)?.to_vec())
            }
            // To 64 bits, as which the numbers are written. Fractions are not followed.
            "Cast" if node.int("to") == Some(7) => self.input_integers(node, 0),
            "Identity" => self.input_integers(node, 0),
            "Add" => self.calculate(node, i64::checked_add),
            "Sub" => self.calculate(node, i64::checked_sub),
            "Mul" => self.calculate(node, i64::checked_mul),
            "Div" => self.calculate(node, i64::checked_div),
            _ => None,
        }
    }

    fn calculate(
        &self,
        node: &'a NodeProto,
        operator: fn(i64, i64) -> Option<i64>,
    ) -> Option<Integers> {
        let (left, right) = (self.input_integers(node, 0)?, self.input_integers(node, 1)?);
        let len = left.values.len().max(right.values.len());
        let at = |side: &Integers, index: usize| match side.values.as_slice() {
            [value] => Some(*value),
            values => values.get(index).copied(),
        };
        let values = (0..len).map(|index| operator(at(&left, index)?, at(&right, index)?));
        Some(Integers {
            scalar: left.scalar && right.scalar,
            values: values.collect::<Option<_>>()?,
        })
    }

    /// What a `Slice` cuts: start and end for each of the first `rank` dimensions, or none for
    /// dimensions that it leaves alone. Steps are not followed.
    fn slices(&self, node: &'a NodeProto, rank: usize) -> Option<Vec<Option<(i64, i64)>>> {
        let list = |index: usize, name: &str| match node.input.get(index) {
            Some(value) if !value.is_empty() => Some(self.integers(value)?.values),
            _ => Some(node.ints(name).to_vec()),
        };
        let (starts, ends, axes) = (list(1, "starts")?, list(2, "ends")?, list(3, "axes")?);
        let steps = list(4, "steps")?;
        if starts.len() != ends.len() || steps.iter().any(|&step| step != 1) {
            return None;
        }
        let mut slices = vec![None; rank];
        for (index, slice) in starts.into_iter().zip(ends).enumerate() {
            let axis = match axes.get(index) {
                Some(&axis) => absolute(axis, rank)?,
                None if axes.is_empty() => index,
                None => return None,
            };
            *slices.get_mut(axis)? = Some(slice);
        }
        Some(slices)
    }

    fn infer_shape(&self, node: &'a NodeProto) -> Option<Vec<usize>> {
        let shape = match node.op() {
            "Conv" => self.convolution(node)?,
            "MaxPool" | "AveragePool" | "LpPool" => {
                self.windows(node, self.input_shape(node, 0)?, node.ints("kernel_shape"))?
            }
            "BatchNormalization"
            | "Cast"
            | "Clip"
            | "Dropout"
            | "Elu"
            | "Gelu"
            | "HardSigmoid"
            | "HardSwish"
            | "Identity"
            | "InstanceNormalization"
            | "LeakyRelu"
            | "Mish"
            | "PRelu"
            | "Relu"
            | "Selu"
            | "Sigmoid"
            | "Softmax"
            | "Softplus"
            | "Tanh" => self.input_shape(node, 0)?.to_vec(),
            "Add" | "Div" | "Mul" | "Sub" => self.broadcast(node)?,
            "Concat" => self.concat(node)?,
            "Resize" | "Upsample" => self.resize(node)?,
            "Slice" => {
                let shape = self.input_shape(node, 0)?;
                let slices = self.slices(node, shape.len())?;
                let cut = |(&size, slice): (&usize, &Option<(i64, i64)>)| match *slice {
                    Some((start, end)) => clamped_range(start, end, size).len(),
                    None => size,
                };
                shape.iter().zip(&slices).map(cut).collect()
            }
            "Transpose" => {
                let shape = self.input_shape(node, 0)?;
                let pick = |&axis: &i64| shape.get(absolute(axis, shape.len())?).copied();
                node.ints("perm").iter().map(pick).collect::<Option<_>>()?
            }
            "Reshape" => self.reshape(node)?,
            _ => return None,
        };
        let sensible = shape.len() <= MAX_RANK && shape.iter().all(|&size| size <= MAX_DIMENSION);
        sensible.then_some(shape)
    }

    fn convolution(&self, node: &'a NodeProto) -> Option<Vec<usize>> {
        let weights = &self.graph.constant(node.input.get(1)?)?.dims;
        let mut shape = self.windows(node, self.input_shape(node, 0)?, weights.get(2..)?)?;
        *shape.get_mut(1)? = usize::try_from(*weights.first()?).ok()?;
        Some(shape)
    }

    /// The shape after sliding a window of the size `kernel` over all dimensions from the third on.
    fn windows(&self, node: &NodeProto, shape: &[usize], kernel: &[i64]) -> Option<Vec<usize>> {
        let spatial = shape.get(2..)?;
        if kernel.len() != spatial.len() {
            return None;
        }
        let (strides, dilations) = (node.ints("strides"), node.ints("dilations"));
        let pads = node.ints("pads");
        let ceil = node.int("ceil_mode").unwrap_or(0) != 0;
        let at = |list: &[i64], index: usize, default: i64| {
            usize::try_from(list.get(index).copied().unwrap_or(default)).ok()
        };
        let mut after = shape[..2].to_vec();
        for (index, &size) in spatial.iter().enumerate() {
            let step = at(strides, index, 1).filter(|&step| step > 0)?;
            let pads = at(pads, index, 0)?.checked_add(at(pads, index + spatial.len(), 0)?)?;
            let window = at(kernel, index, 1)?.checked_sub(1)?;
            let window = window.checked_mul(at(dilations, index, 1)?)?.checked_add(1)?;
            let count = match node.string("auto_pad").unwrap_or("NOTSET") {
                "SAME_UPPER" | "SAME_LOWER" => size.div_ceil(step),
                padding => {
                    let pads = if padding == "VALID" { 0 } else { pads };
                    let room = size.checked_add(pads)?.checked_sub(window)?;
                    let steps = if ceil { room.div_ceil(step) } else { room / step };
                    steps.checked_add(1)?
                }
            };
            after.push(count);
        }
        Some(after)
    }

    fn broadcast(&self, node: &'a NodeProto) -> Option<Vec<usize>> {
        let shape = |index: usize| match self.input_shape(node, index) {
            Some(shape) => Some(shape.to_vec()),
            None => {
                let dims = &self.graph.constant(node.input.get(index)?)?.dims;
                dims.iter().map(|&size| usize::try_from(size).ok()).collect()
            }
        };
        let (left, right): (Vec<_>, Vec<_>) = (shape(0)?, shape(1)?);
        let rank = left.len().max(right.len());
        // Missing dimensions are leading ones of size 1.
        let at = |shape: &[usize], index: usize| {
            (index + shape.len()).checked_sub(rank).map_or(1, |index| shape[index])
        };
        let sizes = (0..rank).map(|index| match (at(&left, index), at(&right, index)) {
            (left, right) if left == right || right == 1 => Some(left),
            (1, right) => Some(right),
            _ => None,
        });
        sizes.collect()
    }

    fn concat(&self, node: &'a NodeProto) -> Option<Vec<usize>> {
        let mut shape = self.input_shape(node, 0)?.to_vec();
        let axis = absolute(node.int("axis")?, shape.len())?;
        for index in 1..node.input.len() {
            let part = self.input_shape(node, index)?;
            let agrees = |at: usize| at == axis || part[at] == shape[at];
            if part.len() != shape.len() || !(0..part.len()).all(agrees) {
                return None;
            }
            shape[axis] = shape[axis].checked_add(part[axis])?;
        }
        Some(shape)
    }

    fn resize(&self, node: &'a NodeProto) -> Option<Vec<usize>> {
        let shape = self.input_shape(node, 0)?;
        if let Some(sizes) = self.input_integers(node, 3) {
            let sizes: Vec<_> = sizes
                .values
                .iter()
                .map(|&size| usize::try_from(size).ok())
                .collect::<Option<_>>()?;
            return (sizes.len() == shape.len()).then_some(sizes);
        }
        // Before opset 11 there was no region of interest in front of the scales.
        let scales = if node.input.len() > 2 { node.input.get(2) } else { node.input.get(1) };
        let scales = self.graph.constant(scales?)?.floats()?;
        if scales.len() != shape.len() {
            return None;
        }
        let size = |(&size, &scale): (&usize, &f32)| {
            let scaled = (size as f64 * f64::from(scale)).floor();
            (0.0..=MAX_DIMENSION as f64).contains(&scaled).then_some(scaled as usize)
        };
        shape.iter().zip(&scales).map(size).collect()
    }

    fn reshape(&self, node: &'a NodeProto) -> Option<Vec<usize>> {
        let before = self.input_shape(node, 0)?;
        let wanted = self.input_integers(node, 1).filter(|wanted| !wanted.scalar)?.values;
        let size = |(index, &size): (usize, &i64)| match size {
            0 => before.get(index).copied(),
            // Filled in below.
            -1 => Some(1),
            size => usize::try_from(size).ok(),
        };
        let mut after: Vec<usize> = wanted.iter().enumerate().map(size).collect::<Option<_>>()?;
        let count =
            |shape: &[usize]| shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
        let (elements, told) = (count(before)?, count(&after)?);
        match wanted.iter().position(|&size| size == -1) {
            Some(open) if told > 0 && elements % told == 0 => after[open] = elements / told,
            None if told == elements => {}
            _ => return None,
        }
        Some(after)
    }
}

/// An index that may count from the end, as one that does not; none outside `len`.
fn absolute(index: i64, len: usize) -> Option<usize> {
    let signed = i64::try_from(len).ok()?;
    let index = if index < 0 { index.checked_add(signed)? } else { index };
    usize::try_from(index).ok().filter(|&index| index < len)
}

/// The part of `0..len` between two bounds that may count from the end or lie outside.
fn clamped_range(start: i64, end: i64, len: usize) -> std::ops::Range<usize> {
    let bound = |bound: i64| {
        let signed = i64::try_from(len).unwrap_or(i64::MAX);
        let bound = if bound < 0 { bound.saturating_add(signed) } else { bound };
        usize::try_from(bound.clamp(0, signed)).unwrap_or(0)
    };
    let start = bound(start);
    start..bound(end).max(start)
}
