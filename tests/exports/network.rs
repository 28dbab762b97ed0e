// SPDX-License-Identifier: MIT OR Apache-2.0

//! Small networks with RetinaFace's structure and made-up weights, as exporters write them.

use std::collections::HashMap;

use gstretinaface::onnx::messages::*;
use prost::Message;

use crate::{
    common::graph::{Build, value},
    numbers::{self, quantise},
    picture::Picture,
    runtime::{self, Array},
};

/// How a network is built and exported. The default is what most files are: of floats, for one picture of
/// any size, as `torch.onnx.export` wrote it before it used dynamo.
#[derive(Clone, Debug)]
pub struct Export {
    pub seed: u32,
    pub opset: i64,
    pub activation: Activation,
    pub enlargement: Enlargement,
    /// Squeeze and excitation in the backbone, as MobileNetV3 has it.
    pub attention: bool,
    /// Half of the channels pass a layer by, as in CSPNet and ShuffleNet.
    pub split: bool,
    pub numbers: Numbers,
    /// Pictures in a run; `None` is open.
    pub batch: Option<i64>,
    /// `None` is open.
    pub width: Option<i64>,
    pub height: Option<i64>,
    /// The input is `[batch, height, width, 3]`.
    pub channels_last: bool,
    pub outputs: Outputs,
}

impl Default for Export {
    fn default() -> Self {
        Self {
            seed: 1,
            opset: 17,
            activation: Activation::Relu,
            enlargement: Enlargement::Sizes,
            attention: false,
            split: false,
            numbers: Numbers::Floats,
            batch: Some(1),
            width: None,
            height: None,
            channels_last: false,
            outputs: Outputs::Batched,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    Relu,
    LeakyRelu,
    PRelu,
    HardSwish,
    /// What exporters write where the operators have no HardSwish: `x · HardSigmoid(x)`.
    HardSigmoid,
    /// `x · Clip(x + 3, 0, 6) / 6`
    Clip,
    /// From opset 20 on.
    Gelu,
    /// `x / 2 · (1 + Erf(x / √2))`
    Erf,
    Silu,
    Mish,
}

/// How the features of a level become as large as those of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enlargement {
    /// To the sizes that the next has.
    Sizes,
    /// To sizes computed from the picture's, as dynamo writes it.
    Dynamo,
    Scales,
    TransposedConvolution,
}

/// What the network computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    Floats,
    /// The input and outputs as well.
    Halves,
    /// Between an input and outputs of floats.
    HalvesInside,
    /// Floats between an input and outputs of doubles.
    DoublesOutside,
    /// Pairs of QuantizeLinear and DequantizeLinear around convolutions, with zero points or without.
    Quantised {
        zero_points: bool,
    },
}

/// The shape of the outputs, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// `[batch, anchors, values]`
    Batched,
    /// `[anchors, values]`, as the levels are reshaped.
    Flat,
    /// The same, by a `Squeeze` behind all levels.
    Squeezed,
    /// The same, by a `Gather` of the first picture.
    First,
}

/// The heads by the names of their outputs, and how many values an anchor has in each.
pub const HEADS: [(&str, i64); 3] = [("loc", 4), ("conf", 2), ("landms", 10)];
pub const STRIDES: [i64; 3] = [8, 16, 32];
pub const ANCHORS: i64 = 2;
pub const INPUT: &str = "input";

/// Channels of the pyramid.
const FEATURES: i64 = 16;

impl Export {
    /// The file, with biases such that a few anchors of each level are faces in `picture`.
    pub fn file(&self, picture: &Picture) -> Vec<u8> {
        let model = self.model(&calibrate(self, picture));
        let model = match self.numbers {
            Numbers::Floats => model,
            Numbers::Quantised { zero_points } => quantise(model, picture, zero_points),
            numbers => numbers::convert(model, numbers),
        };
        model.encode_to_vec()
    }

    fn model(&self, calibration: &Calibration) -> ModelProto {
        let mut build = Build::seeded(self.seed);
        let levels = build.features(self);
        let outputs = HEADS.map(|(name, values)| {
            let parts = levels.iter().zip(STRIDES).map(|(level, stride)| {
                let raw = build.head(&format!("{name}{stride}"), level, values, calibration);
                let last = build.node("Transpose", &[&raw], &[("perm", &[0, 2, 3, 1])]);
                let shape = match self.outputs {
                    Outputs::Flat => build.integers(&[-1, values]),
                    _ => build.integers(&[self.batch.unwrap_or(1), -1, values]),
                };
                build.node("Reshape", &[&last, &shape], &[])
            });
            let parts: Vec<_> = parts.collect();
            let parts: Vec<_> = parts.iter().map(String::as_str).collect();
            let axis = i64::from(self.outputs != Outputs::Flat);
            let mut all = build.node("Concat", &parts, &[("axis", &[axis])]);
            if name == "conf" {
                all = build.node("Softmax", &[&all], &[("axis", &[-1])]);
            }
            let first = match self.outputs {
                Outputs::Squeezed => build.integers(&[0]),
                _ => build.integer_scalar(0),
            };
            match self.outputs {
                Outputs::Batched | Outputs::Flat => {}
                Outputs::Squeezed => all = build.node("Squeeze", &[&all, &first], &[]),
                Outputs::First => all = build.node("Gather", &[&all, &first], &[("axis", &[0])]),
            }
            build.rename(&all, name);
            match self.outputs {
                Outputs::Batched => value(name, &[self.batch, None, Some(values)]),
                _ => value(name, &[None, Some(values)]),
            }
        });
        build.outputs = outputs.to_vec();
        build.export(self)
    }

    /// The raw numbers of all heads for one picture, to calibrate by.
    fn raw(&self) -> ModelProto {
        let plain = Export {
            batch: Some(1),
            width: None,
            height: None,
            channels_last: false,
            ..self.clone()
        };
        let mut build = Build::seeded(self.seed);
        let levels = build.features(&plain);
        for (name, values) in HEADS {
            for (level, stride) in levels.iter().zip(STRIDES) {
                let raw = build.head(&format!("{name}{stride}"), level, values, &HashMap::new());
                build.outputs.push(value(&raw, &[None; 4]));
            }
        }
        build.export(&plain)
    }
}

/// For each convolution of a head, what its weights are multiplied with, and the bias of each anchor's
/// last value.
type Calibration = HashMap<String, (f32, [f32; ANCHORS as usize])>;

/// Anchors of a level over the threshold.
const FACES: usize = 3;
/// Scores over this are faces: the default of `score-threshold`.
pub const THRESHOLD: f32 = 0.6;

/// Boxes and landmarks get the spread that they have in trained networks. Of the scores, the best few
/// are over the threshold, in a gap as wide as can be: rounding moves none across.
fn calibrate(export: &Export, picture: &Picture) -> Calibration {
    let raw = runtime::run(&export.raw().encode_to_vec(), INPUT, &picture.planes(1));
    let logit = (THRESHOLD / (1.0 - THRESHOLD)).ln();
    let calibrated = raw.into_iter().map(|(name, Array { shape, values })| {
        let deviation = deviation(&values);
        if !name.starts_with("conf") {
            return (name, (1.0 / deviation, [0.0; 2]));
        }
        let factor = 1.5 / deviation;
        let plane = (shape[2] * shape[3]) as usize;
        let bias = [0, 1].map(|anchor| {
            let [background, face] =
                [0, 1].map(|channel| &values[(2 * anchor + channel) * plane..][..plane]);
            let mut scores: Vec<_> =
                face.iter().zip(background).map(|(a, b)| factor * (a - b)).collect();
            scores.sort_by(|a, b| b.total_cmp(a));
            let gap = |&index: &usize| scores[index - 1] - scores[index];
            let best = (FACES - 2..=FACES + 2).max_by(|a, b| gap(a).total_cmp(&gap(b)));
            let best = best.expect("there are some");
            logit - (scores[best - 1] + scores[best]) / 2.0
        });
        (name, (factor, bias))
    });
    calibrated.collect()
}

fn deviation(values: &[f32]) -> f32 {
    let mean = values.iter().sum::<f32>() / values.len() as f32;
    let squares = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f32>();
    (squares / values.len() as f32).sqrt()
}

impl Build {
    /// Numbers between −1 and 1 that look random.
    fn noise(&mut self, len: i64) -> Vec<f32> {
        let mut next = || {
            self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (self.seed >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    fn rename(&mut self, output: &str, name: &str) {
        for node in &mut self.nodes {
            for value in node.output.iter_mut().filter(|value| *value == output) {
                *value = name.into();
            }
        }
    }

    /// A convolution whose output is about as large as its input.
    fn convolution(&mut self, input: &str, dims: [i64; 4], stride: i64, group: i64) -> String {
        let fan_in: i64 = dims[1..].iter().product();
        let scale = (6.0 / fan_in as f32).sqrt();
        let weights: Vec<_> =
            self.noise(dims.iter().product()).iter().map(|weight| weight * scale).collect();
        let weights = self.floats(&dims, &weights);
        let bias = self.noise(dims[0]);
        let bias = self.floats(&dims[..1], &bias);
        let pad = dims[2] / 2;
        self.node(
            "Conv",
            &[input, &weights, &bias],
            &[
                ("kernel_shape", &dims[2..]),
                ("strides", &[stride, stride]),
                ("pads", &[pad, pad, pad, pad]),
                ("group", &[group]),
            ],
        )
    }

    fn activation(&mut self, input: &str, activation: Activation) -> String {
        let scalar = |build: &mut Self, value: f32| build.floats(&[], &[value]);
        match activation {
            Activation::Relu => self.node("Relu", &[input], &[]),
            Activation::LeakyRelu => self.node("LeakyRelu", &[input], &[]),
            Activation::PRelu => {
                let slope = self.floats(&[1, 1, 1], &[0.25]);
                self.node("PRelu", &[input, &slope], &[])
            }
            Activation::HardSwish => self.node("HardSwish", &[input], &[]),
            Activation::HardSigmoid => {
                let gate = self.node("HardSigmoid", &[input], &[]);
                self.set_float("alpha", 1.0 / 6.0);
                self.node("Mul", &[input, &gate], &[])
            }
            Activation::Clip => {
                let [zero, three, six] = [0.0, 3.0, 6.0].map(|value| scalar(self, value));
                let sum = self.node("Add", &[input, &three], &[]);
                let clipped = self.node("Clip", &[&sum, &zero, &six], &[]);
                let product = self.node("Mul", &[input, &clipped], &[]);
                self.node("Div", &[&product, &six], &[])
            }
            Activation::Gelu => self.node("Gelu", &[input], &[]),
            Activation::Erf => {
                let root = scalar(self, std::f32::consts::SQRT_2);
                let [one, half] = [1.0, 0.5].map(|value| scalar(self, value));
                let scaled = self.node("Div", &[input, &root], &[]);
                let erf = self.node("Erf", &[&scaled], &[]);
                let sum = self.node("Add", &[&erf, &one], &[]);
                let product = self.node("Mul", &[input, &sum], &[]);
                self.node("Mul", &[&product, &half], &[])
            }
            Activation::Silu => {
                let gate = self.node("Sigmoid", &[input], &[]);
                self.node("Mul", &[input, &gate], &[])
            }
            Activation::Mish => {
                let softplus = self.node("Softplus", &[input], &[]);
                let gate = self.node("Tanh", &[&softplus], &[]);
                self.node("Mul", &[input, &gate], &[])
            }
        }
    }

    /// Sets an attribute of the last node.
    fn set_float(&mut self, name: &str, value: f32) {
        let attribute = AttributeProto {
            name: Some(name.into()),
            f: Some(value),
            r#type: Some(AttributeType::Float as i32),
            ..AttributeProto::default()
        };
        self.nodes.last_mut().expect("a node").attribute.push(attribute);
    }

    /// The features of each level, the smallest stride first.
    fn features(&mut self, export: &Export) -> Vec<String> {
        let mut input = INPUT.to_owned();
        if export.channels_last {
            input = self.node("Transpose", &[&input], &[("perm", &[0, 3, 1, 2])]);
        }
        // Pixels are large numbers.
        let scale = self.floats(&[], &[1.0 / 64.0]);
        let scaled = self.node("Mul", &[&input, &scale], &[]);
        let layer = |build: &mut Self, input: &str, dims: [i64; 4], stride: i64, group: i64| {
            let output = build.convolution(input, dims, stride, group);
            build.activation(&output, export.activation)
        };
        let half = layer(self, &scaled, [8, 3, 3, 3], 2, 1);
        let depthwise = layer(self, &half, [8, 1, 3, 3], 2, 8);
        let quarter = layer(self, &depthwise, [12, 8, 1, 1], 1, 1);
        let mut eighth = layer(self, &quarter, [16, 12, 3, 3], 2, 1);
        if export.attention {
            let mean = self.node("GlobalAveragePool", &[&eighth], &[]);
            let narrow = layer(self, &mean, [4, 16, 1, 1], 1, 1);
            let gate = self.convolution(&narrow, [16, 4, 1, 1], 1, 1);
            let gate = self.node("HardSigmoid", &[&gate], &[]);
            eighth = self.node("Mul", &[&gate, &eighth], &[]);
        }
        if export.split {
            let halves = self.integers(&[8, 8]);
            let first = self.node("Split", &[&eighth, &halves], &[("axis", &[1])]);
            let second = format!("{first} second");
            self.nodes.last_mut().expect("a node").output.push(second.clone());
            let second = layer(self, &second, [8, 8, 3, 3], 1, 1);
            eighth = self.node("Concat", &[&first, &second], &[("axis", &[1])]);
        }
        let sixteenth = layer(self, &eighth, [20, 16, 3, 3], 2, 1);
        let last = layer(self, &sixteenth, [24, 20, 3, 3], 2, 1);
        let stages = [(&eighth, 16), (&sixteenth, 20), (&last, 24)];
        let [eighth, sixteenth, top] =
            stages.map(|(value, channels)| layer(self, value, [FEATURES, channels, 1, 1], 1, 1));
        let middle = self.merge(&sixteenth, &top, 16, export);
        let bottom = self.merge(&eighth, &middle, 8, export);
        vec![bottom, middle, top]
    }

    /// `lateral`, of this stride, with the features from above.
    fn merge(&mut self, lateral: &str, above: &str, stride: i64, export: &Export) -> String {
        let larger = self.enlarged(lateral, above, stride, export);
        let sum = self.node("Add", &[lateral, &larger], &[]);
        let merged = self.convolution(&sum, [FEATURES, FEATURES, 3, 3], 1, 1);
        self.activation(&merged, export.activation)
    }

    fn enlarged(&mut self, lateral: &str, above: &str, stride: i64, export: &Export) -> String {
        match export.enlargement {
            Enlargement::Sizes => {
                let [zero, two, four] = [0, 2, 4].map(|index| self.integers(&[index]));
                let shape = self.node("Shape", &[lateral], &[]);
                let spatial = self.node("Slice", &[&shape, &two, &four], &[]);
                let shape = self.node("Shape", &[above], &[]);
                let outer = self.node("Slice", &[&shape, &zero, &two], &[]);
                let sizes = self.node("Concat", &[&outer, &spatial], &[("axis", &[0])]);
                // Before opset 13 they have to be there, if empty.
                let none = match export.opset {
                    ..13 => self.floats(&[0], &[]),
                    _ => String::new(),
                };
                self.node("Resize", &[above, &none, &none, &sizes], &[])
            }
            Enlargement::Dynamo => {
                let at = if export.channels_last { 1 } else { 2 };
                let sizes = [at, at + 1].map(|axis| {
                    let list =
                        self.node("Shape", &[INPUT], &[("start", &[axis]), ("end", &[axis + 1])]);
                    let size = self.node("Squeeze", &[&list], &[]);
                    let [minus_one, one, step] =
                        [-1, 1, stride].map(|value| self.integer_scalar(value));
                    let before = self.node("Add", &[&minus_one, &size], &[]);
                    let cells = self.node("Div", &[&before, &step], &[]);
                    let cells = self.node("Add", &[&one, &cells], &[]);
                    let open = self.integers(&[-1]);
                    self.node("Reshape", &[&cells, &open], &[("allowzero", &[0])])
                });
                let spatial = self.node("Concat", &[&sizes[0], &sizes[1]], &[("axis", &[0])]);
                let outer = self.integers(&[export.batch.unwrap_or(1), FEATURES]);
                let sizes = self.node("Concat", &[&outer, &spatial], &[("axis", &[0])]);
                self.node("Resize", &[above, "", "", &sizes], &[])
            }
            Enlargement::Scales => {
                let scales = self.floats(&[4], &[1.0, 1.0, 2.0, 2.0]);
                self.node("Resize", &[above, "", &scales], &[])
            }
            Enlargement::TransposedConvolution => {
                let weights: Vec<_> = self.noise(FEATURES * 4);
                let weights = self.floats(&[FEATURES, 1, 2, 2], &weights);
                let attributes: &[(&str, &[i64])] =
                    &[("kernel_shape", &[2, 2]), ("strides", &[2, 2]), ("group", &[FEATURES])];
                self.node("ConvTranspose", &[above, &weights], attributes)
            }
        }
    }

    /// The convolution of a head of this name; returns its output, which has the name, too.
    fn head(
        &mut self,
        name: &str,
        features: &str,
        values: i64,
        calibration: &Calibration,
    ) -> String {
        let output = self.convolution(features, [ANCHORS * values, FEATURES, 1, 1], 1, 1);
        let [weights, bias] =
            &mut self.tensors[..].last_chunk_mut::<2>().expect("the convolution's");
        let (factor, last) = calibration.get(name).copied().unwrap_or((1.0, [0.0; 2]));
        let weights_now: Vec<f32> = read(weights).iter().map(|weight| weight * factor).collect();
        let mut bias_now = vec![0.0; (ANCHORS * values) as usize];
        for (anchor, value) in last.into_iter().enumerate() {
            bias_now[(anchor + 1) * values as usize - 1] = value;
        }
        for (tensor, values) in [(weights, weights_now), (bias, bias_now)] {
            tensor.raw_data = Some(values.iter().flat_map(|value| value.to_le_bytes()).collect());
        }
        self.rename(&output, name);
        name.into()
    }

    fn export(self, export: &Export) -> ModelProto {
        let Export { batch, width, height, .. } = *export;
        let mut shape = [batch, Some(3), height, width];
        if export.channels_last {
            shape[1..].rotate_left(1);
        }
        self.finish(value(INPUT, &shape), export.opset)
    }
}

fn read(tensor: &TensorProto) -> Vec<f32> {
    tensor.floats().expect("floats")
}
