// SPDX-License-Identifier: MIT OR Apache-2.0

//! Shape inference: the shapes of a graph's values for one input shape, and the integers that
//! exporters compute from shapes.

use std::collections::HashMap;

use super::graph::Graph;
use super::messages::{DataType, NodeProto};
use super::operators::Operator;
use super::window::Window;

/// Larger dimensions are a mistake, and would make arithmetic overflow.
pub const MAX_DIMENSION: usize = 1 << 24;

/// Detectors have no tensors of more dimensions.
pub const MAX_RANK: usize = 8;

/// Integers computed from shapes are few; longer tensors are data.
const MAX_INTEGERS: usize = 64;

/// A scalar or a list of integers.
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

/// The known shapes and integers, by the names of the values.
pub struct Shapes<'a> {
    graph: &'a Graph<'a>,
    shapes: HashMap<&'a str, Vec<usize>>,
    integers: HashMap<&'a str, Integers>,
}

impl<'a> Shapes<'a> {
    /// Infers what follows from `input` being of this shape. Values that depend on anything unknown,
    /// and those of nodes that come before their inputs, stay unknown.
    pub fn new(graph: &'a Graph<'a>, input: &'a str, shape: Vec<usize>) -> Self {
        let mut shapes =
            Self { graph, shapes: HashMap::from([(input, shape)]), integers: HashMap::new() };
        for node in graph.nodes {
            let (Some(operator), Some(output)) = (Operator::of(node), node.output.first()) else {
                continue;
            };
            if let Some(integers) = shapes.infer_integers(operator, node) {
                shapes.integers.insert(output, integers);
            } else if let Operator::Split = operator {
                let parts = shapes.split(node).unwrap_or_default();
                shapes.shapes.extend(node.output.iter().map(String::as_str).zip(parts));
            } else if let Some(shape) = shapes.infer_shape(operator, node) {
                shapes.shapes.insert(output, shape);
            }
        }
        shapes
    }

    /// The shape of a value that is computed from the input.
    pub fn shape(&self, value: &str) -> Option<&[usize]> {
        self.shapes.get(value).map(Vec::as_slice)
    }

    /// The integers in a value, if they are known: computed from shapes, or constant.
    pub fn integers(&self, value: &'a str) -> Option<Integers> {
        if let Some(integers) = self.integers.get(value) {
            return Some(integers.clone());
        }
        let tensor = self.graph.constant(value)?;
        if tensor.dims.len() > 1 || tensor.element_count()? > MAX_INTEGERS {
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

    /// Optional operands that older versions of an operator have as an attribute; empty if there are
    /// none.
    fn list(&self, node: &'a NodeProto, input: usize, attribute: &str) -> Option<Vec<i64>> {
        match node.input.get(input) {
            Some(value) if !value.is_empty() => Some(self.integers(value)?.values),
            _ => Some(node.ints(attribute).to_vec()),
        }
    }

    fn infer_integers(&self, operator: Operator, node: &'a NodeProto) -> Option<Integers> {
        match operator {
            Operator::Shape => {
                let shape = self.input_shape(node, 0)?;
                let range = clamped_range(
                    node.int("start").unwrap_or(0),
                    node.int("end").unwrap_or(i64::MAX),
                    shape.len(),
                );
                let sizes = shape.get(range)?.iter().map(|&size| i64::try_from(size).ok());
                Integers::list(sizes.collect::<Option<_>>()?)
            }
            Operator::Gather if node.int("axis").unwrap_or(0) == 0 => {
                let data = self.input_integers(node, 0).filter(|data| !data.scalar)?;
                let indices = self.input_integers(node, 1)?;
                let values = indices
                    .values
                    .iter()
                    .map(|&index| data.values.get(absolute(index, data.values.len())?).copied());
                Some(Integers { scalar: indices.scalar, values: values.collect::<Option<_>>()? })
            }
            Operator::Unsqueeze => {
                let data = self.input_integers(node, 0).filter(|data| data.scalar)?;
                Integers::list(data.values)
            }
            Operator::Squeeze => {
                let data = self.input_integers(node, 0).filter(|data| data.values.len() == 1)?;
                Some(Integers { scalar: true, values: data.values })
            }
            Operator::Concat => {
                let mut values = Vec::new();
                for index in 0..node.input.len() {
                    values.extend(self.input_integers(node, index)?.values);
                    if values.len() > MAX_INTEGERS {
                        return None;
                    }
                }
                Integers::list(values)
            }
            Operator::Slice => {
                let data = self.input_integers(node, 0).filter(|data| !data.scalar)?;
                let slices = self.slices(node, 1)?;
                let [Some(slice)] = slices.as_slice() else { return None };
                let range = clamped_range(slice.0, slice.1, data.values.len());
                Integers::list(data.values.get(range)?.to_vec())
            }
            // Fractions are not followed.
            Operator::Cast if node.int("to") == Some(DataType::Int64 as i64) => {
                self.input_integers(node, 0)
            }
            Operator::Identity => self.input_integers(node, 0),
            Operator::Reshape => {
                let data = self.input_integers(node, 0)?;
                let len = i64::try_from(data.values.len()).ok()?;
                match *self.input_integers(node, 1)?.values.as_slice() {
                    [] if len == 1 => Some(Integers { scalar: true, ..data }),
                    [size] if size == -1 || size == len => Integers::list(data.values),
                    _ => None,
                }
            }
            Operator::Arithmetic(operation) => self.calculate(node, operation),
            _ => None,
        }
    }

    fn calculate(
        &self,
        node: &'a NodeProto,
        operation: fn(i64, i64) -> Option<i64>,
    ) -> Option<Integers> {
        let (left, right) = (self.input_integers(node, 0)?, self.input_integers(node, 1)?);
        let len = left.values.len().max(right.values.len());
        let at = |side: &Integers, index: usize| match side.values.as_slice() {
            [value] => Some(*value),
            values => values.get(index).copied(),
        };
        let values = (0..len).map(|index| operation(at(&left, index)?, at(&right, index)?));
        Some(Integers {
            scalar: left.scalar && right.scalar,
            values: values.collect::<Option<_>>()?,
        })
    }

    /// What a `Slice` cuts: start and end for each of the first `rank` dimensions, or none for
    /// dimensions that it leaves alone. Steps are not followed.
    fn slices(&self, node: &'a NodeProto, rank: usize) -> Option<Vec<Option<(i64, i64)>>> {
        let (starts, ends) = (self.list(node, 1, "starts")?, self.list(node, 2, "ends")?);
        let (axes, steps) = (self.list(node, 3, "axes")?, self.list(node, 4, "steps")?);
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

    fn infer_shape(&self, operator: Operator, node: &'a NodeProto) -> Option<Vec<usize>> {
        let shape = match operator {
            Operator::Convolution => self.convolution(node)?,
            Operator::Pooling => {
                sliding(self.input_shape(node, 0)?, &Window::new(node, node.ints("kernel_shape"))?)?
            }
            Operator::Identity | Operator::Cast | Operator::SameShape => {
                self.input_shape(node, 0)?.to_vec()
            }
            Operator::Arithmetic(_) => stretched(&self.operand(node, 0)?, &self.operand(node, 1)?)?,
            Operator::Concat => self.concat(node)?,
            Operator::Expand => stretched(self.input_shape(node, 0)?, &self.sizes(node, 1)?)?,
            Operator::Fill => self.sizes(node, 0)?,
            Operator::GlobalPooling => {
                let (outer, spatial) = self.input_shape(node, 0)?.split_at_checked(2)?;
                [outer, &vec![1; spatial.len()]].concat()
            }
            Operator::Range => vec![self.range(node)?],
            Operator::Reduction => self.reduction(node)?,
            Operator::MatrixProduct => {
                let (left, right) = (self.operand(node, 0)?, self.operand(node, 1)?);
                let ([left @ .., inputs], [right @ .., also, outputs]) = (&left[..], &right[..])
                else {
                    return None;
                };
                let (rows, left) = left.split_last().map_or((None, left), |(r, l)| (Some(*r), l));
                let mut shape = stretched(left, right).filter(|_| inputs == also)?;
                shape.extend(rows.into_iter().chain([*outputs]));
                shape
            }
            Operator::Pad => self.pad(node)?,
            Operator::Resize => self.resize(node)?,
            Operator::Slice => {
                let shape = self.input_shape(node, 0)?;
                let slices = self.slices(node, shape.len())?;
                let cut = |(&size, slice): (&usize, &Option<(i64, i64)>)| match *slice {
                    Some((start, end)) => clamped_range(start, end, size).len(),
                    None => size,
                };
                shape.iter().zip(&slices).map(cut).collect()
            }
            Operator::Gather => {
                let mut shape = self.input_shape(node, 0)?.to_vec();
                let axis = absolute(node.int("axis").unwrap_or(0), shape.len())?;
                let indices = self.input_integers(node, 1).filter(|indices| !indices.scalar)?;
                *shape.get_mut(axis)? = indices.values.len();
                shape
            }
            Operator::Transpose => {
                let shape = self.input_shape(node, 0)?;
                let pick = |&axis: &i64| shape.get(absolute(axis, shape.len())?).copied();
                node.ints("perm").iter().map(pick).collect::<Option<_>>()?
            }
            Operator::Reshape => self.reshape(node)?,
            Operator::TransposedConvolution => self.transposed_convolution(node)?,
            Operator::Tile => {
                let (shape, repeats) = (self.input_shape(node, 0)?, self.input_integers(node, 1)?);
                let repeated = |(size, &repeats): (&usize, &i64)| {
                    size.checked_mul(usize::try_from(repeats).ok()?)
                };
                let fits = shape.len() == repeats.values.len();
                let sizes = shape.iter().zip(&repeats.values).map(repeated);
                sizes.collect::<Option<_>>().filter(|_| fits)?
            }
            Operator::Squeeze => {
                let shape = self.input_shape(node, 0)?;
                let left_out = self.axes(node, shape.len())?;
                let stays = |&(axis, &size): &(usize, &usize)| match left_out.as_slice() {
                    [] => size != 1,
                    axes => !axes.contains(&axis),
                };
                shape.iter().enumerate().filter(stays).map(|(_, &size)| size).collect()
            }
            Operator::Unsqueeze => {
                let mut shape = self.input_shape(node, 0)?.to_vec();
                let count = self.list(node, 1, "axes")?.len();
                let mut axes = self.axes(node, shape.len() + count)?;
                axes.sort_unstable();
                for axis in axes {
                    // An axis that is there twice leaves one beyond the end.
                    if axis > shape.len() {
                        return None;
                    }
                    shape.insert(axis, 1);
                }
                (count > 0).then_some(shape)?
            }
            // Constants are asked for where they are read, shapes are integers, and a split has
            // several outputs.
            Operator::Constant | Operator::Shape | Operator::Split => return None,
        };
        let sensible = shape.len() <= MAX_RANK && shape.iter().all(|&size| size <= MAX_DIMENSION);
        sensible.then_some(shape)
    }

    /// The sizes in an input.
    fn sizes(&self, node: &'a NodeProto, input: usize) -> Option<Vec<usize>> {
        let sizes = self.input_integers(node, input)?.values;
        sizes.into_iter().map(|size| usize::try_from(size).ok()).collect()
    }

    /// The second input or the attribute `axes`, as axes of `rank` dimensions.
    fn axes(&self, node: &'a NodeProto, rank: usize) -> Option<Vec<usize>> {
        self.list(node, 1, "axes")?.into_iter().map(|axis| absolute(axis, rank)).collect()
    }

    /// How many numbers there are from a start to a limit.
    fn range(&self, node: &'a NodeProto) -> Option<usize> {
        let number = |index: usize| self.input_integers(node, index)?.values.first().copied();
        let (start, limit, step) = (number(0)?, number(1)?, number(2)?);
        let all = limit.checked_sub(start)?;
        let whole = all.checked_div(step)?;
        let rest = i64::from(all % step != 0);
        usize::try_from(whole.checked_add(rest)?.max(0)).ok()
    }

    /// The shapes of the parts, in the order of the outputs.
    fn split(&self, node: &'a NodeProto) -> Option<Vec<Vec<usize>>> {
        let shape = self.input_shape(node, 0)?;
        let axis = absolute(node.int("axis").unwrap_or(0), shape.len())?;
        let size = shape[axis];
        let parts = self.list(node, 1, "split")?;
        let sizes: Vec<usize> = if parts.is_empty() {
            // All of one size, and the last what is left.
            let part = size.div_ceil(node.output.len());
            (0..node.output.len())
                .map(|index| part.min(size.saturating_sub(index * part)))
                .collect()
        } else {
            parts.into_iter().map(|part| usize::try_from(part).ok()).collect::<Option<_>>()?
        };
        let all = sizes.iter().try_fold(0usize, |all, &part| all.checked_add(part));
        let part = |size| {
            let mut shape = shape.to_vec();
            shape[axis] = size;
            shape
        };
        (all == Some(size)).then(|| sizes.into_iter().map(part).collect())
    }

    fn convolution(&self, node: &'a NodeProto) -> Option<Vec<usize>> {
        let weights = &self.graph.constant(node.input.get(1)?)?.dims;
        let window = Window::new(node, weights.get(2..)?)?;
        let mut shape = sliding(self.input_shape(node, 0)?, &window)?;
        *shape.get_mut(1)? = usize::try_from(*weights.first()?).ok()?;
        Some(shape)
    }

    fn transposed_convolution(&self, node: &'a NodeProto) -> Option<Vec<usize>> {
        let weights = &self.graph.constant(node.input.get(1)?)?.dims;
        let window = Window::new(node, weights.get(2..)?)?;
        let (outer, spatial) = self.input_shape(node, 0)?.split_at_checked(2)?;
        let groups = usize::try_from(node.int("group").unwrap_or(1)).ok()?;
        let channels = usize::try_from(*weights.get(1)?).ok()?.checked_mul(groups)?;
        let spatial = window.reversed(spatial, node.ints("output_padding"))?;
        Some([&[*outer.first()?, channels], spatial.as_slice()].concat())
    }

    fn pad(&self, node: &'a NodeProto) -> Option<Vec<usize>> {
        let shape = self.input_shape(node, 0)?;
        // All beginnings, then all ends; negative ones crop.
        let pads = self.list(node, 1, "pads")?;
        if pads.len() != 2 * shape.len() || node.input.get(3).is_some_and(|axes| !axes.is_empty()) {
            return None;
        }
        let (begins, ends) = pads.split_at(shape.len());
        let size = |(&size, (&begin, &end)): (&usize, (&i64, &i64))| {
            let size = i64::try_from(size).ok()?.checked_add(begin)?.checked_add(end)?;
            usize::try_from(size).ok()
        };
        shape.iter().zip(begins.iter().zip(ends)).map(size).collect()
    }

    /// The shape of an input that may be constant.
    fn operand(&self, node: &'a NodeProto, index: usize) -> Option<Vec<usize>> {
        match self.input_shape(node, index) {
            Some(shape) => Some(shape.to_vec()),
            None => {
                let dims = &self.graph.constant(node.input.get(index)?)?.dims;
                dims.iter().map(|&size| usize::try_from(size).ok()).collect()
            }
        }
    }

    fn reduction(&self, node: &'a NodeProto) -> Option<Vec<usize>> {
        let shape = self.input_shape(node, 0)?;
        let axes = self.list(node, 1, "axes")?;
        let all = axes.is_empty() && node.int("noop_with_empty_axes").unwrap_or(0) == 0;
        let mut reduced = vec![all; shape.len()];
        for axis in axes {
            reduced[absolute(axis, shape.len())?] = true;
        }
        let keeps = node.int("keepdims").unwrap_or(1) != 0;
        let size = |(&size, reduced): (&usize, bool)| match reduced {
            true => keeps.then_some(1),
            false => Some(size),
        };
        Some(shape.iter().zip(reduced).filter_map(size).collect())
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
            let sizes: Vec<usize> = sizes
                .values
                .iter()
                .map(|&size| usize::try_from(size).ok())
                .collect::<Option<_>>()?;
            // Those of another number of pictures would resize the batch.
            let fits = sizes.len() == shape.len() && sizes.first() == shape.first();
            return fits.then_some(sizes);
        }
        // Before opset 11 there was no region of interest in front of the scales.
        let scales = if node.input.len() > 2 { node.input.get(2) } else { node.input.get(1) };
        let scales = self.graph.constant(scales?)?.floats()?;
        if scales.len() != shape.len() {
            return None;
        }
        let size = |(&size, &scale): (&usize, &f32)| {
            // Rounded as ONNX Runtime does: ten times 0.7 are seven.
            let scaled = (size as f32 * scale).floor();
            (0.0..=MAX_DIMENSION as f32).contains(&scaled).then_some(scaled as usize)
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
        let (elements, known) = (count(before)?, count(&after)?);
        match wanted.iter().position(|&size| size == -1) {
            Some(open) if known > 0 && elements.is_multiple_of(known) => {
                after[open] = elements / known
            }
            None if known == elements => {}
            _ => return None,
        }
        Some(after)
    }
}

/// The shape that two stretch to: along dimensions in which one has the size 1.
fn stretched(left: &[usize], right: &[usize]) -> Option<Vec<usize>> {
    let rank = left.len().max(right.len());
    // Missing dimensions are leading ones of size 1.
    let at = |shape: &[usize], index: usize| {
        (index + shape.len()).checked_sub(rank).map_or(1, |index| shape[index])
    };
    let sizes = (0..rank).map(|index| match (at(left, index), at(right, index)) {
        (left, right) if left == right || right == 1 => Some(left),
        (1, right) => Some(right),
        _ => None,
    });
    sizes.collect()
}

/// The shape after a window slid over all dimensions from the third on.
fn sliding(shape: &[usize], window: &Window) -> Option<Vec<usize>> {
    let (outer, spatial) = shape.split_at_checked(2)?;
    Some([outer, &window.output(spatial)?].concat())
}

/// A negative index counts from the end; none outside `len`.
pub fn absolute(index: i64, len: usize) -> Option<usize> {
    let signed = i64::try_from(len).ok()?;
    let index = if index < 0 { index.checked_add(signed)? } else { index };
    usize::try_from(index).ok().filter(|&index| index < len)
}

/// The part of `0..len` between two bounds; negative ones count from the end.
fn clamped_range(start: i64, end: i64, len: usize) -> std::ops::Range<usize> {
    let bound = |bound: i64| {
        let signed = i64::try_from(len).unwrap_or(i64::MAX);
        let bound = if bound < 0 { bound.saturating_add(signed) } else { bound };
        usize::try_from(bound.clamp(0, signed)).unwrap_or(0)
    };
    let start = bound(start);
    start..bound(end).max(start)
}
