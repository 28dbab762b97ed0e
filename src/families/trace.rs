// SPDX-License-Identifier: MIT OR Apache-2.0

//! From a network's output back to the convolution that makes its numbers.

use std::collections::HashSet;

use super::family::{
    Activation, Family, HeadConvolutions, MAX_LEVELS, Network, Recognised, RecognisedLevel, Scores,
};
use crate::onnx::{
    graph::{Graph, MAX_STEPS},
    messages::{DataType, NodeProto, ValueInfoProto},
};

/// The convolution behind a value, and what lies between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Index of the node.
    pub convolution: usize,
    /// Its output channels.
    pub channels: usize,
    pub activation: Option<Activation>,
    /// Whether channels were moved last.
    pub channels_last: bool,
}

impl Branch {
    /// Whether it has so many channels, in the last place, behind this activation.
    pub fn gives(&self, channels: usize, activation: Option<Activation>) -> bool {
        self.channels_last && (self.channels, self.activation) == (channels, activation)
    }
}

/// Follows a value back over operators that only rearrange numbers, and a sigmoid or a softmax along
/// one of `axes`, to the convolution that made them.
pub fn branch<'a>(graph: &Graph<'a>, mut value: &'a str, axes: &[i64]) -> Option<Branch> {
    let (mut activation, mut channels_last) = (None, false);
    for _ in 0..MAX_STEPS {
        let index = graph.origin(value)?;
        let node = &graph.nodes[index];
        match node.op() {
            "Conv" => {
                let channels = out_channels(graph, index)?;
                return Some(Branch { convolution: index, channels, activation, channels_last });
            }
            "Softmax" if activation.is_none() && axes.contains(&softmax_axis(node)) => {
                activation = Some(Activation::Softmax);
            }
            "Sigmoid" if activation.is_none() => activation = Some(Activation::Sigmoid),
            // With the batch in front, without it, and with it behind.
            "Transpose"
                if !channels_last
                    && matches!(node.ints("perm"), [0, 2, 3, 1] | [1, 2, 0] | [2, 3, 0, 1]) =>
            {
                channels_last = true;
            }
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => {}
            // What other floats there were are these by now.
            "Cast" if node.int("to") == Some(DataType::Float as i64) => {}
            "Gather" if takes_first(graph, node) => {}
            _ => return None,
        }
        value = node.input.first()?;
    }
    None
}

pub fn softmax_axis(node: &NodeProto) -> i64 {
    // Before opset 13 the default was another, at which no detector's softmax makes sense.
    node.int("axis").unwrap_or(-1)
}

/// Whether a `Gather` leaves out the batch.
pub fn takes_first<'a>(graph: &Graph<'a>, node: &'a NodeProto) -> bool {
    let indices = node.input.get(1).and_then(|value| graph.constant(value)?.integers());
    node.int("axis").unwrap_or(0) == 0 && indices.is_some_and(|indices| indices == [0])
}

fn out_channels(graph: &Graph, convolution: usize) -> Option<usize> {
    let weights = graph.constant(graph.nodes[convolution].input.get(1)?)?;
    usize::try_from(*weights.dims.first()?).ok()
}

/// What happens to numbers between convolutions and an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// They are rearranged, and perhaps become probabilities.
    Rearranged(Option<Activation>),
    /// Something is computed of them.
    Computed,
    /// Operators are met that nothing is known of.
    Unknown,
}

impl Way {
    /// The way to the output of this name.
    pub fn to<'a>(graph: &Graph<'a>, output: &'a str) -> Self {
        let mut activation = None;
        let (mut open, mut seen) = (vec![output], HashSet::new());
        let mut reached = false;
        while let Some(value) = open.pop() {
            let Some(index) = graph.origin(value) else { return Self::Unknown };
            if !seen.insert(index) {
                continue;
            }
            let node = &graph.nodes[index];
            match node.op() {
                "Conv" | "ConvTranspose" | "Gemm" | "MatMul" => {
                    reached = true;
                    continue;
                }
                "Softmax" => activation = Some(Activation::Softmax),
                "Sigmoid" => activation = Some(Activation::Sigmoid),
                "Concat" => {
                    open.extend(node.input.iter().map(String::as_str));
                    continue;
                }
                "Cast" | "DequantizeLinear" | "Flatten" | "Gather" | "QuantizeLinear"
                | "Reshape" | "Slice" | "Split" | "Squeeze" | "Transpose" | "Unsqueeze" => {}
                "Add" | "Clip" | "Div" | "Exp" | "Max" | "Min" | "Mul" | "Neg" | "Pow" | "Sub" => {
                    return Self::Computed;
                }
                _ => return Self::Unknown,
            }
            open.extend(node.input.first().map(String::as_str));
        }
        if reached { Self::Rearranged(activation) } else { Self::Unknown }
    }
}

/// Whether there is a sigmoid on any way from a convolution to the output of this name.
pub fn has_sigmoid<'a>(graph: &Graph<'a>, output: &'a str) -> bool {
    let (mut open, mut seen) = (vec![output], HashSet::new());
    while let Some(value) = open.pop() {
        let Some(index) = graph.origin(value).filter(|&index| seen.insert(index)) else { continue };
        let node = &graph.nodes[index];
        match node.op() {
            "Conv" => {}
            "Sigmoid" => return true,
            _ => open.extend(node.input.iter().map(String::as_str)),
        }
    }
    false
}

/// An output of one level that was followed back to its convolution.
#[derive(Clone, Copy, Debug)]
pub struct LevelOutput<'a> {
    pub name: &'a str,
    pub stride: u32,
    pub branch: Branch,
}

impl<'a> LevelOutput<'a> {
    /// `axes`: of a softmax.
    fn new(network: &'a Network, name: &'a str, axes: &[i64]) -> Option<Self> {
        let branch = branch(&network.graph, name, axes)?;
        Some(Self { name, stride: network.stride(branch.convolution)?, branch })
    }
}

/// Which of a level's outputs are its scores, objectness, boxes and landmarks, and its anchors.
pub struct Kinds {
    pub anchors: usize,
    pub scores: usize,
    pub objectness: Option<usize>,
    pub boxes: usize,
    pub landmarks: Option<usize>,
}

/// The only one of a level's outputs that is like this.
pub fn only(outputs: &[LevelOutput], is_it: impl Fn(&Branch) -> bool) -> Option<usize> {
    let mut found = (0..outputs.len()).filter(|&index| is_it(&outputs[index].branch));
    let first = found.next();
    first.filter(|_| found.next().is_none())
}

/// The outputs and levels of a network whose every output is of one level. `classify` gets those of a
/// level, in the network's order. None if an output is left over: a network with more to say is
/// another.
pub fn levels_of_outputs(
    network: &Network,
    axes: &[i64],
    classify: impl Fn(&[LevelOutput<'_>]) -> Option<Kinds>,
) -> Option<(Vec<String>, Vec<RecognisedLevel>)> {
    let names = network.proto.output.iter().map(ValueInfoProto::name);
    if names.len() > 4 * MAX_LEVELS {
        return None;
    }
    let traced: Vec<_> =
        names.map(|name| LevelOutput::new(network, name, axes)).collect::<Option<_>>()?;
    let mut strides: Vec<u32> = traced.iter().map(|output| output.stride).collect();
    strides.sort_unstable();
    strides.dedup();
    let (mut outputs, mut levels) = (Vec::new(), Vec::new());
    for stride in strides {
        let level: Vec<_> =
            traced.iter().copied().filter(|output| output.stride == stride).collect();
        let kinds = classify(&level)?;
        let known =
            2 + usize::from(kinds.objectness.is_some()) + usize::from(kinds.landmarks.is_some());
        if known != level.len() {
            return None;
        }
        let convolution = |index: usize| level[index].branch.convolution;
        let convolutions = HeadConvolutions {
            scores: convolution(kinds.scores),
            objectness: kinds.objectness.map(convolution),
            boxes: convolution(kinds.boxes),
            landmarks: kinds.landmarks.map(convolution),
        };
        let mut place = |index: usize| {
            outputs.push(level[index].name.to_owned());
            outputs.len() - 1
        };
        levels.push(RecognisedLevel {
            stride,
            anchors: kinds.anchors,
            scores: place(kinds.scores),
            objectness: kinds.objectness.map(&mut place),
            boxes: place(kinds.boxes),
            landmarks: kinds.landmarks.map(&mut place),
            convolutions: Some(convolutions),
        });
    }
    (!levels.is_empty() && levels.len() <= MAX_LEVELS).then_some((outputs, levels))
}

/// A network of `family` of which every output is of one level, channels last, and whose scores are
/// logits behind a sigmoid, or raw. `classify` gets the outputs of a level and what its scores are
/// behind.
pub fn with_logits(
    network: &Network,
    family: &'static dyn Family,
    classify: impl Fn(&[LevelOutput<'_>], Option<Activation>) -> Option<Kinds>,
) -> Option<Recognised> {
    [Some(Activation::Sigmoid), None].into_iter().find_map(|activation| {
        let classify = |outputs: &[LevelOutput<'_>]| classify(outputs, activation);
        let (outputs, levels) = levels_of_outputs(network, &[], classify)?;
        let missing = activation.is_none().then_some(Activation::Sigmoid);
        Some(Recognised { family, outputs, scores: Scores::Logits, missing, levels })
    })
}
