// SPDX-License-Identifier: MIT OR Apache-2.0

//! InsightFace's MXNet networks (RetinaFace R50 and mnet.25, and those of
//! faster-mobile-retinaface): outputs a level, channels first, Faster R-CNN's coding.

use super::{
    family::{
        Family, HeadConvolutions, MAX_LEVELS, Network, RawScores, Recognised, RecognisedLevel,
        Scores, distinct, points,
    },
    level::{BOX_VALUES, Cell, LANDMARK_VALUES, Level, View},
    trace::branch,
};
use crate::{
    face::Landmarks,
    geometry::{Point, Rect},
    onnx::{graph::Graph, messages::ValueInfoProto},
    preprocess::Normalisation,
};

#[derive(Clone, Copy, Debug)]
pub struct InsightFace;

const ANCHORS: usize = 2;
/// Background and face of each anchor.
const SCORES: usize = 2;
/// The side of the square at a cell's corner around whose middle the anchors lie, whatever the
/// stride: `base_size` of generate_anchors.py.
const BASE: f32 = 16.0;

/// The centre and side of an anchor: sides 32, 16 | 128, 64 | 512, 256 for strides 8, 16 and 32, the
/// larger first.
fn anchor(cell: &Cell) -> (Point, f32) {
    let small = (cell.stride * cell.stride) as f32 / 4.0;
    let centre = |position: usize| (position as u32 * cell.stride) as f32 + BASE / 2.0;
    let side = small * (ANCHORS - cell.anchor) as f32;
    (Point { x: centre(cell.x), y: centre(cell.y) }, side)
}

impl Family for InsightFace {
    fn name(&self) -> &'static str {
        "RetinaFace (InsightFace)"
    }

    /// By the outputs' published names.
    fn recognise(&self, network: &Network) -> Result<Option<Recognised>, RawScores> {
        Ok(by_names(network))
    }

    fn normalisation(&self) -> Normalisation {
        Normalisation::NONE
    }

    fn anchors(&self) -> usize {
        ANCHORS
    }

    /// The backgrounds of both anchors come before their faces.
    fn scores(&self) -> Scores {
        Scores::Pairs(&[(0, 2), (1, 3)])
    }

    /// Outputs of their own, one plane a value.
    fn level(&self, level: &RecognisedLevel, grid: (usize, usize), _cells_before: usize) -> Level {
        let plane = grid.0 * grid.1;
        let view = |output, values| View {
            output,
            offset: 0,
            cell: 1,
            anchor: values * plane,
            channel: plane,
        };
        Level {
            stride: level.stride,
            grid,
            anchors: ANCHORS,
            score: View { offset: ANCHORS * plane, ..view(level.scores, 1) },
            objectness: None,
            boxes: view(level.boxes, BOX_VALUES),
            landmarks: level.landmarks.map(|output| view(output, LANDMARK_VALUES)),
        }
    }

    /// `bbox_transform.py`: corners are the first and the last pixel.
    fn bounds(&self, cell: &Cell, [dx, dy, dw, dh]: [f32; 4]) -> Rect {
        let (centre, side) = anchor(cell);
        let centre_x = centre.x + dx * side;
        let centre_y = centre.y + dy * side;
        let half_width = (side * dw.exp() - 1.0) / 2.0;
        let half_height = (side * dh.exp() - 1.0) / 2.0;
        Rect::around(Point { x: centre_x, y: centre_y }, half_width, half_height)
    }

    fn landmarks(&self, cell: &Cell, values: [f32; 10]) -> Landmarks {
        let (centre, side) = anchor(cell);
        points(centre, side, values)
    }
}

fn by_names(network: &Network) -> Option<Recognised> {
    let names = || network.proto.output.iter().map(ValueInfoProto::name);
    let mut outputs = Vec::new();
    let mut levels = Vec::new();
    for name in names() {
        let Some(stride) = name.strip_prefix("face_rpn_cls_prob_reshape_stride") else {
            continue;
        };
        if levels.len() == MAX_LEVELS {
            return None;
        }
        let stride = stride.parse().ok().filter(|&stride: &u32| stride > 0)?;
        let find = |prefix: &str| {
            let wanted = format!("{prefix}{stride}");
            names().find(|name| *name == wanted)
        };
        let boxes = find("face_rpn_bbox_pred_stride")?;
        let landmarks = find("face_rpn_landmark_pred_stride");
        levels.push(RecognisedLevel {
            stride,
            scores: outputs.len(),
            objectness: None,
            boxes: outputs.len() + 1,
            landmarks: landmarks.map(|_| outputs.len() + 2),
            convolutions: convolutions(&network.graph, name, boxes, landmarks),
        });
        outputs.extend([Some(name), Some(boxes), landmarks].into_iter().flatten());
    }
    let outputs = outputs.into_iter().map(str::to_owned).collect();
    let found = !levels.is_empty() && distinct(&levels);
    found.then_some(Recognised { family: &InsightFace, outputs, levels })
}

fn convolutions<'a>(
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
        objectness: None,
        boxes: find(boxes, BOX_VALUES, false)?,
        landmarks: match landmarks {
            Some(landmarks) => Some(find(landmarks, LANDMARK_VALUES, false)?),
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
            let bounds = InsightFace.bounds(&cell, [0.0; 4]);
            assert_eq!(bounds, Rect::new(x_min, y_min, x_max, y_max), "{cell:?}");
        }
    }

    /// bbox_transform.py's nonlinear_pred(), without variances, at the anchor with the centre
    /// (32, 16) and side 16: centre x = 32 + 0.25·16 = 36, y = 16 − 0.5·16 = 8; with ln 2, width = 16·2 = 32,
    /// height = 16/2 = 8; corners at ± 0.5·(32 − 1) and ± 0.5·(8 − 1).
    #[test]
    fn boxes_are_decoded_as_published() {
        let l = std::f32::consts::LN_2;
        let bounds = InsightFace.bounds(&cell(8, 3, 1, 1), [0.25, -0.5, l, -l]);
        let expected = [36.0 - 15.5, 8.0 - 3.5, 36.0 + 15.5, 8.0 + 3.5];
        let found = [bounds.x_min, bounds.y_min, bounds.x_max, bounds.y_max];
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "{bounds:?}");
        }
    }

    /// landmark_pred(): offsets in units of the anchor's side, here 32, from (32, 16).
    #[test]
    fn landmarks_are_decoded_as_published() {
        let values = [0.0, 0.0, 0.5, 0.0, 0.0, -0.25, 1.0, 2.0, -1.0, -0.5];
        let expected = [[32.0, 16.0], [48.0, 16.0], [32.0, 8.0], [64.0, 80.0], [0.0, 0.0]];
        let landmarks = InsightFace.landmarks(&cell(8, 3, 1, 0), values);
        for (found, [x, y]) in landmarks.0.iter().zip(expected) {
            assert_eq!((found.x, found.y), (x, y), "{landmarks:?}");
        }
    }

    /// The pictures go in as they are.
    #[test]
    fn nothing_is_subtracted() {
        assert_eq!(InsightFace.normalisation(), Normalisation::NONE);
    }

    /// `[1, 4, rows, columns]` with both backgrounds first, `[1, 8, …]` and `[1, 20, …]`.
    #[test]
    fn outputs_are_planes() {
        let level = RecognisedLevel {
            stride: 16,
            scores: 3,
            objectness: None,
            boxes: 4,
            landmarks: Some(5),
            convolutions: None,
        };
        let level = InsightFace.level(&level, (7, 4), 1000);
        assert_eq!((level.stride, level.grid, level.anchors), (16, (7, 4), 2));
        let score = View { output: 3, offset: 2 * 28, cell: 1, anchor: 28, channel: 28 };
        assert_eq!(level.score, score);
        let boxes = View { output: 4, offset: 0, cell: 1, anchor: 4 * 28, channel: 28 };
        assert_eq!(level.boxes, boxes);
        let landmarks = View { output: 5, offset: 0, cell: 1, anchor: 10 * 28, channel: 28 };
        assert_eq!(level.landmarks, Some(landmarks));
    }
}
