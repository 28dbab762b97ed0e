// SPDX-License-Identifier: MIT OR Apache-2.0

//! InsightFace's SCRFD (Sample and Computation Redistribution for Efficient Face Detection, Guo et
//! al. 2021), as its `scrfd2onnx.py` exports it: for each level scores behind a sigmoid, and
//! distances of the sides and of the key points from the cell's corner, in units of its stride.

use super::{
    family::{Family, Network, Others, Recognised, RecognisedLevel, Scores, Unusable, points},
    level::{BOX_VALUES, Cell, LANDMARK_VALUES, Level, View},
    trace::{Kinds, LevelOutput, only, with_logits},
};
use crate::{
    face::Landmarks,
    geometry::Rect,
    preprocess::{ChannelOrder, Normalisation},
};

#[derive(Clone, Copy, Debug)]
pub struct Scrfd;

/// The strides of published networks, and anchors at each cell: `_feat_stride_fpn` and
/// `_num_anchors` of scrfd.py.
const LAYOUTS: [(&[u32], usize); 2] = [(&[8, 16, 32], 2), (&[8, 16, 32, 64, 128], 1)];
/// `input_mean` and 1/`input_std` of scrfd.py.
const MEAN: f32 = 127.5;
const SCALE: f32 = 1.0 / 128.0;

impl Family for Scrfd {
    fn name(&self) -> &'static str {
        "SCRFD"
    }

    fn nick(&self) -> &'static str {
        "scrfd"
    }

    fn expects(&self) -> &'static str {
        "for each of the strides 8, 16 and 32 outputs [anchors, 1], [anchors, 4] and perhaps \
         [anchors, 10] for scores, distances and key points of two anchors a cell"
    }

    /// By the structure behind the outputs, whatever their names and order.
    fn recognise(&self, network: &Network) -> Result<Option<Recognised>, Unusable> {
        Ok(by_structure(network))
    }

    /// What scrfd.py does before `session.run`: red first, black beside the picture.
    fn normalisation(&self) -> Normalisation {
        Normalisation { mean: [MEAN; 3], scale: SCALE, order: ChannelOrder::Rgb, padding: [0.0; 3] }
    }

    /// The published files say 640×640, and compute every shape from the input's.
    fn opens_sizes(&self) -> bool {
        true
    }

    fn multiple(&self) -> u32 {
        32
    }

    /// Outputs of their own; values of an anchor side by side.
    fn level(
        &self,
        level: &RecognisedLevel,
        _scores: Scores,
        grid: (usize, usize),
        _others: Others,
    ) -> Level {
        let view = |output, values| View::side_by_side(output, values, level.anchors, 0);
        Level {
            stride: level.stride,
            grid,
            anchors: level.anchors,
            score: view(level.scores, 1),
            objectness: None,
            boxes: view(level.boxes, BOX_VALUES),
            landmarks: level.landmarks.map(|output| view(output, LANDMARK_VALUES)),
            point_values: 2,
        }
    }

    /// `anchor_centers` and `distance2bbox` of scrfd.py: both anchors of a cell are at its corner.
    fn bounds(&self, cell: &Cell, [left, top, right, bottom]: [f32; 4]) -> Rect {
        let (corner, stride) = (cell.corner(), cell.stride as f32);
        Rect {
            x_min: corner.x - left * stride,
            y_min: corner.y - top * stride,
            x_max: corner.x + right * stride,
            y_max: corner.y + bottom * stride,
        }
    }

    /// `distance2kps` of scrfd.py.
    fn landmarks(&self, cell: &Cell, values: [f32; 10]) -> Landmarks {
        points(cell.corner(), cell.stride as f32, values)
    }
}

fn by_structure(network: &Network) -> Option<Recognised> {
    LAYOUTS.into_iter().find_map(|(strides, anchors)| {
        let classify = |outputs: &[LevelOutput], activation| {
            let of = |values, activation| {
                only(outputs, |branch| branch.gives(anchors * values, activation))
            };
            Some(Kinds {
                anchors,
                scores: of(1, activation)?,
                objectness: None,
                boxes: of(BOX_VALUES, None)?,
                landmarks: of(LANDMARK_VALUES, None),
            })
        };
        let found = with_logits(network, &Scrfd, classify)?;
        let same = found.levels.iter().map(|level| level.stride).eq(strides.iter().copied());
        same.then_some(found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Point;

    fn cell(stride: u32, x: usize, y: usize) -> Cell {
        Cell { stride, x, y, anchor: 1 }
    }

    /// scrfd.py: the centre of cell (3, 1) at stride 16 is (48, 16); distances 1, 0.5, 2 and 0.25
    /// are 16, 8, 32 and 4 pixels.
    #[test]
    fn distances_are_from_the_corner_in_strides() {
        let bounds = Scrfd.bounds(&cell(16, 3, 1), [1.0, 0.5, 2.0, 0.25]);
        assert_eq!(bounds, Rect::new(32.0, 8.0, 80.0, 20.0));
        let values = [0.0, 0.0, 1.0, -1.0, 0.5, 0.25, 2.0, 2.0, -3.0, 0.0];
        let expected = [[48.0, 16.0], [64.0, 0.0], [56.0, 20.0], [80.0, 48.0], [0.0, 16.0]];
        for (found, [x, y]) in Scrfd.landmarks(&cell(16, 3, 1), values).0.iter().zip(expected) {
            assert_eq!(*found, Point { x, y });
        }
    }

    /// `[anchors, values]`: anchor a of cell c is number 2·c + a.
    #[test]
    fn each_level_has_its_own_outputs() {
        let level = RecognisedLevel {
            stride: 8,
            anchors: 2,
            scores: 3,
            objectness: None,
            boxes: 4,
            landmarks: Some(5),
            convolutions: None,
        };
        let level = Scrfd.level(&level, Scores::Logits, (7, 4), Others::default());
        let view = |output, values| View {
            output,
            offset: 0,
            cell: 2 * values,
            anchor: values,
            channel: 1,
        };
        assert_eq!((level.stride, level.grid, level.anchors), (8, (7, 4), 2));
        assert_eq!(
            (level.score, level.boxes, level.landmarks),
            (view(3, 1), view(4, 4), Some(view(5, 10)))
        );
    }

    /// scrfd.py: `cv2.dnn.blobFromImage(img, 1.0/128, size, (127.5, 127.5, 127.5), swapRB=True)`.
    #[test]
    fn the_normalisation_is_the_published_one() {
        let Normalisation { mean, scale, order, padding } = Scrfd.normalisation();
        assert_eq!((mean, scale, order), ([127.5; 3], 1.0 / 128.0, ChannelOrder::Rgb));
        assert_eq!(padding, [0.0; 3], "numpy.zeros");
    }
}
