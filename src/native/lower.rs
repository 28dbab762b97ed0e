// SPDX-License-Identifier: MIT OR Apache-2.0

//! From an ONNX file to a graph of the operations that there are kernels for.

use std::collections::HashMap;

use prost::Message;

use super::{graph::*, kernels::dense::MOST_ROWS, program::Unsupported};
use crate::onnx::{
    accessors::printable,
    convolution::Convolution as Weights,
    graph::Graph as Onnx,
    messages::{ModelProto, NodeProto},
    shapes::Shapes,
};

/// The most weights of a convolution whose groups are filled up with zeros.
const MOST_WEIGHTS: usize = 1 << 24;

/// Reads a file as [`Model::specialise`](crate::model::Model::specialise) writes it for one picture.
pub fn lower(file: &[u8]) -> Result<Graph, Unsupported> {
    let other = |what: &str| Unsupported::Network(what.to_owned());
    let model = ModelProto::decode(file).map_err(|_| other("it is damaged"))?;
    let proto = model.graph.as_ref().ok_or_else(|| other("it has no graph"))?;
    let onnx = Onnx::new(proto);
    let inputs = proto.inputs();
    let [input] = inputs.as_slice() else { return Err(other("it has several inputs")) };
    let sizes = input.tensor().map(|(_, dimensions)| dimensions);
    let sizes = sizes.map(|sizes| sizes.iter().map(|size| size.size()).collect::<Option<Vec<_>>>());
    let Some(Some(shape)) = sizes else { return Err(other("its input has no fixed size")) };
    let shape: Vec<_> = shape.iter().map(|&size| size as usize).collect();
    let mut lowering = Lowering {
        shapes: Shapes::new(&onnx, input.name(), shape.clone()),
        onnx: &onnx,
        values: HashMap::new(),
        graph: Graph { shapes: Vec::new(), nodes: Vec::new(), input: 0, outputs: Vec::new() },
    };
    let picture = picture(&shape).ok_or_else(|| other("its input is no picture"))?;
    lowering.add(input.name(), picture);
    for node in onnx.nodes {
        let operation = printable(node.op_type());
        lowering.node(node).ok_or(Unsupported::Operator(operation))?;
    }
    for output in &proto.output {
        let value = lowering.values.get(output.name()).copied();
        let value = value.ok_or_else(|| other("an output is not computed"))?;
        lowering.graph.outputs.push(value);
    }
    Ok(lowering.graph)
}

/// A shape `[1, channels, rows, columns]`.
fn picture(shape: &[usize]) -> Option<Shape> {
    match *shape {
        [1, channels, rows, columns] if channels * rows * columns > 0 => {
            Some(Shape { channels, rows, columns })
        }
        _ => None,
    }
}

/// A graph being made.
struct Lowering<'a> {
    onnx: &'a Onnx<'a>,
    shapes: Shapes<'a>,
    /// By their names.
    values: HashMap<&'a str, Value>,
    graph: Graph,
}

impl<'a> Lowering<'a> {
    fn add(&mut self, name: &'a str, shape: Shape) -> Value {
        let value = self.graph.shapes.len();
        self.graph.shapes.push(shape);
        self.values.insert(name, value);
        value
    }

    /// The input `index` of a node, where the network computes it.
    fn value(&self, node: &'a NodeProto, index: usize) -> Option<Value> {
        self.values.get(node.input.get(index)?.as_str()).copied()
    }

    /// The input `index` of a node, where it is one number or one for each of `channels`.
    fn per_channel(&self, node: &'a NodeProto, index: usize, channels: usize) -> Option<Vec<f32>> {
        let tensor = self.onnx.constant(node.input.get(index)?)?;
        let values = tensor.floats()?;
        let dims = tensor.dims.as_slice();
        match *values.as_slice() {
            [value] if dims.iter().all(|&size| size == 1) => Some(vec![value; channels]),
            // [channels, 1, 1] or [1, channels, 1, 1].
            _ if values.len() == channels
                && matches!(*dims, [_, 1, 1] | [1, _, 1, 1])
                && dims.contains(&(channels as i64)) =>
            {
                Some(values)
            }
            _ => None,
        }
    }

    /// Adds a node; none if there is no kernel for it.
    fn node(&mut self, node: &'a NodeProto) -> Option<()> {
        if node.op() == "Constant" {
            return Some(());
        }
        let [output] = node.output.as_slice() else { return None };
        let first = self.value(node, 0);
        if matches!(node.op(), "Identity" | "Dropout") {
            // A constant is found by its name where it is read.
            if self.onnx.constant(output).is_none() {
                self.values.insert(output, first?);
            }
            return Some(());
        }
        let mut inputs: Vec<_> = first.into_iter().collect();
        let shape = first.map(|value| self.graph.shapes[value]);
        let channels = shape.map_or(0, |shape| shape.channels);
        let number = |name: &str, default: f32| node.float(name).unwrap_or(default);
        let activation =
            |slopes: Vec<f32>| Some(Operation::Activation(Activation { slopes, clip: None }));
        let operation = match node.op() {
            "Conv" => self.convolution(node, shape?)?,
            "BatchNormalization" => self.normalisation(node, channels)?,
            "Relu" => activation(vec![0.0; channels])?,
            "LeakyRelu" => prelu(vec![number("alpha", 0.01); channels]),
            "PRelu" => prelu(self.per_channel(node, 1, channels)?),
            "Clip" => self.clip(node)?,
            "Sigmoid" => Operation::Function(Function::Sigmoid),
            "Tanh" => Operation::Function(Function::Tanh),
            "Exp" => Operation::Function(Function::Exp),
            "HardSigmoid" => Operation::Function(Function::HardSigmoid {
                alpha: number("alpha", 0.2),
                beta: number("beta", 0.5),
            }),
            "HardSwish" => Operation::Function(Function::HardSwish),
            "Swish" => Operation::Function(Function::Swish { alpha: number("alpha", 1.0) }),
            "MaxPool" | "AveragePool" => self.pooling(node, shape?)?,
            "Concat" => {
                if !matches!(node.int("axis"), Some(1 | -3)) {
                    return None;
                }
                let all = (0..node.input.len()).map(|index| self.value(node, index));
                inputs = all.collect::<Option<_>>()?;
                Operation::Concat
            }
            "Resize" | "Upsample" => self.resize(node, shape?, output)?,
            "Slice" => self.slice(node, shape?, output)?,
            "Add" | "Sub" | "Mul" | "Div" => self.arithmetic(node, &mut inputs)?,
            _ => return None,
        };
        let shape = picture(self.shapes.shape(output)?)?;
        let shapes: Vec<_> = inputs.iter().map(|&value| self.graph.shapes[value]).collect();
        if !fits(&operation, &shapes, shape) {
            return None;
        }
        let output = self.add(output, shape);
        self.graph.nodes.push(Node { operation, inputs, outputs: vec![output] });
        Some(())
    }

    fn convolution(&self, node: &'a NodeProto, input: Shape) -> Option<Operation> {
        let convolution = Weights::read(node, |name| self.onnx.constant(name))?;
        let Weights { dims, groups, weights, bias, .. } = convolution;
        if dims[1].checked_mul(groups) != Some(input.channels) {
            return None;
        }
        // Groups of several channels become dense, which is too much where there are many.
        let depthwise = groups == input.channels && groups == dims[0];
        if groups > 1 && !depthwise && weights.len().saturating_mul(groups) > MOST_WEIGHTS {
            return None;
        }
        let dilations = pair(node.ints("dilations"), 1)?;
        let kernel = [dims[2], dims[3]];
        let reach = |axis: usize| (kernel[axis] - 1).saturating_mul(dilations[axis]);
        if reach(0).max(reach(1)) >= MOST_ROWS {
            return None;
        }
        let (kernel, weights) = dilate(kernel, dilations, weights);
        let window = window(node, kernel, input)?;
        Some(Operation::Convolution(Convolution {
            window,
            groups,
            weights,
            bias,
            activation: Activation::default(),
        }))
    }

    fn normalisation(&self, node: &'a NodeProto, channels: usize) -> Option<Operation> {
        let parameter = |index: usize| {
            let values = self.onnx.constant(node.input.get(index)?)?.floats()?;
            (values.len() == channels).then_some(values)
        };
        let (scale, offset) = (parameter(1)?, parameter(2)?);
        let (mean, variance) = (parameter(3)?, parameter(4)?);
        let epsilon = node.float("epsilon").unwrap_or(1e-5);
        let factors: Vec<_> = scale
            .iter()
            .zip(variance)
            .map(|(scale, variance)| scale / (variance + epsilon).sqrt())
            .collect();
        let offsets = offset.iter().zip(mean).zip(&factors);
        let offsets = offsets.map(|((offset, mean), factor)| offset - mean * factor).collect();
        Some(Operation::Scale { factors, offsets })
    }

    fn clip(&self, node: &'a NodeProto) -> Option<Operation> {
        let bound = |index: usize, name: &str, default: f32| match node.input.get(index) {
            Some(bound) if !bound.is_empty() => {
                self.onnx.constant(bound)?.floats()?.first().copied()
            }
            _ => Some(node.float(name).unwrap_or(default)),
        };
        let clip = [bound(1, "min", f32::NEG_INFINITY)?, bound(2, "max", f32::INFINITY)?];
        Some(Operation::Activation(Activation { slopes: Vec::new(), clip: Some(clip) }))
    }

    fn pooling(&self, node: &'a NodeProto, input: Shape) -> Option<Operation> {
        let kernel = node.ints("kernel_shape");
        if kernel.len() != 2 || pair(node.ints("dilations"), 1)? != [1, 1] {
            return None;
        }
        let window = window(node, pair(kernel, 1)?, input)?;
        if window.kernel[0] > MOST_ROWS {
            return None;
        }
        let kind = match (node.op(), node.int("count_include_pad").unwrap_or(0)) {
            ("MaxPool", _) => PoolingKind::Max,
            (_, 0) => PoolingKind::Average,
            // What a rounded up size adds does not count; the kernel does not tell them apart.
            _ if node.int("ceil_mode").unwrap_or(0) != 0 => return None,
            _ => PoolingKind::AverageWithPadding,
        };
        Some(Operation::Pooling(Pooling { window, kind }))
    }

    fn resize(&self, node: &'a NodeProto, input: Shape, output: &str) -> Option<Operation> {
        let output = picture(self.shapes.shape(output)?)?;
        let policy = node.string("keep_aspect_ratio_policy").unwrap_or("stretch");
        if output.channels != input.channels || policy != "stretch" {
            return None;
        }
        // Before version 11, Resize was Upsample that could make smaller as well.
        let old = node.op() == "Upsample" || node.input.len() == 2;
        let coordinates = match old {
            true => "asymmetric",
            false => node.string("coordinate_transformation_mode").unwrap_or("half_pixel"),
        };
        // Scales may be others than the sizes' ratios: 1.5 makes 1 of 1.
        let scales = node.input.get(if old { 1 } else { 2 });
        let scales = scales.and_then(|scales| self.onnx.constant(scales)?.floats());
        let scales = scales.and_then(|scales| <[f32; 4]>::try_from(scales).ok());
        match node.string("mode").unwrap_or("nearest") {
            "nearest" => {
                let nearest = |axis: usize, from: usize, to: usize| -> Option<Vec<usize>> {
                    let rounding = match old {
                        true if to < from => "ceil",
                        true => "floor",
                        false => node.string("nearest_mode").unwrap_or("round_prefer_floor"),
                    };
                    let ratio = to as f32 / from as f32;
                    let scale = scales.map_or(ratio, |scales| scales[axis]);
                    let is_ratio = f64::from(scale) * from as f64 == to as f64;
                    let place = |index: usize| {
                        let (index, shift) = match coordinates {
                            "asymmetric" => (index as f32, 0.0),
                            "pytorch_half_pixel" if to == 1 => (0.0, 0.0),
                            "half_pixel" | "pytorch_half_pixel" => (index as f32 + 0.5, 0.5),
                            _ => return None,
                        };
                        let unscaled = index / scale;
                        let is_exact = f64::from(unscaled) * f64::from(scale) == f64::from(index)
                            && (is_ratio || scales.is_some() || index == 0.0);
                        let place = unscaled - shift;
                        // Where one pixel becomes the next. What float rounding makes of a place there
                        // differs between versions of ONNX Runtime.
                        let edge = if rounding.starts_with("round") { place - 0.5 } else { place };
                        if !is_exact && (edge - edge.round()).abs() < 1e-4 {
                            return None;
                        }
                        let place = match rounding {
                            "floor" => place.floor(),
                            "ceil" => place.ceil(),
                            "round_prefer_floor" => (place - 0.5).ceil(),
                            "round_prefer_ceil" => place.round(),
                            _ => return None,
                        };
                        Some((place.max(0.0) as usize).min(from - 1))
                    };
                    (0..to).map(place).collect()
                };
                Some(Operation::Sample(Sampling {
                    rows: nearest(2, input.rows, output.rows)?,
                    columns: nearest(3, input.columns, output.columns)?,
                }))
            }
            // Enlarging only, by whole factors: others have more ways to be meant.
            "linear"
                if coordinates == "half_pixel"
                    && scales
                        .is_none_or(|scales| scales.iter().all(|scale| scale.fract() == 0.0))
                    && output.rows.is_multiple_of(input.rows)
                    && output.columns.is_multiple_of(input.columns) =>
            {
                Some(Operation::Interpolate)
            }
            _ => None,
        }
    }

    /// A part of the rows and columns.
    fn slice(&self, node: &'a NodeProto, input: Shape, output: &str) -> Option<Operation> {
        let output = picture(self.shapes.shape(output)?)?;
        let list = |index: usize, name: &str| match node.input.get(index) {
            Some(value) if !value.is_empty() => Some(self.shapes.integers(value)?.values),
            _ => Some(node.ints(name).to_vec()),
        };
        let (starts, axes) = (list(1, "starts")?, list(3, "axes")?);
        let steps = list(4, "steps")?;
        let mut sampling =
            Sampling { rows: (0..output.rows).collect(), columns: (0..output.columns).collect() };
        for (index, &start) in starts.iter().enumerate() {
            let axis = axes.get(index).copied().unwrap_or(index as i64);
            let (list, len) = match axis {
                2 | -2 => (&mut sampling.rows, input.rows),
                3 | -1 => (&mut sampling.columns, input.columns),
                // All of them.
                _ if output.channels == input.channels => continue,
                _ => return None,
            };
            let step = usize::try_from(steps.get(index).copied().unwrap_or(1)).ok()?;
            let start = if start < 0 { start + len as i64 } else { start };
            let start = usize::try_from(start).unwrap_or(0);
            list.iter_mut().for_each(|place| *place = start + *place * step);
            if list.last().is_some_and(|&last| last >= len) {
                return None;
            }
        }
        Some(Operation::Sample(sampling))
    }

    /// Sums and products of two values, or of a value and a constant.
    fn arithmetic(&self, node: &'a NodeProto, inputs: &mut Vec<Value>) -> Option<Operation> {
        let (first, second) = (self.value(node, 0), self.value(node, 1));
        if let (Some(first), Some(second)) = (first, second) {
            let alike = self.graph.shapes[first] == self.graph.shapes[second];
            *inputs = vec![first, second];
            return match node.op() {
                "Add" if alike => Some(Operation::Add(None)),
                "Mul" if alike => Some(Operation::Multiply),
                _ => None,
            };
        }
        let value = first.or(second)?;
        *inputs = vec![value];
        let channels = self.graph.shapes[value].channels;
        let constant = self.per_channel(node, usize::from(first.is_some()), channels)?;
        let (one, zero) = (vec![1.0; channels], vec![0.0; channels]);
        let each = |function: fn(f32) -> f32| constant.iter().copied().map(function).collect();
        let (factors, offsets) = match (node.op(), first.is_some()) {
            ("Add", _) => (one, constant),
            ("Mul", _) => (constant, zero),
            ("Sub", true) => (one, each(|value| -value)),
            ("Sub", false) => (vec![-1.0; channels], constant),
            ("Div", true) => (each(|value| 1.0 / value), zero),
            _ => return None,
        };
        Some(Operation::Scale { factors, offsets })
    }
}

/// Whether an operation makes a value of the shape `output` of `inputs`: kernels rely on it.
fn fits(operation: &Operation, inputs: &[Shape], output: Shape) -> bool {
    let Some(&first) = inputs.first() else { return false };
    let size = |shape: Shape| (shape.rows, shape.columns);
    match operation {
        Operation::Convolution(convolution) => output.channels == convolution.bias.len(),
        Operation::Pooling(_) | Operation::Interpolate => output.channels == first.channels,
        Operation::Sample(Sampling { rows, columns }) => {
            output.channels == first.channels && (rows.len(), columns.len()) == size(output)
        }
        Operation::Concat => {
            let channels: usize = inputs.iter().map(|shape| shape.channels).sum();
            output.channels == channels && inputs.iter().all(|&shape| size(shape) == size(output))
        }
        Operation::Scale { .. }
        | Operation::Activation(_)
        | Operation::Function(_)
        | Operation::Add(_)
        | Operation::Multiply => inputs.iter().all(|&shape| shape == output),
    }
}

/// Slopes for negative values, in the cheapest form.
fn prelu(slopes: Vec<f32>) -> Operation {
    if slopes.iter().all(|&slope| slope <= 1.0) {
        Operation::Activation(Activation { slopes, clip: None })
    } else {
        Operation::Function(Function::PRelu(slopes))
    }
}

/// Two numbers, `default` where they are not given.
fn pair(values: &[i64], default: usize) -> Option<[usize; 2]> {
    let at = |index: usize| match values.get(index) {
        Some(&value) => usize::try_from(value).ok().filter(|&value| value > 0),
        None => Some(default),
    };
    Some([at(0)?, at(1)?])
}

/// The window of a node.
fn window(node: &NodeProto, kernel: [usize; 2], input: Shape) -> Option<Window> {
    let stride = pair(node.ints("strides"), 1)?;
    let sizes = [input.rows, input.columns];
    let before = |axis: usize| -> Option<usize> {
        // What a window needs for an output for each stride.
        let needed = (sizes[axis].div_ceil(stride[axis]) - 1) * stride[axis] + kernel[axis];
        let needed = needed.saturating_sub(sizes[axis]);
        match node.string("auto_pad").unwrap_or("NOTSET") {
            "SAME_UPPER" => Some(needed / 2),
            "SAME_LOWER" => Some(needed.div_ceil(2)),
            "VALID" => Some(0),
            _ => usize::try_from(node.ints("pads").get(axis).copied().unwrap_or(0)).ok(),
        }
    };
    let pads = [before(0)?, before(1)?];
    // The kernels have no windows that see nothing.
    let sees = pads[0] < kernel[0] && pads[1] < kernel[1];
    sees.then_some(Window { kernel, stride, pads })
}

/// A kernel with zeros between its weights.
fn dilate(kernel: [usize; 2], dilations: [usize; 2], weights: Vec<f32>) -> ([usize; 2], Vec<f32>) {
    if dilations == [1, 1] {
        return (kernel, weights);
    }
    let size = |axis: usize| (kernel[axis] - 1) * dilations[axis] + 1;
    let larger = [size(0), size(1)];
    let mut spread = vec![0.0; weights.len() / (kernel[0] * kernel[1]) * larger[0] * larger[1]];
    for (index, weight) in weights.into_iter().enumerate() {
        let (row, column) = (index / kernel[1] % kernel[0], index % kernel[1]);
        let channel = index / (kernel[0] * kernel[1]);
        let row = channel * larger[0] + row * dilations[0];
        spread[row * larger[1] + column * dilations[1]] = weight;
    }
    (larger, spread)
}
