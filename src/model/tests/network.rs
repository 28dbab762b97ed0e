// SPDX-License-Identifier: MIT OR Apache-2.0

//! Small networks with RetinaFace's structure and made-up weights, and running them, slowly.

use std::collections::HashMap;

use prost::Message;
use prost::bytes::Bytes;

use crate::onnx::{messages::*, tests::node};

/// The layers before the feature pyramid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Backbone {
    /// MobileNet: depthwise convolutions and leaky ReLU, 8 channels at first.
    Leaky,
    /// The same with batch normalisation and plain ReLU, as in MXNet's networks.
    Plain,
    /// ResNet: a 7×7 convolution, max pooling, batch normalisation, and shortcuts.
    Residual,
}

/// What to build.
#[derive(Clone, Debug)]
pub struct Network {
    pub backbone: Backbone,
    pub insightface: bool,
    pub landmarks: bool,
    pub softmax: bool,
    pub size: Option<(i64, i64)>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            backbone: Backbone::Leaky,
            insightface: false,
            landmarks: true,
            softmax: true,
            size: None,
        }
    }
}

/// The nodes whose outputs are a level's raw numbers: scores, boxes, landmarks.
pub const HEADS: [&str; 3] = ["scores", "boxes", "landmarks"];

const FEATURES: i64 = 16;

impl Network {
    pub fn bytes(&self) -> Vec<u8> {
        self.proto().encode_to_vec()
    }

    pub fn proto(&self) -> ModelProto {
        let mut build = Build { slope: Some(0.1), ..Build::default() };
        if self.backbone != Backbone::Leaky {
            (build.slope, build.norms) = (None, true);
        }
        let stages = match self.backbone {
            Backbone::Residual => build.resnet("image"),
            _ => build.mobilenet("image"),
        };
        let levels = build.pyramid(stages);
        let outputs = match self.insightface {
            true => self.insightface_heads(&mut build, &levels),
            false => self.pytorch_heads(&mut build, &levels),
        };
        let size = self.size.map_or([-1, -1], |(width, height)| [height, width]);
        let graph = GraphProto {
            name: Some("network".into()),
            node: build.nodes,
            initializer: build.tensors,
            input: vec![value("image", &[-1, 3, size[0], size[1]])],
            output: outputs,
            ..GraphProto::default()
        };
        let opset = OperatorSetIdProto { domain: None, version: Some(13) };
        ModelProto {
            ir_version: Some(7),
            graph: Some(graph),
            opset_import: vec![opset],
            ..ModelProto::default()
        }
    }

    fn head_count(&self) -> usize {
        if self.landmarks { 3 } else { 2 }
    }

    fn pytorch_heads(&self, build: &mut Build, levels: &[String]) -> Vec<ValueInfoProto> {
        let names = ["conf", "loc", "landms"];
        let heads = (HEADS.iter().zip([2, 4, 10]).zip(names)).take(self.head_count());
        heads
            .map(|((head, values), name)| {
                let parts = levels.iter().enumerate().map(|(index, level)| {
                    let raw = build.head(&format!("{head}{}", 8 << index), level, 2 * values);
                    let last = build.node("Transpose", &[&raw], &[("perm", &[0, 2, 3, 1])]);
                    let shape = build.integers(&[1, -1, values]);
                    build.node("Reshape", &[&last, &shape], &[])
                });
                let parts: Vec<_> = parts.collect();
                let parts: Vec<_> = parts.iter().map(String::as_str).collect();
                let mut all = build.node("Concat", &parts, &[("axis", &[1])]);
                if values == 2 && self.softmax {
                    all = build.node("Softmax", &[&all], &[("axis", &[-1])]);
                }
                build.rename(&all, name);
                value(name, &[-1, -1, values])
            })
            .collect()
    }

    fn insightface_heads(&self, build: &mut Build, levels: &[String]) -> Vec<ValueInfoProto> {
        let names = ["cls_prob_reshape", "bbox_pred", "landmark_pred"];
        let mut outputs = Vec::new();
        for (index, level) in levels.iter().enumerate().rev() {
            let stride = 8 << index;
            for ((head, values), name) in
                HEADS.iter().zip([2, 4, 10]).zip(names).take(self.head_count())
            {
                let name = format!("face_rpn_{name}_stride{stride}");
                let mut raw = build.head(&format!("{head}{stride}"), level, 2 * values);
                if values == 2 {
                    let shape = build.integers(&[0, 2, -1, 0]);
                    let pairs = build.node("Reshape", &[&raw, &shape], &[]);
                    let pairs = build.node("Softmax", &[&pairs], &[("axis", &[1])]);
                    let shape = build.integers(&[0, 4, -1, 0]);
                    raw = build.node("Reshape", &[&pairs, &shape], &[]);
                } else {
                    raw = build.node("Identity", &[&raw], &[]);
                }
                build.rename(&raw, &name);
                outputs.push(value(&name, &[-1, 2 * values, -1, -1]));
            }
        }
        outputs
    }
}

/// A float value; negative sizes are open.
pub fn value(name: &str, sizes: &[i64]) -> ValueInfoProto {
    let dimension = |&size: &i64| Dimension {
        value: Some(match size {
            0.. => DimensionValue::Value(size),
            _ => DimensionValue::Param("open".into()),
        }),
        denotation: None,
    };
    let tensor = TensorType {
        elem_type: Some(DataType::Float as i32),
        shape: Some(TensorShapeProto { dim: sizes.iter().map(dimension).collect() }),
    };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { value: Some(TypeValue::Tensor(tensor)), denotation: None }),
        ..ValueInfoProto::default()
    }
}

#[derive(Default)]
struct Build {
    nodes: Vec<NodeProto>,
    tensors: Vec<TensorProto>,
    count: usize,
    seed: u32,
    /// Of the leaky ReLUs; a plain one without.
    slope: Option<f32>,
    norms: bool,
}

impl Build {
    fn name(&mut self) -> String {
        self.count += 1;
        format!("v{}", self.count)
    }

    /// Numbers between −1 and 1 that look random.
    fn noise(&mut self, len: i64) -> Vec<f32> {
        let mut next = || {
            self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (self.seed >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    fn floats(&mut self, dims: &[i64], values: Vec<f32>) -> String {
        let name = self.name();
        let tensor = TensorProto {
            name: Some(name.clone()),
            dims: dims.to_vec(),
            data_type: Some(DataType::Float as i32),
            float_data: values,
            ..TensorProto::default()
        };
        self.tensors.push(tensor);
        name
    }

    fn integers(&mut self, values: &[i64]) -> String {
        let name = self.name();
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let tensor = TensorProto {
            dims: vec![values.len() as i64],
            data_type: Some(DataType::Int64 as i32),
            raw_data: Some(Bytes::from(raw)),
            ..TensorProto::default()
        };
        let attribute = AttributeProto {
            name: Some("value".into()),
            t: Some(tensor),
            r#type: Some(AttributeType::Tensor as i32),
            ..AttributeProto::default()
        };
        self.nodes.push(NodeProto { attribute: vec![attribute], ..node("Constant", &[], &name) });
        name
    }

    /// Attributes with one number are single, and those with more are lists.
    fn node(&mut self, op: &str, inputs: &[&str], attributes: &[(&str, &[i64])]) -> String {
        let name = self.name();
        let attribute = attributes.iter().map(|(name, values)| match values {
            [value] => AttributeProto::new_int(name, *value),
            values => AttributeProto::new_ints(name, values),
        });
        let attribute = attribute.collect();
        self.nodes.push(NodeProto { attribute, ..node(op, inputs, &name) });
        name
    }

    fn rename(&mut self, output: &str, name: &str) {
        for node in &mut self.nodes {
            for value in node.output.iter_mut().filter(|value| *value == output) {
                *value = name.into();
            }
        }
    }

    /// A convolution, by itself.
    fn bare(&mut self, input: &str, dims: [i64; 4], stride: i64, group: i64) -> String {
        let fan_in: i64 = dims[1..].iter().product();
        let scale = (3.0 / fan_in as f32).sqrt();
        let weights = self.noise(dims.iter().product());
        let weights = weights.into_iter().map(|weight| weight * scale).collect();
        let weights = self.floats(&dims, weights);
        let bias = self.noise(dims[0]);
        let bias = self.floats(&dims[..1], bias);
        let pad = dims[2] / 2;
        let attributes: [(&str, &[i64]); 4] = [
            ("kernel_shape", &dims[2..]),
            ("strides", &[stride, stride]),
            ("pads", &[pad, pad, pad, pad]),
            ("group", &[group]),
        ];
        self.node("Conv", &[input, &weights, &bias], &attributes)
    }

    /// A convolution with what comes after it in this network, but the activation.
    fn linear(&mut self, input: &str, dims: [i64; 4], stride: i64, group: i64) -> String {
        let output = self.bare(input, dims, stride, group);
        if !self.norms {
            return output;
        }
        let parameters = [0.1, 0.1, 0.1, 0.1].map(|spread| {
            let noise = self.noise(dims[0]);
            noise.into_iter().map(|value| value * spread).collect::<Vec<_>>()
        });
        let [scale, offset, mean, variance] = parameters;
        let around_one = |values: Vec<f32>| values.into_iter().map(|value| value + 1.0).collect();
        let scale = self.floats(&dims[..1], around_one(scale));
        let offset = self.floats(&dims[..1], offset);
        let mean = self.floats(&dims[..1], mean);
        let variance = self.floats(&dims[..1], around_one(variance));
        self.node("BatchNormalization", &[&output, &scale, &offset, &mean, &variance], &[])
    }

    fn activation(&mut self, input: &str) -> String {
        let Some(slope) = self.slope else { return self.node("Relu", &[input], &[]) };
        let output = self.node("LeakyRelu", &[input], &[]);
        let attribute = AttributeProto {
            name: Some("alpha".into()),
            f: Some(slope),
            r#type: Some(AttributeType::Float as i32),
            ..AttributeProto::default()
        };
        self.nodes.last_mut().unwrap().attribute.push(attribute);
        output
    }

    fn layer(&mut self, input: &str, dims: [i64; 4], stride: i64, group: i64) -> String {
        let output = self.linear(input, dims, stride, group);
        self.activation(&output)
    }

    /// Values at strides 8, 16 and 32, with their numbers of channels.
    fn mobilenet(&mut self, input: &str) -> [(String, i64); 3] {
        let first = self.layer(input, [8, 3, 3, 3], 2, 1);
        let mut separable = |input: &str, before: i64, after: i64, stride: i64| {
            let depthwise = self.layer(input, [before, 1, 3, 3], stride, before);
            self.layer(&depthwise, [after, before, 1, 1], 1, 1)
        };
        let same = separable(&first, 8, 12, 1);
        let quarter = separable(&same, 12, 16, 2);
        let eighth = separable(&quarter, 16, 16, 2);
        let sixteenth = separable(&eighth, 16, 20, 2);
        let last = separable(&sixteenth, 20, 24, 2);
        [(eighth, 16), (sixteenth, 20), (last, 24)]
    }

    fn resnet(&mut self, input: &str) -> [(String, i64); 3] {
        let first = self.layer(input, [8, 3, 7, 7], 2, 1);
        let attributes: [(&str, &[i64]); 3] =
            [("kernel_shape", &[3, 3]), ("strides", &[2, 2]), ("pads", &[1, 1, 1, 1])];
        let quarter = self.node("MaxPool", &[&first], &attributes);
        let mut block = |input: &str, before: i64, after: i64| {
            let inner = self.layer(input, [8, before, 1, 1], 1, 1);
            let inner = self.layer(&inner, [8, 8, 3, 3], 2, 1);
            let inner = self.linear(&inner, [after, 8, 1, 1], 1, 1);
            let shortcut = self.linear(input, [after, before, 1, 1], 2, 1);
            let sum = self.node("Add", &[&inner, &shortcut], &[]);
            self.activation(&sum)
        };
        let eighth = block(&quarter, 8, 12);
        let sixteenth = block(&eighth, 12, 16);
        let last = block(&sixteenth, 16, 20);
        [(eighth, 12), (sixteenth, 16), (last, 20)]
    }

    /// The features of each level, the smallest stride first.
    fn pyramid(&mut self, stages: [(String, i64); 3]) -> Vec<String> {
        let lateral =
            stages.map(|(stage, channels)| self.layer(&stage, [FEATURES, channels, 1, 1], 1, 1));
        let [eighth, sixteenth, top] = lateral;
        let middle = self.merge(&sixteenth, &top);
        let bottom = self.merge(&eighth, &middle);
        [bottom, middle, top].iter().map(|level| self.context(level)).collect()
    }

    fn merge(&mut self, lateral: &str, above: &str) -> String {
        let (start, end) = (self.integers(&[2]), self.integers(&[4]));
        let shape = self.node("Shape", &[lateral], &[]);
        let spatial = self.node("Slice", &[&shape, &start, &end], &[]);
        let channels = self.integers(&[1, FEATURES]);
        let sizes = self.node("Concat", &[&channels, &spatial], &[("axis", &[0])]);
        let larger = self.node("Resize", &[above, "", "", &sizes], &[]);
        let sum = self.node("Add", &[lateral, &larger], &[]);
        self.layer(&sum, [FEATURES, FEATURES, 3, 3], 1, 1)
    }

    fn context(&mut self, level: &str) -> String {
        let (half, quarter) = (FEATURES / 2, FEATURES / 4);
        let near = self.linear(level, [half, FEATURES, 3, 3], 1, 1);
        let shared = self.layer(level, [quarter, FEATURES, 3, 3], 1, 1);
        let wide = self.linear(&shared, [quarter, quarter, 3, 3], 1, 1);
        let wider = self.layer(&shared, [quarter, quarter, 3, 3], 1, 1);
        let wider = self.linear(&wider, [quarter, quarter, 3, 3], 1, 1);
        let all = self.node("Concat", &[&near, &wide, &wider], &[("axis", &[1])]);
        self.node("Relu", &[&all], &[])
    }

    fn head(&mut self, name: &str, features: &str, outputs: i64) -> String {
        let output = self.bare(features, [outputs, FEATURES, 1, 1], 1, 1);
        self.rename(&output, name);
        name.into()
    }
}

/// A tensor of floats, or of whole numbers kept as floats.
#[derive(Clone, Debug)]
pub struct Array {
    pub dims: Vec<usize>,
    pub data: Vec<f32>,
}

/// Runs as much of a network as depends only on the operators below, and returns all values.
pub fn run(graph: &GraphProto, image: Array) -> HashMap<String, Array> {
    let mut values = HashMap::from([(graph.input[0].name().to_owned(), image)]);
    for tensor in &graph.initializer {
        values.insert(tensor.name().to_owned(), array(tensor));
    }
    for node in &graph.node {
        // Left out inputs have empty names.
        let inputs = node.input.iter().map(|name| values.get(name).unwrap_or(&NOTHING));
        let inputs: Vec<_> = inputs.collect();
        let output = match node.op() {
            "Constant" => array(node.tensor("value").unwrap()),
            "Conv" => convolution(node, &inputs),
            "BatchNormalization" => batch_norm(&inputs),
            "Relu" => map(inputs[0], |_, x| x.max(0.0)),
            "LeakyRelu" => {
                let slope = node.float("alpha").unwrap();
                map(inputs[0], |_, x| if x < 0.0 { x * slope } else { x })
            }
            "Add" => map(inputs[0], |index, x| x + inputs[1].data[index]),
            "MaxPool" => max_pool(node, inputs[0]),
            "Resize" => resize(inputs[0], inputs[3]),
            "Shape" => list(inputs[0].dims.iter().map(|&size| size as f32).collect()),
            "Slice" => {
                let (start, end) = (inputs[1].data[0] as usize, inputs[2].data[0] as usize);
                list(inputs[0].data[start..end].to_vec())
            }
            "Concat" if node.int("axis") == Some(1) && inputs[0].dims.len() == 4 => {
                let channels = inputs.iter().map(|input| input.dims[1]).sum();
                let dims = [1, channels, inputs[0].dims[2], inputs[0].dims[3]].to_vec();
                Array { dims, data: inputs.iter().flat_map(|input| input.data.clone()).collect() }
            }
            "Concat" => list(inputs.iter().flat_map(|input| input.data.clone()).collect()),
            // The rearrangements behind the heads.
            _ => continue,
        };
        values.insert(node.output[0].clone(), output);
    }
    values
}

static NOTHING: Array = Array { dims: Vec::new(), data: Vec::new() };

fn array(tensor: &TensorProto) -> Array {
    let data = tensor.floats().unwrap_or_else(|| {
        tensor.integers().unwrap().into_iter().map(|value| value as f32).collect()
    });
    Array { dims: tensor.dims.iter().map(|&size| size as usize).collect(), data }
}

fn list(data: Vec<f32>) -> Array {
    Array { dims: vec![data.len()], data }
}

fn map(input: &Array, f: impl Fn(usize, f32) -> f32) -> Array {
    let data = input.data.iter().enumerate().map(|(index, &x)| f(index, x)).collect();
    Array { dims: input.dims.clone(), data }
}

fn batch_norm(inputs: &[&Array]) -> Array {
    let plane = inputs[0].dims[2] * inputs[0].dims[3];
    let at = |parameter: usize, index: usize| inputs[parameter].data[index / plane];
    map(inputs[0], |index, x| {
        (x - at(3, index)) / (at(4, index) + 1e-5).sqrt() * at(1, index) + at(2, index)
    })
}

fn resize(input: &Array, sizes: &Array) -> Array {
    let dims: Vec<usize> = sizes.data.iter().map(|&size| size as usize).collect();
    let mut data = Vec::new();
    for channel in 0..dims[1] {
        for y in 0..dims[2] {
            for x in 0..dims[3] {
                let (y, x) = (y * input.dims[2] / dims[2], x * input.dims[3] / dims[3]);
                data.push(input.data[(channel * input.dims[2] + y) * input.dims[3] + x]);
            }
        }
    }
    Array { dims, data }
}

/// Calls `f` for each output position with the input positions under the window and their places
/// in it.
fn windows(
    node: &NodeProto,
    input: &Array,
    kernel: (usize, usize),
    mut f: impl FnMut(&[((usize, usize), usize)]),
) -> (usize, usize) {
    let step = node.ints("strides").first().map_or(1, |&step| step as usize);
    let pad = node.ints("pads").first().map_or(0, |&pad| pad as usize);
    let size = |size: usize, kernel: usize| (size + 2 * pad - kernel) / step + 1;
    let (rows, columns) = (size(input.dims[2], kernel.0), size(input.dims[3], kernel.1));
    for row in 0..rows {
        for column in 0..columns {
            let mut positions = Vec::new();
            for place in 0..kernel.0 * kernel.1 {
                let y = (row * step + place / kernel.1).wrapping_sub(pad);
                let x = (column * step + place % kernel.1).wrapping_sub(pad);
                if y < input.dims[2] && x < input.dims[3] {
                    positions.push(((y, x), place));
                }
            }
            f(&positions);
        }
    }
    (rows, columns)
}

fn convolution(node: &NodeProto, inputs: &[&Array]) -> Array {
    let (input, weights) = (inputs[0], inputs[1]);
    let [outputs, depth, height, width] = weights.dims[..] else { panic!("not a convolution") };
    let group_size = outputs / node.int("group").unwrap_or(1) as usize;
    let kernel = height * width;
    let mut sums = Vec::new();
    let (rows, columns) = windows(node, input, (height, width), |positions| {
        for output in 0..outputs {
            let mut sum = inputs[2].data[output];
            for channel in 0..depth {
                let plane = output / group_size * depth + channel;
                for &((y, x), place) in positions {
                    let pixel = input.data[(plane * input.dims[2] + y) * input.dims[3] + x];
                    sum += pixel * weights.data[(output * depth + channel) * kernel + place];
                }
            }
            sums.push(sum);
        }
    });
    channels_first(&sums, outputs, rows, columns)
}

fn max_pool(node: &NodeProto, input: &Array) -> Array {
    let mut maxima = Vec::new();
    let kernel = node.ints("kernel_shape");
    let kernel = (kernel[0] as usize, kernel[1] as usize);
    let (rows, columns) = windows(node, input, kernel, |positions| {
        for channel in 0..input.dims[1] {
            let pixel = |&((y, x), _): &((usize, usize), usize)| {
                input.data[(channel * input.dims[2] + y) * input.dims[3] + x]
            };
            maxima.push(positions.iter().map(pixel).fold(f32::MIN, f32::max));
        }
    });
    channels_first(&maxima, input.dims[1], rows, columns)
}

fn channels_first(data: &[f32], channels: usize, rows: usize, columns: usize) -> Array {
    let at = |channel: usize| data.iter().skip(channel).step_by(channels).copied();
    Array { dims: vec![1, channels, rows, columns], data: (0..channels).flat_map(at).collect() }
}
