// SPDX-License-Identifier: MIT OR Apache-2.0

//! InsightFace's MXNet networks (RetinaFace R50 and mnet.25, and those of
//! faster-mobile-retinaface): outputs a level, channels first, Faster R-CNN's coding.

use super::{
    family::{
        Activation, Family, HeadConvolutions, Network, Order, Others, Recognised, RecognisedLevel,
        Scores, Unusable, distinct, points,
    },
    level::{BOX_VALUES, Cell, LANDMARK_VALUES, Level, View, cells},
    trace::{Branch, Kinds, LevelOutput, Way, branch, levels_of_outputs, only},
};
use crate::{
    face::Landmarks,
    geometry::{Point, Rect},
    onnx::{graph::Graph, messages::ValueInfoProto},
    preprocess::{ChannelOrder, Normalisation},
};

#[derive(Debug)]
pub struct InsightFace {
    /// How far the centre of anchors is from their cell's corner, in pixels, whatever the stride: half
    /// of `base_size` of generate_anchors.py, and half a pixel less where the last pixel is not
    /// counted.
    centre: f32,
}

/// The networks with landmarks. `nonlinear_pred` and `landmark_pred` of rcnn/processing, with which
/// they were trained and published, take (width − 1)/2 for half an anchor.
pub static WITH_LANDMARKS: InsightFace = InsightFace { centre: 7.5 };

/// Those of faster-mobile-retinaface, whose generate_anchor.py takes width/2. Its networks are more
/// accurate so: an average precision of .656 against .631 for 8and16.
pub static WITHOUT_LANDMARKS: InsightFace = InsightFace { centre: 8.0 };

const ANCHORS: usize = 2;
/// Background and face of each anchor.
const SCORES: usize = 2;
/// Of the levels of published networks.
const STRIDES: [u32; 3] = [8, 16, 32];

impl InsightFace {
    /// The centre and side of an anchor: sides 32, 16 | 128, 64 | 512, 256 for strides 8, 16 and 32,
    /// the larger first.
    fn anchor(&self, cell: &Cell) -> (Point, f32) {
        let small = (cell.stride * cell.stride) as f32 / 4.0;
        let corner = cell.corner();
        let side = small * ANCHORS.saturating_sub(cell.anchor) as f32;
        (Point { x: corner.x + self.centre, y: corner.y + self.centre }, side)
    }
}

impl Family for InsightFace {
    fn name(&self) -> &'static str {
        "RetinaFace (InsightFace)"
    }

    fn nick(&self) -> &'static str {
        "insightface"
    }

    fn expects(&self) -> &'static str {
        "for strides of 8, 16 and 32, or some of them, outputs [1, 4, rows, columns], \
         [1, 8, rows, columns] and perhaps [1, 20, rows, columns] for scores, boxes and landmarks"
    }

    /// By the structure behind the outputs; by their published names, or by their shapes and order,
    /// where that is not recognised.
    fn recognise(&self, network: &Network) -> Result<Option<Recognised>, Unusable> {
        let found =
            by_structure(network).or_else(|| by_names(network)).or_else(|| by_shapes(network));
        Ok(found
            .filter(|(_, levels)| {
                levels.iter().all(|level| STRIDES.contains(&level.stride)) && distinct(levels)
            })
            .map(|(outputs, levels)| {
                let landmarks = levels.iter().any(|level| level.landmarks.is_some());
                Recognised {
                    family: if landmarks { &WITH_LANDMARKS } else { &WITHOUT_LANDMARKS },
                    outputs,
                    scores: Scores::Pairs(Order::BackgroundsFirst),
                    missing: None,
                    levels,
                }
            }))
    }

    /// `get_image` of rcnn/utils/image.py and `RetinaFace.detect` put red first.
    fn normalisation(&self) -> Normalisation {
        Normalisation { order: ChannelOrder::Rgb, ..Normalisation::NONE }
    }

    /// Outputs of their own, one plane a value.
    fn level(
        &self,
        level: &RecognisedLevel,
        _scores: Scores,
        grid: (usize, usize),
        _others: Others,
    ) -> Level {
        let view = |output, values| View::planes(output, 0, values, grid);
        Level {
            stride: level.stride,
            grid,
            anchors: ANCHORS,
            // Behind the backgrounds.
            score: View::planes(level.scores, ANCHORS, 1, grid),
            objectness: None,
            boxes: view(level.boxes, BOX_VALUES),
            landmarks: level.landmarks.map(|output| view(output, LANDMARK_VALUES)),
            point_values: 2,
        }
    }

    /// `bbox_transform.py`: corners are the first and the last pixel.
    fn bounds(&self, cell: &Cell, [dx, dy, dw, dh]: [f32; 4]) -> Rect {
        let (centre, side) = self.anchor(cell);
        let centre_x = centre.x + dx * side;
        let centre_y = centre.y + dy * side;
        let half_width = (side * dw.exp() - 1.0) / 2.0;
        let half_height = (side * dh.exp() - 1.0) / 2.0;
        Rect::around(Point { x: centre_x, y: centre_y }, half_width, half_height)
    }

    fn landmarks(&self, cell: &Cell, values: [f32; 10]) -> Landmarks {
        let (centre, side) = self.anchor(cell);
        points(centre, side, values)
    }
}

/// The names of the outputs that are needed, and the levels.
type Levels = (Vec<String>, Vec<RecognisedLevel>);

/// Of the scores' softmax, `[1, 2, 2·rows, columns]`.
const AXES: &[i64] = &[1, -3];

fn is_head(branch: &Branch, values: usize) -> bool {
    let activation = (values == SCORES).then_some(Activation::Softmax);
    branch.channels == ANCHORS * values && branch.activation == activation && !branch.channels_last
}

fn by_structure(network: &Network) -> Option<Levels> {
    let classify = |outputs: &[LevelOutput]| {
        let of = |values| only(outputs, |branch| is_head(branch, values));
        Some(Kinds {
            anchors: ANCHORS,
            scores: of(SCORES)?,
            objectness: None,
            boxes: of(BOX_VALUES)?,
            landmarks: of(LANDMARK_VALUES),
        })
    };
    levels_of_outputs(network, AXES, classify)
}

/// Converters put something before or behind the names.
fn by_names(network: &Network) -> Option<Levels> {
    let names = || network.proto.output.iter().map(ValueInfoProto::name);
    let (mut outputs, mut levels) = (Vec::new(), Vec::new());
    for name in names() {
        let Some(stride) = stride_after(name, "face_rpn_cls_prob_reshape_stride") else {
            continue;
        };
        if levels.len() == STRIDES.len() {
            return None;
        }
        let find = |head| names().find(|name| stride_after(name, head) == Some(stride));
        let boxes = find("face_rpn_bbox_pred_stride")?;
        let landmarks = find("face_rpn_landmark_pred_stride");
        levels.push(level(stride, &mut outputs, name, boxes, landmarks, &network.graph));
    }
    (!levels.is_empty()).then_some((outputs, levels))
}

/// The number in a name behind `text`.
fn stride_after(name: &str, text: &str) -> Option<u32> {
    let (_, rest) = name.split_once(text)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// Scores, boxes and perhaps landmarks of each level, one level after the other.
fn by_shapes(network: &Network) -> Option<Levels> {
    let (width, height) = network.typical_size();
    let shapes = network.shapes();
    let names: Vec<_> = network.proto.output.iter().map(ValueInfoProto::name).collect();
    let has = |name: &str, values: usize, grid: (usize, usize)| {
        let wanted = [1, ANCHORS * values, grid.1, grid.0];
        let activation = (values == SCORES).then_some(Activation::Softmax);
        shapes.shape(name) == Some(&wanted[..])
            && Way::to(&network.graph, name) == Way::Rearranged(activation)
    };
    let (mut outputs, mut levels) = (Vec::new(), Vec::new());
    let mut rest = &names[..];
    while let [scores, boxes, others @ ..] = rest {
        let stride = STRIDES.into_iter().find(|&stride| {
            let grid = (cells(width, stride), cells(height, stride));
            has(scores, SCORES, grid) && has(boxes, BOX_VALUES, grid)
        })?;
        let grid = (cells(width, stride), cells(height, stride));
        let landmarks = others.first().copied().filter(|name| has(name, LANDMARK_VALUES, grid));
        levels.push(level(stride, &mut outputs, scores, boxes, landmarks, &network.graph));
        rest = &others[landmarks.iter().len()..];
    }
    (rest.is_empty() && !levels.is_empty()).then_some((outputs, levels))
}

/// A level of these outputs, which are appended to those that are needed.
fn level<'a>(
    stride: u32,
    outputs: &mut Vec<String>,
    scores: &'a str,
    boxes: &'a str,
    landmarks: Option<&'a str>,
    graph: &Graph<'a>,
) -> RecognisedLevel {
    let first = outputs.len();
    outputs.extend([Some(scores), Some(boxes), landmarks].into_iter().flatten().map(str::to_owned));
    RecognisedLevel {
        stride,
        anchors: ANCHORS,
        scores: first,
        objectness: None,
        boxes: first + 1,
        landmarks: landmarks.map(|_| first + 2),
        convolutions: convolutions(graph, scores, boxes, landmarks),
    }
}

fn convolutions<'a>(
    graph: &Graph<'a>,
    scores: &'a str,
    boxes: &'a str,
    landmarks: Option<&'a str>,
) -> Option<HeadConvolutions> {
    let find = |output: &'a str, values: usize| {
        let branch = branch(graph, output, AXES)?;
        is_head(&branch, values).then_some(branch.convolution)
    };
    Some(HeadConvolutions {
        scores: find(scores, SCORES)?,
        objectness: None,
        boxes: find(boxes, BOX_VALUES)?,
        landmarks: match landmarks {
            Some(landmarks) => Some(find(landmarks, LANDMARK_VALUES)?),
            None => None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(stride: u32, x: usize, y: usize, anchor: usize) -> Cell {
        Cell { stride, x, y, anchor }
    }

    /// generate_anchors.py with base size 16, ratio 1 and scales 2, 1 | 8, 4 | 32, 16: at cell (x, y)
    /// an anchor of side s reaches from x·stride + 7.5 − (s − 1)/2 on, which is its first pixel, to its
    /// last pixel, s − 1 further. Decoding takes x1 + s/2 for its centre, x·stride + 8, and gives
    /// corners (s − 1)/2 away from it.
    #[test]
    fn anchors_are_those_of_the_published_code() {
        let table = [
            // Centre (3·8 + 8, 1·8 + 8) = (32, 16); sides 32 and 16.
            (cell(8, 3, 1, 0), [32.0 - 15.5, 16.0 - 15.5, 32.0 + 15.5, 16.0 + 15.5]),
            (cell(8, 3, 1, 1), [32.0 - 7.5, 16.0 - 7.5, 32.0 + 7.5, 16.0 + 7.5]),
            // Centre (0 + 8, 2·16 + 8) = (8, 40); sides 128 and 64.
            (cell(16, 0, 2, 0), [8.0 - 63.5, 40.0 - 63.5, 8.0 + 63.5, 40.0 + 63.5]),
            (cell(16, 0, 2, 1), [8.0 - 31.5, 40.0 - 31.5, 8.0 + 31.5, 40.0 + 31.5]),
            // Centre (5·32 + 8, 4·32 + 8) = (168, 136); sides 512 and 256.
            (cell(32, 5, 4, 0), [168.0 - 255.5, 136.0 - 255.5, 168.0 + 255.5, 136.0 + 255.5]),
            (cell(32, 5, 4, 1), [168.0 - 127.5, 136.0 - 127.5, 168.0 + 127.5, 136.0 + 127.5]),
        ];
        for (cell, [x_min, y_min, x_max, y_max]) in table {
            let bounds = WITHOUT_LANDMARKS.bounds(&cell, [0.0; 4]);
            assert_eq!(bounds, Rect::new(x_min, y_min, x_max, y_max), "{cell:?}");
        }
    }

    /// bbox_transform.py's nonlinear_pred(), without variances, at the anchor with the centre
    /// (32, 16) and side 16: centre x = 32 + 0.25·16 = 36, y = 16 − 0.5·16 = 8; with ln 2, width = 16·2 = 32,
    /// height = 16/2 = 8; corners at ± 0.5·(32 − 1) and ± 0.5·(8 − 1).
    #[test]
    fn boxes_are_decoded_as_published() {
        let l = std::f32::consts::LN_2;
        let bounds = WITHOUT_LANDMARKS.bounds(&cell(8, 3, 1, 1), [0.25, -0.5, l, -l]);
        let expected = [36.0 - 15.5, 8.0 - 3.5, 36.0 + 15.5, 8.0 + 3.5];
        let found = [bounds.x_min, bounds.y_min, bounds.x_max, bounds.y_max];
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "{bounds:?}");
        }
    }

    /// landmark_pred(): offsets in units of the anchor's side, here 32, from the centre, here (32, 16).
    #[test]
    fn landmarks_are_decoded_as_published() {
        let values = [0.0, 0.0, 0.5, 0.0, 0.0, -0.25, 1.0, 2.0, -1.0, -0.5];
        let expected = [[32.0, 16.0], [48.0, 16.0], [32.0, 8.0], [64.0, 80.0], [0.0, 0.0]];
        let landmarks = WITHOUT_LANDMARKS.landmarks(&cell(8, 3, 1, 0), values);
        for (found, [x, y]) in landmarks.0.iter().zip(expected) {
            assert_eq!((found.x, found.y), (x, y), "{landmarks:?}");
        }
    }

    /// The published code of the networks with landmarks is half a pixel away: ctr_x = boxes[:, 0] +
    /// 0.5·(widths − 1.0), here −15.5 + 8 + 15.5 − 0.5 of the first cell.
    #[test]
    fn networks_with_landmarks_have_their_centres_half_a_pixel_before() {
        let bounds = WITH_LANDMARKS.bounds(&cell(8, 0, 0, 0), [0.0; 4]);
        assert_eq!(bounds, Rect::new(7.5 - 15.5, 7.5 - 15.5, 7.5 + 15.5, 7.5 + 15.5));
        let points = WITH_LANDMARKS.landmarks(&cell(16, 1, 2, 1), [0.0; 10]);
        assert_eq!(points.0[4], Point { x: 16.0 + 7.5, y: 32.0 + 7.5 });
    }

    /// Red first, nothing subtracted.
    #[test]
    fn the_normalisation_is_the_published_one() {
        let expected = Normalisation { order: ChannelOrder::Rgb, ..Normalisation::NONE };
        assert_eq!(WITH_LANDMARKS.normalisation(), expected);
    }

    /// `[1, 4, rows, columns]` with both backgrounds first, `[1, 8, …]` and `[1, 20, …]`.
    #[test]
    fn outputs_are_planes() {
        let level = RecognisedLevel {
            stride: 16,
            anchors: 2,
            scores: 3,
            objectness: None,
            boxes: 4,
            landmarks: Some(5),
            convolutions: None,
        };
        let level = WITHOUT_LANDMARKS.level(
            &level,
            Scores::Pairs(Order::BackgroundsFirst),
            (7, 4),
            Others::default(),
        );
        assert_eq!((level.stride, level.grid, level.anchors), (16, (7, 4), 2));
        let score = View { output: 3, offset: 2 * 28, cell: 1, anchor: 28, channel: 28 };
        assert_eq!(level.score, score);
        let boxes = View { output: 4, offset: 0, cell: 1, anchor: 4 * 28, channel: 28 };
        assert_eq!(level.boxes, boxes);
        let landmarks = View { output: 5, offset: 0, cell: 1, anchor: 10 * 28, channel: 28 };
        assert_eq!(level.landmarks, Some(landmarks));
    }
}
