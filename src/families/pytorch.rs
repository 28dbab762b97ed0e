// SPDX-License-Identifier: MIT OR Apache-2.0

//! biubug6/Pytorch_Retinaface and its descendants: one output for all levels, channels last, SSD's
//! coding with variances.

use super::{
    family::{
        Activation, Family, HeadConvolutions, MAX_LEVELS, Network, Order, Others, Recognised,
        RecognisedLevel, Scores, Unusable, declared, distinct, points,
    },
    level::{BOX_VALUES, Cell, LANDMARK_VALUES, Level, View, cells},
    trace::{Branch, Way, branch, softmax_axis, takes_first},
};
use crate::{
    face::Landmarks,
    geometry::{Point, Rect},
    onnx::messages::ValueInfoProto,
    preprocess::Normalisation,
};

/// The networks of one set of anchors.
#[derive(Debug)]
pub struct PyTorch {
    name: &'static str,
    /// The stride of each level, and the sides of the anchors at its cells: `steps` and `min_sizes`
    /// of data/config.py.
    levels: &'static [(u32, &'static [f32])],
}

/// Any backbone, biubug6/Pytorch_Retinaface and yakhyo/retinaface-pytorch.
pub static RETINAFACE: PyTorch = PyTorch {
    name: "RetinaFace (PyTorch)",
    levels: &[(8, &[16.0, 32.0]), (16, &[64.0, 128.0]), (32, &[256.0, 512.0])],
};

/// Slim and RFB of biubug6/Face-Detector-1MB-with-landmark.
pub static SLIM: PyTorch = PyTorch {
    name: "Slim or RFB (PyTorch)",
    levels: &[
        (8, &[10.0, 16.0, 24.0]),
        (16, &[32.0, 48.0]),
        (32, &[64.0, 96.0]),
        (64, &[128.0, 192.0, 256.0]),
    ],
};

/// The more usual first.
const LAYOUTS: [&PyTorch; 2] = [&RETINAFACE, &SLIM];

/// Blue, green and red of the mean of the training pictures, data/wider_face.py.
const MEAN: [f32; 3] = [104.0, 117.0, 123.0];
/// `variance` of data/config.py, of centres and landmarks, and of sizes.
const CENTRE_VARIANCE: f32 = 0.1;
const SIZE_VARIANCE: f32 = 0.2;

impl PyTorch {
    fn sides(&self, stride: u32) -> &'static [f32] {
        let level = self.levels.iter().find(|level| level.0 == stride);
        level.map_or(&[], |level| level.1)
    }

    /// The centre and side of an anchor, a "prior" of layers/functions/prior_box.py.
    fn anchor(&self, cell: &Cell) -> (Point, f32) {
        let (corner, half) = (cell.corner(), cell.stride as f32 / 2.0);
        // No level of another stride or with more anchors is recognised.
        let side = self.sides(cell.stride).get(cell.anchor).copied().unwrap_or(f32::NAN);
        (Point { x: corner.x + half, y: corner.y + half }, side)
    }

    /// Whether all of these levels are among its own.
    fn has(&self, levels: &[RecognisedLevel]) -> bool {
        levels.iter().all(|level| self.sides(level.stride).len() == level.anchors)
    }

    /// Anchors of all levels in an input of this size.
    fn count(&self, (width, height): (u32, u32)) -> usize {
        let count = |&(stride, sides): &(u32, &[f32])| {
            sides.len() * cells(width, stride) * cells(height, stride)
        };
        self.levels.iter().map(count).sum()
    }
}

impl Family for PyTorch {
    fn name(&self) -> &'static str {
        self.name
    }

    fn nick(&self) -> &'static str {
        "retinaface-pytorch"
    }

    fn expects(&self) -> &'static str {
        "outputs [1, anchors, 4], [1, anchors, 2 or 1] and [1, anchors, 10] for boxes, scores and \
         landmarks of all levels"
    }

    /// By the structure behind the outputs, whatever their names; by the outputs' shapes and names
    /// where that is not recognised.
    fn recognise(&self, network: &Network) -> Result<Option<Recognised>, Unusable> {
        match by_structure(network)? {
            Some(recognised) => Ok(Some(recognised)),
            None => by_shapes(network),
        }
    }

    fn normalisation(&self) -> Normalisation {
        Normalisation { mean: MEAN, padding: MEAN, ..Normalisation::NONE }
    }

    /// All levels one after the other; values of an anchor side by side.
    fn level(
        &self,
        level: &RecognisedLevel,
        scores: Scores,
        grid: (usize, usize),
        others: Others,
    ) -> Level {
        let view =
            |output, values| View::side_by_side(output, values, level.anchors, others.before);
        let score = match scores {
            Scores::Logits => view(level.scores, 1),
            // Background first, then face.
            Scores::Pairs(_) | Scores::Faces(_) => {
                let pairs = view(level.scores, 2);
                View { offset: pairs.offset + 1, ..pairs }
            }
        };
        Level {
            stride: level.stride,
            grid,
            anchors: level.anchors,
            score,
            objectness: None,
            boxes: view(level.boxes, BOX_VALUES),
            landmarks: level.landmarks.map(|output| view(output, LANDMARK_VALUES)),
            point_values: 2,
        }
    }

    /// `decode` of utils/box_utils.py.
    fn bounds(&self, cell: &Cell, [dx, dy, dw, dh]: [f32; 4]) -> Rect {
        let (centre, side) = self.anchor(cell);
        let centre_x = centre.x + dx * CENTRE_VARIANCE * side;
        let centre_y = centre.y + dy * CENTRE_VARIANCE * side;
        let half_width = side * (dw * SIZE_VARIANCE).exp() / 2.0;
        let half_height = side * (dh * SIZE_VARIANCE).exp() / 2.0;
        Rect::around(Point { x: centre_x, y: centre_y }, half_width, half_height)
    }

    /// `decode_landm` of utils/box_utils.py.
    fn landmarks(&self, cell: &Cell, values: [f32; 10]) -> Landmarks {
        let (centre, side) = self.anchor(cell);
        points(centre, CENTRE_VARIANCE * side, values)
    }
}

/// An output: the same values of all levels, one after the other.
struct Trace {
    output: usize,
    branches: Vec<Branch>,
}

impl Trace {
    fn new(network: &Network, output: usize) -> Option<Self> {
        let graph = &network.graph;
        let value = &network.proto.output[output];
        // Of `[1, anchors, values]`, or without the batch.
        let mut flat = value.tensor().is_some_and(|(_, dimensions)| dimensions.len() == 2);
        let axes = |flat| if flat { ([-1, 1], [-2, 0]) } else { ([-1, 2], [-2, 1]) };
        let mut value = value.name();
        let mut outer = None;
        // What follows the concatenation.
        loop {
            let node = &graph.nodes[graph.origin(value)?];
            match node.op() {
                "Softmax" if outer.is_none() && axes(flat).0.contains(&softmax_axis(node)) => {
                    outer = Some(Activation::Softmax);
                }
                "Sigmoid" if outer.is_none() => outer = Some(Activation::Sigmoid),
                "Squeeze" if flat => flat = false,
                "Gather" if flat && takes_first(graph, node) => flat = false,
                _ => break,
            }
            value = node.input.first()?;
        }
        let (values, anchors) = axes(flat);
        let concat = &graph.nodes[graph.origin(value)?];
        let parts = match (concat.op(), concat.int("axis")) {
            ("Concat", Some(axis)) if anchors.contains(&axis) => {
                concat.input.iter().map(String::as_str).collect()
            }
            _ => vec![value],
        };
        if parts.len() > MAX_LEVELS {
            return None;
        }
        let branches = parts.into_iter().map(|part| {
            let branch = branch(graph, part, &values)?;
            // One of them, not both.
            let activation = outer.xor(branch.activation);
            let fits = branch.channels_last && (outer.is_none() || activation.is_some());
            fits.then_some(Branch { activation, ..branch })
        });
        Some(Self { output, branches: branches.collect::<Option<_>>()? })
    }

    /// Whether every level has this many values an anchor.
    fn has(&self, values: usize, anchors: &[usize]) -> bool {
        self.branches.len() == anchors.len()
            && self
                .branches
                .iter()
                .zip(anchors)
                .all(|(branch, anchors)| branch.channels == anchors * values)
    }

    /// What makes probabilities of the scores of every level, if that is the same.
    fn activation(&self) -> Option<Option<Activation>> {
        let first = self.branches.first()?.activation;
        self.branches.iter().all(|branch| branch.activation == first).then_some(first)
    }
}

/// What the outputs of a network were traced to.
struct Traces<'a> {
    scores: &'a Trace,
    /// Numbers a score.
    values: usize,
    boxes: &'a Trace,
    landmarks: Option<&'a Trace>,
    /// Of each level.
    anchors: Vec<usize>,
}

impl<'a> Traces<'a> {
    /// The boxes have four values an anchor, where another output has two or one.
    fn classify(traces: &'a [Trace]) -> Option<Self> {
        traces.iter().find_map(|boxes| {
            let anchors = |branch: &Branch| {
                branch.channels.is_multiple_of(BOX_VALUES).then_some(branch.channels / BOX_VALUES)
            };
            let anchors: Vec<_> = boxes.branches.iter().map(anchors).collect::<Option<_>>()?;
            let find = |values| traces.iter().find(|trace| trace.has(values, &anchors));
            let (scores, values) = match find(2) {
                Some(scores) => (scores, 2),
                None => (find(1)?, 1),
            };
            let landmarks = find(LANDMARK_VALUES);
            // What is left over would be landmarks of other levels, or another family's levels.
            if traces.len() != 2 + landmarks.iter().len() {
                return None;
            }
            Some(Self { scores, values, boxes, landmarks, anchors })
        })
    }

    fn levels(&self, network: &Network) -> Option<Vec<RecognisedLevel>> {
        let level = |(index, &anchors): (usize, &usize)| {
            let convolution = |trace: &Trace| trace.branches[index].convolution;
            let convolutions = HeadConvolutions {
                scores: convolution(self.scores),
                objectness: None,
                boxes: convolution(self.boxes),
                landmarks: self.landmarks.map(convolution),
            };
            let stride = network.stride(convolutions.scores)?;
            let others = [Some(convolutions.boxes), convolutions.landmarks];
            let same = |other| network.stride(other) == Some(stride);
            others.into_iter().flatten().all(same).then_some(RecognisedLevel {
                stride,
                anchors,
                scores: SCORES,
                objectness: None,
                boxes: BOXES,
                landmarks: self.landmarks.map(|_| LANDMARKS),
                convolutions: Some(convolutions),
            })
        };
        let levels: Vec<_> = self.anchors.iter().enumerate().map(level).collect::<Option<_>>()?;
        distinct(&levels).then_some(levels)
    }
}

/// In the order in which the outputs are asked for.
const BOXES: usize = 0;
const SCORES: usize = 1;
const LANDMARKS: usize = 2;

fn by_structure(network: &Network) -> Result<Option<Recognised>, Unusable> {
    let outputs = &network.proto.output;
    let traces: Vec<_> =
        (0..outputs.len()).filter_map(|index| Trace::new(network, index)).collect();
    let Some(traced) = Traces::classify(&traces) else { return Ok(None) };
    let Some(levels) = traced.levels(network) else { return Ok(None) };
    let Some(activation) = traced.scores.activation() else { return Ok(None) };
    let (scores, missing) = match (traced.values, activation) {
        (2, Some(Activation::Sigmoid)) => (Scores::Faces(Order::ByAnchor), None),
        (2, Some(Activation::Softmax)) => (Scores::Pairs(Order::ByAnchor), None),
        (2, None) => (Scores::Pairs(Order::ByAnchor), Some(Activation::Softmax)),
        (_, Some(Activation::Sigmoid)) => (Scores::Logits, None),
        (_, None) => (Scores::Logits, Some(Activation::Sigmoid)),
        // A softmax of single numbers is 1.
        (_, Some(Activation::Softmax)) => return Ok(None),
    };
    let Some(family) = LAYOUTS.into_iter().find(|family| family.has(&levels)) else {
        // Without landmarks it may be anything.
        return traced.landmarks.map_or(Ok(None), |_| Err(other_anchors(&levels)));
    };
    let names = [Some(traced.boxes), Some(traced.scores), traced.landmarks];
    let names = names.into_iter().flatten().map(|trace| outputs[trace.output].name().to_owned());
    Ok(Some(Recognised { family, outputs: names.collect(), scores, missing, levels }))
}

fn other_anchors(levels: &[RecognisedLevel]) -> Unusable {
    let list = |levels: &mut dyn Iterator<Item = (u32, usize)>| {
        let levels: Vec<_> =
            levels.map(|(stride, anchors)| format!("{anchors} at stride {stride}")).collect();
        levels.join(", ")
    };
    let known = LAYOUTS.map(|family| {
        list(&mut family.levels.iter().map(|&(stride, sides)| (stride, sides.len())))
    });
    Unusable::OtherAnchors {
        family: RETINAFACE.name,
        found: list(&mut levels.iter().map(|level| (level.stride, level.anchors))),
        expected: known.join(", or "),
    }
}

/// For networks that were changed so much that their structure is not recognised. All three outputs
/// are asked for, and the right number of anchors: other detectors have boxes and scores as well.
fn by_shapes(network: &Network) -> Result<Option<Recognised>, Unusable> {
    let shapes = network.shapes();
    let count = |output: &ValueInfoProto| {
        let shape = shapes.shape(output.name())?;
        shape.len().checked_sub(2).map(|axis| shape[axis])
    };
    for family in LAYOUTS {
        let anchors = family.count(network.typical_size());
        let fits = |output: &ValueInfoProto| match network.size {
            // What the file declares counts as well.
            Some(_) => count(output)
                .or_else(|| declared_count(output))
                .is_none_or(|found| found == anchors),
            // Where nothing is known, what the published networks have.
            None => {
                count(output).map_or(std::ptr::eq(family, &RETINAFACE), |found| found == anchors)
            }
        };
        let find = |values, names: &[&str]| find_output(network, values, names, fits);
        let (Some(boxes), Some(scores), Some(landmarks)) = (
            find(BOX_VALUES, &["loc", "box"]),
            find(2, &["conf", "score", "cls"]),
            find(LANDMARK_VALUES, &["landm", "ldm", "kps"]),
        ) else {
            continue;
        };
        let way = |output| Way::to(&network.graph, output);
        let missing = match (way(boxes), way(scores), way(landmarks)) {
            (Way::Computed, _, _) | (_, _, Way::Computed) => {
                return Err(Unusable::Decoded(family.name));
            }
            (Way::Rearranged(None), Way::Rearranged(activation), Way::Rearranged(None)) => {
                match activation {
                    Some(_) => None,
                    None => Some(Activation::Softmax),
                }
            }
            _ => return Ok(None),
        };
        let level = |&(stride, sides): &(u32, &[f32])| RecognisedLevel {
            stride,
            anchors: sides.len(),
            scores: SCORES,
            objectness: None,
            boxes: BOXES,
            landmarks: Some(LANDMARKS),
            convolutions: None,
        };
        return Ok(Some(Recognised {
            family,
            outputs: [boxes, scores, landmarks].map(str::to_owned).into(),
            scores: Scores::Pairs(Order::ByAnchor),
            missing,
            levels: family.levels.iter().map(level).collect(),
        }));
    }
    Ok(None)
}

/// The second to last size of an output, where its file says it.
fn declared_count(output: &ValueInfoProto) -> Option<usize> {
    let (_, dimensions) = output.tensor()?;
    declared(output, dimensions.len().checked_sub(2)?)
}

/// The only output of shape `[1, anchors, values]` or `[anchors, values]`. An open number of values
/// needs one of the names.
fn find_output<'a>(
    network: &Network<'a>,
    values: usize,
    names: &[&str],
    has_anchors: impl Fn(&ValueInfoProto) -> bool,
) -> Option<&'a str> {
    let fits = |output: &&ValueInfoProto| {
        let Some((_, [.., _, last])) = output.tensor().filter(|(_, sizes)| sizes.len() <= 3) else {
            return false;
        };
        let name = output.name().to_ascii_lowercase();
        let has_values = match last.size() {
            Some(size) => usize::try_from(size) == Ok(values),
            None => names.iter().any(|part| name.contains(part)),
        };
        has_values && has_anchors(output)
    };
    let mut outputs = network.proto.output.iter().filter(fits);
    let output = outputs.next()?;
    outputs.next().is_none().then(|| output.name())
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
            let bounds = RETINAFACE.bounds(&cell, [0.0; 4]);
            assert_eq!(bounds, Rect::new(x_min, y_min, x_max, y_max), "{cell:?}");
        }
    }

    /// decode() of box_utils.py with the variances 0.1 and 0.2, at the prior (28, 12), side 16:
    /// centre x = 28 + 1·0.1·16 = 29.6, y = 12 − 2·0.1·16 = 8.8; with l = 5·ln 2, width = 16·e^(0.2·l) =
    /// 16·2 = 32, height = 16·e^(−0.2·l) = 8.
    #[test]
    fn boxes_are_decoded_as_published() {
        let l = 5.0 * std::f32::consts::LN_2;
        let bounds = RETINAFACE.bounds(&cell(8, 3, 1, 0), [1.0, -2.0, l, -l]);
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
        let landmarks = RETINAFACE.landmarks(&cell(8, 3, 1, 1), values);
        for (found, [x, y]) in landmarks.0.iter().zip(expected) {
            assert!((found.x - x).abs() < 1e-4 && (found.y - y).abs() < 1e-4, "{landmarks:?}");
        }
    }

    /// data/wider_face.py: `rgb_mean = (104, 117, 123) # bgr order`, and nothing is scaled.
    #[test]
    fn the_mean_is_the_published_one() {
        let Normalisation { mean, scale, order, padding } = RETINAFACE.normalisation();
        assert_eq!(padding, mean);
        assert_eq!((mean, scale), ([104.0, 117.0, 123.0], 1.0));
        assert_eq!(order, crate::preprocess::ChannelOrder::Bgr);
    }

    /// cfg_slim and cfg_rfb of data/config.py: min_sizes [[10, 16, 24], [32, 48], [64, 96], [128, 192,
    /// 256]], steps 8, 16, 32 and 64.
    #[test]
    fn slim_networks_have_anchors_of_their_own() {
        let side = |stride, anchor| {
            let bounds = SLIM.bounds(&cell(stride, 0, 0, anchor), [0.0; 4]);
            assert_eq!(bounds.x_min + bounds.x_max, stride as f32, "around the cell's centre");
            bounds.width()
        };
        assert_eq!([0, 1, 2].map(|anchor| side(8, anchor)), [10.0, 16.0, 24.0]);
        assert_eq!([0, 1].map(|anchor| side(16, anchor)), [32.0, 48.0]);
        assert_eq!([0, 1].map(|anchor| side(32, anchor)), [64.0, 96.0]);
        assert_eq!([0, 1, 2].map(|anchor| side(64, anchor)), [128.0, 192.0, 256.0]);
    }

    /// `[1, anchors, values]`: anchor a of cell c of a level of three is number 104 + 3·c + a, if 104 come
    /// before.
    #[test]
    fn levels_follow_each_other() {
        let level = RecognisedLevel {
            stride: 64,
            anchors: 3,
            scores: SCORES,
            objectness: None,
            boxes: BOXES,
            landmarks: Some(LANDMARKS),
            convolutions: None,
        };
        let pairs = Scores::Pairs(Order::ByAnchor);
        let others = Others { before: 104, all: 1000 };
        let found = SLIM.level(&level, pairs, (7, 4), others);
        assert_eq!((found.stride, found.grid, found.anchors), (64, (7, 4), 3));
        let score = View { output: 1, offset: 2 * 104 + 1, cell: 6, anchor: 2, channel: 1 };
        assert_eq!(found.score, score);
        let boxes = View { output: 0, offset: 4 * 104, cell: 12, anchor: 4, channel: 1 };
        assert_eq!(found.boxes, boxes);
        let landmarks = View { output: 2, offset: 10 * 104, cell: 30, anchor: 10, channel: 1 };
        assert_eq!(found.landmarks, Some(landmarks));
        // The face of a pair is in the same place behind a sigmoid; alone, it is not.
        assert_eq!(SLIM.level(&level, Scores::Faces(Order::ByAnchor), (7, 4), others), found);
        let score = View { output: 1, offset: 104, cell: 3, anchor: 1, channel: 1 };
        assert_eq!(SLIM.level(&level, Scores::Logits, (7, 4), others).score, score);
    }
}
