// SPDX-License-Identifier: MIT OR Apache-2.0

//! From a network's output back to the convolution that makes its numbers.

use super::family::{HeadConvolutions, MAX_LEVELS, Network, RecognisedLevel};
use crate::onnx::{
    graph::{Graph, MAX_STEPS},
    messages::{NodeProto, ValueInfoProto},
};

/// The convolution behind a value, and what lies between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Index of the node.
    pub convolution: usize,
    /// Its output channels.
    pub channels: usize,
    pub softmax: bool,
    /// Whether channels were moved last.
    pub channels_last: bool,
}

/// Follows a value back over operators that only rearrange numbers, and softmax along one of
/// `axes`, to the convolution that made them.
pub fn branch<'a>(graph: &Graph<'a>, mut value: &'a str, axes: &[i64]) -> Option<Branch> {
    let (mut softmax, mut channels_last) = (false, false);
    for _ in 0..MAX_STEPS {
        let index = graph.origin(value)?;
        let node = &graph.nodes[index];
        match node.op() {
            "Conv" => {
                let channels = out_channels(graph, index)?;
                return Some(Branch { convolution: index, channels, softmax, channels_last });
            }
            "Softmax" if !softmax && axes.contains(&softmax_axis(node)) => softmax = true,
            "Transpose" if !channels_last && node.ints("perm") == [0, 2, 3, 1] => {
                channels_last = true;
            }
            "Reshape" | "Flatten" => {}
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

fn out_channels(graph: &Graph, convolution: usize) -> Option<usize> {
    let weights = graph.constant(graph.nodes[convolution].input.get(1)?)?;
    usize::try_from(*weights.dims.first()?).ok()
}

/// An output of one level that was followed back to its convolution: channels last, perhaps behind a
/// sigmoid.
#[derive(Clone, Copy, Debug)]
pub struct LevelOutput<'a> {
    pub name: &'a str,
    pub sigmoid: bool,
    pub channels: usize,
    pub stride: u32,
    pub convolution: usize,
}

impl<'a> LevelOutput<'a> {
    fn new(network: &'a Network, name: &'a str) -> Option<Self> {
        let graph = &network.graph;
        let last = &graph.nodes[graph.origin(name)?];
        let sigmoid = last.op() == "Sigmoid";
        let value = if sigmoid { last.input.first()? } else { name };
        let Branch { convolution, channels, .. } =
            branch(graph, value, &[]).filter(|branch| branch.channels_last)?;
        let output = graph.nodes[convolution].output.first()?;
        let (across, down) = *graph.strides(network.input).get(output.as_str())?;
        let stride = u32::try_from(across).ok().filter(|_| across == down)?;
        Some(Self { name, sigmoid, channels, stride, convolution })
    }
}

/// The only one of a level's outputs that is like this.
pub fn only(outputs: &[LevelOutput], is_it: impl Fn(&LevelOutput) -> bool) -> Option<usize> {
    let mut found = (0..outputs.len()).filter(|&index| is_it(&outputs[index]));
    let first = found.next();
    first.filter(|_| found.next().is_none())
}

/// The outputs and levels of a network whose every output is of one level. `classify` gets those of a
/// level, in the network's order, and says which of them are its scores, objectness, boxes and
/// landmarks. None if an output is left over: a network with more to say is another.
pub fn levels_of_outputs(
    network: &Network,
    classify: impl Fn(&[LevelOutput<'_>]) -> Option<[Option<usize>; 4]>,
) -> Option<(Vec<String>, Vec<RecognisedLevel>)> {
    let names = network.proto.output.iter().map(ValueInfoProto::name);
    if names.len() > 4 * MAX_LEVELS {
        return None;
    }
    let traced: Vec<_> =
        names.map(|name| LevelOutput::new(network, name)).collect::<Option<_>>()?;
    let mut strides: Vec<u32> = traced.iter().map(|output| output.stride).collect();
    strides.sort_unstable();
    strides.dedup();
    let (mut outputs, mut levels) = (Vec::new(), Vec::new());
    for stride in strides {
        let level: Vec<_> =
            traced.iter().copied().filter(|output| output.stride == stride).collect();
        let kinds = classify(&level)?;
        if kinds.iter().flatten().count() != level.len() {
            return None;
        }
        let [scores, objectness, boxes, landmarks] =
            kinds.map(|index| index.map(|index| level[index]));
        let (scores, boxes) = (scores?, boxes?);
        let mut place = |output: LevelOutput| {
            outputs.push(output.name.to_owned());
            outputs.len() - 1
        };
        levels.push(RecognisedLevel {
            stride,
            scores: place(scores),
            objectness: objectness.map(&mut place),
            boxes: place(boxes),
            landmarks: landmarks.map(&mut place),
            convolutions: Some(HeadConvolutions {
                scores: scores.convolution,
                objectness: objectness.map(|output| output.convolution),
                boxes: boxes.convolution,
                landmarks: landmarks.map(|output| output.convolution),
            }),
        });
    }
    (!levels.is_empty() && levels.len() <= MAX_LEVELS).then_some((outputs, levels))
}
