// SPDX-License-Identifier: MIT OR Apache-2.0

//! From a network's outputs to boxes: only cells over the threshold are looked at closely.

use crate::{
    face::Landmarks,
    families::{
        anchors::{Anchor, PER_CELL},
        heads::{Coding, Heads, Level, Score, View},
    },
    geometry::{Point, Rect},
};

/// Variances of the SSD coding, Pytorch_Retinaface data/config.py.
const CENTRE_VARIANCE: f32 = 0.1;
const SIZE_VARIANCE: f32 = 0.2;

/// A box over the score threshold, in network input pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    pub bounds: Rect,
    /// Probability of a face.
    pub score: f32,
    /// Where its landmarks are to be found, should it be kept.
    pub place: Place,
}

/// Which anchor a candidate comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Index into [`Heads::levels`].
    pub level: u8,
    pub anchor: u8,
    pub cell: u32,
}

/// The outputs of one inference, by [`View::output`].
pub trait Outputs {
    fn output(&self, index: usize) -> &[f32];
}

impl<T: AsRef<[f32]>> Outputs for [T] {
    fn output(&self, index: usize) -> &[f32] {
        self[index].as_ref()
    }
}

/// Appends every box whose probability is above `threshold`; boxes that are not finite are left
/// out.
pub fn candidates<O: Outputs + ?Sized>(
    heads: &Heads,
    outputs: &O,
    threshold: f32,
    candidates: &mut Vec<Candidate>,
) {
    // A softmax of two is over t exactly when the logits differ by more than ln(t / (1 − t)).
    let threshold = match heads.score {
        Score::Probability => threshold,
        Score::Logit => (threshold / (1.0 - threshold)).ln(),
    };
    for (level_index, level) in heads.levels.iter().enumerate() {
        let scores = outputs.output(level.score.output);
        let boxes = outputs.output(level.boxes.output);
        for anchor in 0..PER_CELL {
            each_over(scores, &level.score, anchor, level.cells(), threshold, |cell, score| {
                let bounds = bounds(heads.coding, level, boxes, anchor, cell);
                if !bounds.is_finite() {
                    return;
                }
                let score = match heads.score {
                    Score::Probability => score,
                    Score::Logit => 1.0 / (1.0 + (-score).exp()),
                };
                let place =
                    Place { level: level_index as u8, anchor: anchor as u8, cell: cell as u32 };
                candidates.push(Candidate { bounds, score, place });
            });
        }
    }
}

/// Calls `found` with every cell of which the anchor's score is above `threshold`.
fn each_over(
    scores: &[f32],
    view: &View,
    anchor: usize,
    cells: usize,
    threshold: f32,
    mut found: impl FnMut(usize, f32),
) {
    let scores = &scores[view.offset + anchor * view.anchor..];
    if view.cell != 1 {
        for (cell, &score) in scores.iter().step_by(view.cell).take(cells).enumerate() {
            if score > threshold {
                found(cell, score);
            }
        }
        return;
    }
    // Nearly every block has no face in it: one vectorised test a block.
    const BLOCK: usize = 32;
    for (block, scores) in scores[..cells].chunks(BLOCK).enumerate() {
        if !scores.iter().fold(false, |any, &score| any | (score > threshold)) {
            continue;
        }
        for (i, &score) in scores.iter().enumerate() {
            if score > threshold {
                found(block * BLOCK + i, score);
            }
        }
    }
}

/// The box of one anchor, in network input pixels.
fn bounds(coding: Coding, level: &Level, boxes: &[f32], anchor: usize, cell: usize) -> Rect {
    let [dx, dy, dw, dh] = level.boxes.read(boxes, anchor, cell);
    let prior = level.anchor(coding, anchor, cell);
    match coding {
        Coding::Ssd => {
            let centre_x = prior.centre_x + dx * CENTRE_VARIANCE * prior.side;
            let centre_y = prior.centre_y + dy * CENTRE_VARIANCE * prior.side;
            let half_width = prior.side * (dw * SIZE_VARIANCE).exp() / 2.0;
            let half_height = prior.side * (dh * SIZE_VARIANCE).exp() / 2.0;
            Rect {
                x_min: centre_x - half_width,
                y_min: centre_y - half_height,
                x_max: centre_x + half_width,
                y_max: centre_y + half_height,
            }
        }
        // bbox_transform.py of InsightFace: corners are the first and last pixel.
        Coding::FasterRcnn => {
            let centre_x = prior.centre_x + dx * prior.side;
            let centre_y = prior.centre_y + dy * prior.side;
            let half_width = (prior.side * dw.exp() - 1.0) / 2.0;
            let half_height = (prior.side * dh.exp() - 1.0) / 2.0;
            Rect {
                x_min: centre_x - half_width,
                y_min: centre_y - half_height,
                x_max: centre_x + half_width,
                y_max: centre_y + half_height,
            }
        }
    }
}

/// The landmarks of a candidate, in network input pixels; `None` where the network has none.
pub fn landmarks<O: Outputs + ?Sized>(
    heads: &Heads,
    outputs: &O,
    place: Place,
) -> Option<Landmarks> {
    let level = &heads.levels[usize::from(place.level)];
    let view = level.landmarks.as_ref()?;
    let (anchor, cell) = (usize::from(place.anchor), place.cell as usize);
    let offsets: [f32; 10] = view.read(outputs.output(view.output), anchor, cell);
    let prior = level.anchor(heads.coding, anchor, cell);
    let scale = match heads.coding {
        Coding::Ssd => CENTRE_VARIANCE * prior.side,
        Coding::FasterRcnn => prior.side,
    };
    let (points, _) = offsets.as_chunks::<2>();
    let mut landmarks = Landmarks::default();
    for (landmark, [dx, dy]) in landmarks.0.iter_mut().zip(points) {
        *landmark = Point { x: prior.centre_x + dx * scale, y: prior.centre_y + dy * scale };
    }
    Some(landmarks)
}

impl Level {
    fn anchor(&self, coding: Coding, index: usize, cell: usize) -> Anchor {
        Anchor::new(coding, self.stride, index, cell % self.grid.0, cell / self.grid.0)
    }
}

impl View {
    fn read<const N: usize>(&self, values: &[f32], anchor: usize, cell: usize) -> [f32; N] {
        let start = self.offset + anchor * self.anchor + cell * self.cell;
        std::array::from_fn(|k| values[start + k * self.channel])
    }
}
