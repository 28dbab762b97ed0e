// SPDX-License-Identifier: MIT OR Apache-2.0

//! YuNet (YuNet: A Tiny Millisecond-level Face Detector, Wu et al. 2023), the network of OpenCV's
//! `FaceDetectorYN`, as exported since 2023: for each level class and objectness behind sigmoids, boxes
//! and key points, in units of its stride.

use super::{
    family::{Family, Network, Others, Recognised, RecognisedLevel, Scores, Unusable, points},
    level::{BOX_VALUES, Cell, LANDMARK_VALUES, Level, View},
    trace::{Kinds, only, with_logits},
};
use crate::{
    face::Landmarks,
    geometry::{Point, Rect},
    preprocess::Normalisation,
};

#[derive(Clone, Copy, Debug)]
pub struct YuNet;

impl Family for YuNet {
    fn name(&self) -> &'static str {
        "YuNet"
    }

    fn nick(&self) -> &'static str {
        "yunet"
    }

    fn expects(&self) -> &'static str {
        "for each of the strides 8, 16 and 32 outputs [1, cells, 1] twice, [1, cells, 4] and \
         [1, cells, 10] for classes, objectness, boxes and landmarks"
    }

    /// By the structure behind the outputs, whatever their names and order.
    fn recognise(&self, network: &Network) -> Result<Option<Recognised>, Unusable> {
        Ok(by_structure(network))
    }

    /// `blobFromImage(pad_image)` of face_detect.cpp, which pads with black.
    fn normalisation(&self) -> Normalisation {
        Normalisation::NONE
    }

    /// The published files say 640×640, and compute every shape from the input's.
    fn opens_sizes(&self) -> bool {
        true
    }

    /// `divisor` of face_detect.cpp.
    fn multiple(&self) -> u32 {
        32
    }

    /// `NMSBoxes` of OpenCV compares areas.
    fn counts_last_pixel(&self) -> bool {
        false
    }

    /// `postProcess` of face_detect.cpp.
    fn score(&self, score: f32, objectness: f32) -> f32 {
        (score * objectness.min(1.0)).sqrt()
    }

    /// Outputs of their own; values of a cell side by side.
    fn level(
        &self,
        level: &RecognisedLevel,
        _scores: Scores,
        grid: (usize, usize),
        _others: Others,
    ) -> Level {
        let view = |output, values| View::side_by_side(output, values, 1, 0);
        Level {
            stride: level.stride,
            grid,
            anchors: 1,
            score: view(level.scores, 1),
            objectness: level.objectness.map(|output| view(output, 1)),
            boxes: view(level.boxes, BOX_VALUES),
            landmarks: level.landmarks.map(|output| view(output, LANDMARK_VALUES)),
            point_values: 2,
        }
    }

    /// `postProcess` of face_detect.cpp: offsets from the cell's corner.
    fn bounds(&self, cell: &Cell, [dx, dy, dw, dh]: [f32; 4]) -> Rect {
        let (corner, stride) = (cell.corner(), cell.stride as f32);
        let centre = Point { x: corner.x + dx * stride, y: corner.y + dy * stride };
        Rect::around(centre, dw.exp() * stride / 2.0, dh.exp() * stride / 2.0)
    }

    /// `postProcess` of face_detect.cpp.
    fn landmarks(&self, cell: &Cell, values: [f32; 10]) -> Landmarks {
        points(cell.corner(), cell.stride as f32, values)
    }
}

fn by_structure(network: &Network) -> Option<Recognised> {
    with_logits(network, &YuNet, |outputs, activation| {
        // Class and objectness: which is which does not matter, as they are multiplied.
        let mut scores =
            (0..outputs.len()).filter(|&index| outputs[index].branch.gives(1, activation));
        Some(Kinds {
            anchors: 1,
            scores: scores.next()?,
            objectness: Some(scores.next()?),
            boxes: only(outputs, |branch| branch.gives(BOX_VALUES, None))?,
            landmarks: only(outputs, |branch| branch.gives(LANDMARK_VALUES, None)),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(stride: u32, x: usize, y: usize) -> Cell {
        Cell { stride, x, y, anchor: 0 }
    }

    /// face_detect.cpp at column 3 and row 1 of stride 16: the centre is ((3 + 0.5)·16, (1 − 0.25)·16)
    /// = (56, 12), the size (e^ln 2 · 16, e^0 · 16) = (32, 16).
    #[test]
    fn boxes_are_decoded_as_published() {
        let bounds = YuNet.bounds(&cell(16, 3, 1), [0.5, -0.25, std::f32::consts::LN_2, 0.0]);
        let expected = [40.0, 4.0, 72.0, 20.0];
        let found = [bounds.x_min, bounds.y_min, bounds.x_max, bounds.y_max];
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "{bounds:?}");
        }
    }

    /// face_detect.cpp: (value + column)·stride, (value + row)·stride.
    #[test]
    fn landmarks_are_decoded_as_published() {
        let values = [0.0, 0.0, 1.0, -1.0, 0.5, 0.25, 2.0, 2.0, -3.0, 0.0];
        let expected = [[48.0, 16.0], [64.0, 0.0], [56.0, 20.0], [80.0, 48.0], [0.0, 16.0]];
        for (found, [x, y]) in YuNet.landmarks(&cell(16, 3, 1), values).0.iter().zip(expected) {
            assert_eq!(*found, Point { x, y });
        }
    }
}
