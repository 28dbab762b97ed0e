// SPDX-License-Identifier: MIT OR Apache-2.0

//! biubug6/Pytorch_Retinaface and its descendants: one output for all levels, channels last, SSD's
//! coding with variances.

use super::{
    family::{
        Family, HeadConvolutions, MAX_LEVELS, Network, RawScores, Recognised, RecognisedLevel,
        Scores, distinct, points,
    },
    level::{BOX_VALUES, Cell, LANDMARK_VALUES, Level, View, cells},
    trace::{Branch, branch, softmax_axis},
};
use crate::{
    face::Landmarks,
    geometry::{Point, Rect},
    onnx::{
        graph::Graph,
        messages::{GraphProto, ValueInfoProto},
    },
    preprocess::Normalisation,
};

#[derive(Clone, Copy, Debug)]
pub struct PyTorch;

const ANCHORS: usize = 2;
/// Background and face of each anchor.
const SCORES: usize = 2;
/// Of the levels of the published networks.
const STRIDES: [u32; 3] = [8, 16, 32];
/// Blue, green and red of the mean of the training pictures, data/wider_face.py.
const MEAN: [f32; 3] = [104.0, 117.0, 123.0];
/// `variance` of data/config.py, of centres and landmarks, and of sizes.
const CENTRE_VARIANCE: f32 = 0.1;
const SIZE_VARIANCE: f32 = 0.2;

/// The centre and side of an anchor, a "prior" of layers/functions/prior_box.py: sides 16, 32 | 64,
/// 128 | 256, 512 for strides 8, 16 and 32, the smaller first.
fn anchor(cell: &Cell) -> (Point, f32) {
    let small = (cell.stride * cell.stride) as f32 / 4.0;
    let centre = |position: usize| (position as f32 + 0.5) * cell.stride as f32;
    let side = small * (cell.anchor + 1) as f32;
    (Point { x: centre(cell.x), y: centre(cell.y) }, side)
}

impl Family for PyTorch {
    fn name(&self) -> &'static str {
        "RetinaFace (PyTorch)"
    }

    /// By the structure behind the outputs, whatever their names; by the outputs' shapes and names
    /// where that is not recognised.
    fn recognise(&self, network: &Network) -> Result<Option<Recognised>, RawScores> {
        match by_structure(network)? {
            Some(recognised) => Ok(Some(recognised)),
            None => Ok(by_shapes(network.proto, network.size)),
        }
    }

    fn normalisation(&self) -> Normalisation {
        Normalisation { mean: MEAN, padding: MEAN, ..Normalisation::NONE }
    }

    fn anchors(&self) -> usize {
        ANCHORS
    }

    /// Background and face of one anchor, then of the other.
    fn scores(&self) -> Scores {
        Scores::Pairs(&[(0, 1), (2, 3)])
    }

    /// All levels one after the other; values of an anchor side by side.
    fn level(&self, level: &RecognisedLevel, grid: (usize, usize), cells_before: usize) -> Level {
        let view = |output, values| View {
            output,
            offset: ANCHORS * cells_before * values,
            cell: ANCHORS * values,
            anchor: values,
            channel: 1,
        };
        let scores = view(level.scores, SCORES);
        Level {
            stride: level.stride,
            grid,
            anchors: ANCHORS,
            // Background first, then face.
            score: View { offset: scores.offset + 1, ..scores },
            objectness: None,
            boxes: view(level.boxes, BOX_VALUES),
            landmarks: level.landmarks.map(|output| view(output, LANDMARK_VALUES)),
        }
    }

    /// `decode` of utils/box_utils.py.
    fn bounds(&self, cell: &Cell, [dx, dy, dw, dh]: [f32; 4]) -> Rect {
        let (centre, side) = anchor(cell);
        let centre_x = centre.x + dx * CENTRE_VARIANCE * side;
        let centre_y = centre.y + dy * CENTRE_VARIANCE * side;
        let half_width = side * (dw * SIZE_VARIANCE).exp() / 2.0;
        let half_height = side * (dh * SIZE_VARIANCE).exp() / 2.0;
        Rect::around(Point { x: centre_x, y: centre_y }, half_width, half_height)
    }

    /// `decode_landm` of utils/box_utils.py.
    fn landmarks(&self, cell: &Cell, values: [f32; 10]) -> Landmarks {
        let (centre, side) = anchor(cell);
        points(centre, CENTRE_VARIANCE * side, values)
    }
}

/// An output: the same values of all levels, one after the other.
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

fn by_structure(network: &Network) -> Result<Option<Recognised>, RawScores> {
    let Network { proto, graph, input, .. } = network;
    let traces: Vec<_> = (proto.output.iter().enumerate())
        .filter_map(|(index, output)| Trace::new(graph, index, output.name()))
        .collect();
    let find = |values| traces.iter().find(|trace| trace.has_values(values));
    let (Some(scores), Some(boxes)) = (find(SCORES), find(BOX_VALUES)) else {
        return Ok(None);
    };
    let landmarks = find(LANDMARK_VALUES);
    let Some(levels) = traced_levels(graph, input, scores, boxes, landmarks) else {
        return Ok(None);
    };
    if !scores.has_softmax() {
        return Err(RawScores);
    }
    let outputs = [Some(boxes), Some(scores), landmarks].into_iter().flatten();
    let outputs = outputs.map(|trace| proto.output[trace.output].name().to_owned()).collect();
    Ok(Some(Recognised { family: &PyTorch, outputs, levels }))
}

fn traced_levels(
    graph: &Graph,
    input: &str,
    scores: &Trace,
    boxes: &Trace,
    landmarks: Option<&Trace>,
) -> Option<Vec<RecognisedLevel>> {
    let count = scores.branches.len();
    let same_count = |trace: &&Trace| trace.branches.len() == count;
    if !same_count(&boxes) || !landmarks.iter().all(same_count) {
        return None;
    }
    let strides = graph.strides(input);
    let stride = |convolution: usize| {
        let (across, down) = *strides.get(graph.nodes[convolution].output.first()?.as_str())?;
        u32::try_from(across).ok().filter(|_| across == down)
    };
    let level = |index: usize| {
        let convolutions = HeadConvolutions {
            scores: scores.branches[index].convolution,
            objectness: None,
            boxes: boxes.branches[index].convolution,
            landmarks: landmarks.map(|trace| trace.branches[index].convolution),
        };
        let others = [Some(convolutions.boxes), convolutions.landmarks];
        let level = stride(convolutions.scores)?;
        others
            .into_iter()
            .flatten()
            .all(|other| stride(other) == Some(level))
            .then(|| recognised_level(level, landmarks.is_some(), Some(convolutions)))
    };
    let levels: Vec<_> = (0..count).map(level).collect::<Option<_>>()?;
    distinct(&levels).then_some(levels)
}

fn recognised_level(
    stride: u32,
    landmarks: bool,
    convolutions: Option<HeadConvolutions>,
) -> RecognisedLevel {
    let landmarks = landmarks.then_some(2);
    RecognisedLevel { stride, scores: 1, objectness: None, boxes: 0, landmarks, convolutions }
}

/// For networks that were changed so much that their structure is not recognised. All three outputs
/// are asked for, and where the input's size is fixed, the right number of anchors: other detectors
/// have boxes and scores as well.
fn by_shapes(proto: &GraphProto, size: Option<(u32, u32)>) -> Option<Recognised> {
    let anchors = |(width, height): (u32, u32)| -> usize {
        STRIDES.map(|stride| ANCHORS * cells(width, stride) * cells(height, stride)).iter().sum()
    };
    let outputs = [
        find_output(proto, BOX_VALUES, &["loc", "box"], size.map(anchors))?,
        find_output(proto, SCORES, &["conf", "score", "cls"], size.map(anchors))?,
        find_output(proto, LANDMARK_VALUES, &["landm", "ldm", "kps"], size.map(anchors))?,
    ];
    let levels = STRIDES.map(|stride| recognised_level(stride, true, None)).into();
    Some(Recognised { family: &PyTorch, outputs: outputs.into(), levels })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(stride: u32, x: usize, y: usize, anchor: usize) -> Cell {
        Cell { stride, x, y, anchor }
    }

    /// prior_box.py with the min_sizes of config.py, [[16, 32], [64, 128], [256, 512]], and steps 8,
    /// 16 and 32: the centre of cell (j, i) is ((j + 0.5)·step, (i + 0.5)·step). Offsets of zero
    /// decode to the prior itself.
    #[test]
    fn priors_are_those_of_the_published_code() {
        let table = [
            // (3.5·8, 1.5·8) = (28, 12)
            (cell(8, 3, 1, 0), [28.0 - 8.0, 12.0 - 8.0, 28.0 + 8.0, 12.0 + 8.0]),
            (cell(8, 3, 1, 1), [28.0 - 16.0, 12.0 - 16.0, 28.0 + 16.0, 12.0 + 16.0]),
            // (0.5·16, 2.5·16) = (8, 40)
            (cell(16, 0, 2, 0), [8.0 - 32.0, 40.0 - 32.0, 8.0 + 32.0, 40.0 + 32.0]),
            (cell(16, 0, 2, 1), [8.0 - 64.0, 40.0 - 64.0, 8.0 + 64.0, 40.0 + 64.0]),
            // (5.5·32, 4.5·32) = (176, 144)
            (cell(32, 5, 4, 0), [176.0 - 128.0, 144.0 - 128.0, 176.0 + 128.0, 144.0 + 128.0]),
            (cell(32, 5, 4, 1), [176.0 - 256.0, 144.0 - 256.0, 176.0 + 256.0, 144.0 + 256.0]),
        ];
        for (cell, [x_min, y_min, x_max, y_max]) in table {
            let bounds = PyTorch.bounds(&cell, [0.0; 4]);
            assert_eq!(bounds, Rect::new(x_min, y_min, x_max, y_max), "{cell:?}");
        }
    }

    /// decode() of box_utils.py with the variances 0.1 and 0.2, at the prior (28, 12), side 16:
    /// centre x = 28 + 1·0.1·16 = 29.6, y = 12 − 2·0.1·16 = 8.8; with l = 5·ln 2, width = 16·e^(0.2·l) =
    /// 16·2 = 32, height = 16·e^(−0.2·l) = 8.
    #[test]
    fn boxes_are_decoded_as_published() {
        let l = 5.0 * std::f32::consts::LN_2;
        let bounds = PyTorch.bounds(&cell(8, 3, 1, 0), [1.0, -2.0, l, -l]);
        let expected = [29.6 - 16.0, 8.8 - 4.0, 29.6 + 16.0, 8.8 + 4.0];
        let found = [bounds.x_min, bounds.y_min, bounds.x_max, bounds.y_max];
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "{bounds:?}");
        }
    }

    /// decode_landm() of box_utils.py, at the prior (28, 12), side 32: one is 0.1·32 = 3.2 pixels.
    #[test]
    fn landmarks_are_decoded_as_published() {
        let values = [0.0, 0.0, 1.0, 0.0, 0.0, -1.0, 5.0, 2.5, -10.0, 10.0];
        let expected = [[28.0, 12.0], [31.2, 12.0], [28.0, 8.8], [44.0, 20.0], [-4.0, 44.0]];
        let landmarks = PyTorch.landmarks(&cell(8, 3, 1, 1), values);
        for (found, [x, y]) in landmarks.0.iter().zip(expected) {
            assert!((found.x - x).abs() < 1e-4 && (found.y - y).abs() < 1e-4, "{landmarks:?}");
        }
    }

    /// data/wider_face.py: `rgb_mean = (104, 117, 123) # bgr order`, and nothing is scaled.
    #[test]
    fn the_mean_is_the_published_one() {
        let Normalisation { mean, scale, order, padding } = PyTorch.normalisation();
        assert_eq!(padding, mean);
        assert_eq!((mean, scale), ([104.0, 117.0, 123.0], 1.0));
        assert_eq!(order, crate::preprocess::ChannelOrder::Bgr);
    }

    /// `[1, anchors, values]`: anchor a of cell c of a level is number 2·(cells before) + 2·c + a.
    #[test]
    fn levels_follow_each_other() {
        let level = recognised_level(16, true, None);
        let level = PyTorch.level(&level, (7, 4), 104);
        assert_eq!((level.stride, level.grid, level.anchors), (16, (7, 4), 2));
        let first = 2 * 104;
        let score = View { output: 1, offset: 2 * first + 1, cell: 4, anchor: 2, channel: 1 };
        assert_eq!(level.score, score);
        let boxes = View { output: 0, offset: 4 * first, cell: 8, anchor: 4, channel: 1 };
        assert_eq!(level.boxes, boxes);
        let landmarks = View { output: 2, offset: 10 * first, cell: 20, anchor: 10, channel: 1 };
        assert_eq!(level.landmarks, Some(landmarks));
    }
}
