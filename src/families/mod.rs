// SPDX-License-Identifier: MIT OR Apache-2.0

//! Recognising RetinaFace networks: which outputs, and which convolutions behind them, are what.

use crate::onnx::graph::{Graph, MAX_STEPS};
use crate::onnx::messages::{GraphProto, NodeProto, ValueInfoProto};
use heads::{Coding, cells};

pub mod anchors;
pub mod heads;

/// The two published families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// biubug6/Pytorch_Retinaface and its descendants: one output for all levels, channels last.
    PyTorch,
    /// InsightFace's MXNet networks: outputs a level, channels first.
    InsightFace,
}

impl Family {
    /// What is subtracted from blue, green and red: the mean of the pictures that PyTorch's networks
    /// were trained on, nothing for InsightFace's.
    pub fn mean(self) -> [f32; 3] {
        match self {
            Family::PyTorch => [104.0, 117.0, 123.0],
            Family::InsightFace => [0.0; 3],
        }
    }

    pub fn coding(self) -> Coding {
        match self {
            Family::PyTorch => Coding::Ssd,
            Family::InsightFace => Coding::FasterRcnn,
        }
    }
}

/// What a network's outputs are.
pub struct Anatomy {
    pub family: Family,
    /// The names of the outputs that are needed.
    pub outputs: Vec<String>,
    /// In the network's order.
    pub levels: Vec<NetworkLevel>,
}

/// One level of the feature pyramid. The outputs are indices into [`Anatomy::outputs`].
pub struct NetworkLevel {
    pub stride: u32,
    pub scores: usize,
    pub boxes: usize,
    pub landmarks: Option<usize>,
    /// The convolutions behind the outputs; none where they could not be traced.
    pub convolutions: Option<HeadConvolutions>,
}

/// Indices of the nodes whose outputs are a level's raw numbers.
#[derive(Clone, Copy)]
pub struct HeadConvolutions {
    pub scores: usize,
    pub boxes: usize,
    pub landmarks: Option<usize>,
}

/// Why a network is not recognised.
pub enum Unrecognised {
    /// It is RetinaFace but ends in raw scores, as networks exported for training do.
    RawScores,
    Foreign,
}

/// Values for one anchor; each cell has two anchors.
pub const SCORES: usize = 2;
pub const BOXES: usize = 4;
pub const LANDMARKS: usize = 10;
pub const ANCHORS: usize = 2;

/// More levels than any published network has; keeps the work for a strange file small.
const MAX_LEVELS: usize = 8;

/// Recognises the network in `proto`, whose image input is `input` and, where that is fixed, of
/// `size`.
pub fn recognise(
    proto: &GraphProto,
    input: &str,
    size: Option<(u32, u32)>,
) -> Result<Anatomy, Unrecognised> {
    if let Some(anatomy) = insightface(proto) {
        return Ok(anatomy);
    }
    match traced_pytorch(proto, input)? {
        Some(anatomy) => Ok(anatomy),
        None => shaped_pytorch(proto, size).ok_or(Unrecognised::Foreign),
    }
}

/// Where a part of an output comes from.
#[derive(Clone, Copy)]
struct Branch {
    convolution: usize,
    channels: usize,
    softmax: bool,
    channels_last: bool,
}

/// Follows a value back over operators that only rearrange numbers, and softmax along one of
/// `axes`, to the convolution that made them.
fn branch<'a>(graph: &Graph<'a>, mut value: &'a str, axes: &[i64]) -> Option<Branch> {
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

fn softmax_axis(node: &NodeProto) -> i64 {
    // Before opset 13 the default was another, at which no detector's softmax makes sense.
    node.int("axis").unwrap_or(-1)
}

fn out_channels(graph: &Graph, convolution: usize) -> Option<usize> {
    let weights = graph.constant(graph.nodes[convolution].input.get(1)?)?;
    usize::try_from(*weights.dims.first()?).ok()
}

/// An output of the PyTorch family: the same values of all levels, one after the other.
struct Trace {
    output: usize,
    branches: Vec<Branch>,
}

impl Trace {
    fn new<'a>(graph: &Graph<'a>, output: usize, name: &'a str) -> Option<Self> {
        // Of `[1, anchors, values]`.
        const AXES: &[i64] = &[-1, 2];
        let mut value = name;
        let mut softmax = false;
        if let Some(node) = graph.origin(value).map(|index| &graph.nodes[index])
            && node.op() == "Softmax"
            && AXES.contains(&softmax_axis(node))
        {
            softmax = true;
            value = node.input.first()?;
        }
        let concat = graph.origin(value).map(|index| &graph.nodes[index])?;
        let parts = match (concat.op(), concat.int("axis")) {
            ("Concat", Some(1 | -2)) => concat.input.iter().map(String::as_str).collect(),
            _ => vec![value],
        };
        if parts.len() > MAX_LEVELS {
            return None;
        }
        let branches = parts.into_iter().map(|part| {
            let branch = branch(graph, part, AXES).filter(|branch| !(softmax && branch.softmax))?;
            Some(Branch { softmax: softmax || branch.softmax, ..branch })
        });
        Some(Self { output, branches: branches.collect::<Option<_>>()? })
    }

    /// Whether every level has this many values an anchor.
    fn has_values(&self, values: usize) -> bool {
        self.branches
            .iter()
            .all(|branch| branch.channels_last && branch.channels == ANCHORS * values)
    }

    fn has_softmax(&self) -> bool {
        self.branches.iter().all(|branch| branch.softmax)
    }
}

/// The PyTorch family by its structure, whatever the names.
fn traced_pytorch(proto: &GraphProto, input: &str) -> Result<Option<Anatomy>, Unrecognised> {
    let graph = Graph::new(proto);
    let traces: Vec<_> = (proto.output.iter().enumerate())
        .filter_map(|(index, output)| Trace::new(&graph, index, output.name()))
        .collect();
    let find = |values| traces.iter().find(|trace| trace.has_values(values));
    let (Some(scores), Some(boxes)) = (find(SCORES), find(BOXES)) else {
        return Ok(None);
    };
    let landmarks = find(LANDMARKS);
    let Some(levels) = traced_levels(&graph, input, scores, boxes, landmarks) else {
        return Ok(None);
    };
    if !scores.has_softmax() {
        return Err(Unrecognised::RawScores);
    }
    let outputs = [Some(boxes), Some(scores), landmarks].into_iter().flatten();
    let outputs = outputs.map(|trace| proto.output[trace.output].name().to_owned()).collect();
    Ok(Some(Anatomy { family: Family::PyTorch, outputs, levels }))
}

fn traced_levels(
    graph: &Graph,
    input: &str,
    scores: &Trace,
    boxes: &Trace,
    landmarks: Option<&Trace>,
) -> Option<Vec<NetworkLevel>> {
    let count = scores.branches.len();
    let same_count = |trace: &&Trace| trace.branches.len() == count;
    if !same_count(&boxes) || !landmarks.iter().all(same_count) {
        return None;
    }
    let strides = graph.strides(input);
    let stride = |convolution: usize| {
        let (across, down) = *strides.get(graph.nodes[convolution].output.first()?.as_str())?;
        u32::try_from(across).ok().filter(|_| across == down && across > 0)
    };
    let level = |index: usize| {
        let convolutions = HeadConvolutions {
            scores: scores.branches[index].convolution,
            boxes: boxes.branches[index].convolution,
            landmarks: landmarks.map(|trace| trace.branches[index].convolution),
        };
        let others = [Some(convolutions.boxes), convolutions.landmarks];
        let level = stride(convolutions.scores)?;
        others
            .into_iter()
            .flatten()
            .all(|other| stride(other) == Some(level))
            .then(|| pytorch_level(level, landmarks.is_some(), Some(convolutions)))
    };
    let levels: Vec<_> = (0..count).map(level).collect::<Option<_>>()?;
    distinct(&levels).then_some(levels)
}

/// Two levels of one stride would leave open which anchors are whose.
fn distinct(levels: &[NetworkLevel]) -> bool {
    let earlier = |index: usize| &levels[..index];
    (levels.iter().enumerate())
        .all(|(index, level)| earlier(index).iter().all(|other| other.stride != level.stride))
}

fn pytorch_level(
    stride: u32,
    landmarks: bool,
    convolutions: Option<HeadConvolutions>,
) -> NetworkLevel {
    let landmarks = landmarks.then_some(2);
    NetworkLevel { stride, scores: 1, boxes: 0, landmarks, convolutions }
}

/// The PyTorch family by its outputs' shapes and names, for networks that were changed so much
/// that their structure is not recognised. All three outputs are asked for, and where the input's
/// size is fixed, the right number of anchors: other detectors have boxes and scores as well.
fn shaped_pytorch(proto: &GraphProto, size: Option<(u32, u32)>) -> Option<Anatomy> {
    const STRIDES: [u32; 3] = [8, 16, 32];
    let anchors = |(width, height): (u32, u32)| -> usize {
        STRIDES.map(|stride| ANCHORS * cells(width, stride) * cells(height, stride)).iter().sum()
    };
    let outputs = [
        find_output(proto, BOXES, &["loc", "box"], size.map(anchors))?,
        find_output(proto, SCORES, &["conf", "score", "cls"], size.map(anchors))?,
        find_output(proto, LANDMARKS, &["landm", "ldm", "kps"], size.map(anchors))?,
    ];
    let levels = STRIDES.map(|stride| pytorch_level(stride, true, None)).into();
    Some(Anatomy { family: Family::PyTorch, outputs: outputs.into(), levels })
}

/// The only output of shape `[1, anchors, values]`; an open size fits every number, and an open
/// number of values needs one of the names.
fn find_output(
    proto: &GraphProto,
    values: usize,
    names: &[&str],
    anchors: Option<usize>,
) -> Option<String> {
    let fits = |output: &&ValueInfoProto| {
        let Some((_, [_, count, last])) = output.tensor() else {
            return false;
        };
        let is =
            |size: Option<i64>, wanted: usize| size.map(|size| usize::try_from(size) == Ok(wanted));
        let name = output.name().to_ascii_lowercase();
        is(last.size(), values).unwrap_or_else(|| names.iter().any(|part| name.contains(part)))
            && anchors.is_none_or(|anchors| is(count.size(), anchors).unwrap_or(true))
    };
    let mut outputs = proto.output.iter().filter(fits);
    let output = outputs.next()?;
    outputs.next().is_none().then(|| output.name().to_owned())
}

/// InsightFace's family by its outputs' published names.
fn insightface(proto: &GraphProto) -> Option<Anatomy> {
    let graph = Graph::new(proto);
    let mut outputs = Vec::new();
    let mut levels = Vec::new();
    for name in proto.output.iter().map(ValueInfoProto::name) {
        let Some(stride) = name.strip_prefix("face_rpn_cls_prob_reshape_stride") else {
            continue;
        };
        let stride = stride.parse().ok().filter(|&stride: &u32| stride > 0)?;
        let find = |prefix: &str| {
            let wanted = format!("{prefix}{stride}");
            proto.output.iter().map(ValueInfoProto::name).find(|name| *name == wanted)
        };
        let boxes = find("face_rpn_bbox_pred_stride")?;
        let landmarks = find("face_rpn_landmark_pred_stride");
        levels.push(NetworkLevel {
            stride,
            scores: outputs.len(),
            boxes: outputs.len() + 1,
            landmarks: landmarks.map(|_| outputs.len() + 2),
            convolutions: insightface_convolutions(&graph, name, boxes, landmarks),
        });
        outputs.extend([Some(name), Some(boxes), landmarks].into_iter().flatten());
    }
    let outputs = outputs.into_iter().map(str::to_owned).collect();
    let found = !levels.is_empty() && distinct(&levels);
    found.then_some(Anatomy { family: Family::InsightFace, outputs, levels })
}

fn insightface_convolutions<'a>(
    graph: &Graph<'a>,
    scores: &'a str,
    boxes: &'a str,
    landmarks: Option<&'a str>,
) -> Option<HeadConvolutions> {
    let find = |output: &'a str, values: usize, softmax: bool| {
        // Of `[1, 2, 2·rows, columns]`.
        let branch = branch(graph, output, &[1, -3])?;
        let fits = branch.channels == ANCHORS * values
            && branch.softmax == softmax
            && !branch.channels_last;
        fits.then_some(branch.convolution)
    };
    Some(HeadConvolutions {
        scores: find(scores, SCORES, true)?,
        boxes: find(boxes, BOXES, false)?,
        landmarks: match landmarks {
            Some(landmarks) => Some(find(landmarks, LANDMARKS, false)?),
            None => None,
        },
    })
}
