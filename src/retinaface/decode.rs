// SPDX-License-Identifier: MIT OR Apache-2.0

//! From a network's outputs to boxes: only anchors over the threshold are decoded.

use crate::{
    face::Landmarks,
    families::{
        heads::{Heads, Score},
        level::View,
    },
    geometry::Rect,
};

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
    let value = |probability: f32| match heads.score {
        Score::Probability => probability,
        Score::Logit => (probability / (1.0 - probability)).ln(),
    };
    let probability = |value: f32| match heads.score {
        Score::Probability => value,
        Score::Logit => 1.0 / (1.0 + (-value).exp()),
    };
    for (level_index, level) in heads.levels.iter().enumerate() {
        let scores = outputs.output(level.score.output);
        let boxes = outputs.output(level.boxes.output);
        let objectness = level.objectness.map(|view| (view, outputs.output(view.output)));
        // √(a·b), which is no less than a·b, is over t only if a is over t², as b is 1 at most.
        let least = if objectness.is_some() { threshold * threshold } else { threshold };
        for anchor in 0..level.anchors {
            each_over(scores, &level.score, anchor, level.cells(), value(least), |cell, score| {
                let mut score = probability(score);
                if let Some((view, values)) = &objectness {
                    let [objectness] = view.read(values, anchor, cell);
                    score = heads.family.score(score, probability(objectness));
                    if score.is_nan() || score <= threshold {
                        return;
                    }
                }
                let values = level.boxes.read(boxes, anchor, cell);
                let bounds = heads.family.bounds(&level.cell(cell, anchor), values);
                if !bounds.is_finite() {
                    return;
                }
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

/// The landmarks of a candidate, in network input pixels; `None` where the network has none.
pub fn landmarks<O: Outputs + ?Sized>(
    heads: &Heads,
    outputs: &O,
    place: Place,
) -> Option<Landmarks> {
    let level = &heads.levels[usize::from(place.level)];
    let view = level.landmarks.as_ref()?;
    let (anchor, cell) = (usize::from(place.anchor), place.cell as usize);
    let values = outputs.output(view.output);
    let values = match level.point_values {
        2 => view.read(values, anchor, cell),
        step => {
            let x_or_y = |index: usize| View {
                offset: view.offset + (index / 2 * step + index % 2) * view.channel,
                ..*view
            };
            std::array::from_fn(|index| {
                let [value] = x_or_y(index).read(values, anchor, cell);
                value
            })
        }
    };
    Some(heads.family.landmarks(&level.cell(cell, anchor), values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        families::{family::Family, level::Level, pytorch::RETINAFACE},
        geometry::Point,
    };

    /// Two levels of 40 and 2 cells, merged outputs, of which every score is `background` at first.
    fn network(score: Score, background: f32) -> (Heads, [Vec<f32>; 2]) {
        let levels =
            vec![Level::merged(0, 8, (8, 5), 2, true), Level::merged(1, 16, (2, 1), 2, true)];
        let outputs = [40, 2].map(|cells| {
            let mut output = vec![0.0; 30 * cells];
            output[..2 * cells].fill(background);
            output
        });
        (Heads { family: &RETINAFACE, score, levels }, outputs)
    }

    fn found(heads: &Heads, outputs: &[Vec<f32>], threshold: f32) -> Vec<Candidate> {
        let mut found = Vec::new();
        candidates(heads, outputs, threshold, &mut found);
        found
    }

    #[test]
    fn what_is_over_the_threshold_is_found_where_it_is() {
        let (heads, mut outputs) = network(Score::Probability, 0.1);
        outputs[0][39] = 0.9; // anchor 0, the last cell, (7, 4)
        outputs[0][40 + 33] = 0.8; // anchor 1, (1, 4), the first cell after a whole block
        outputs[1][2 + 1] = 0.7; // stride 16, anchor 1, (1, 0)
        outputs[0][10] = 0.5; // at the threshold, not over it
        outputs[0][35] = 0.5; // with one that is over it in the same block
        let place = |level, anchor, cell| Place { level, anchor, cell };
        let candidate = |centre: (f32, f32), half: f32, score, place| {
            let centre = Point { x: centre.0, y: centre.1 };
            Candidate { bounds: Rect::around(centre, half, half), score, place }
        };
        let expected = [
            candidate((60.0, 36.0), 8.0, 0.9, place(0, 0, 39)),
            candidate((12.0, 36.0), 16.0, 0.8, place(0, 1, 33)),
            candidate((24.0, 8.0), 64.0, 0.7, place(1, 1, 1)),
        ];
        assert_eq!(found(&heads, &outputs, 0.5), expected);
    }

    /// 1/(1 + e^−2) = 0.8808, 1/(1 + e^0.5) = 0.3775: thresholds around each.
    #[test]
    fn logits_are_compared_as_probabilities() {
        let (heads, mut outputs) = network(Score::Logit, -20.0);
        outputs[0][5] = 2.0;
        outputs[1][0] = -0.5;
        let scores = |threshold| {
            found(&heads, &outputs, threshold).iter().map(|c| c.score).collect::<Vec<_>>()
        };
        assert_eq!(scores(0.881), [0.0; 0]);
        let [score] = scores(0.8807)[..] else { panic!("one is over") };
        assert!((score - 0.880_797).abs() < 1e-5, "{score}");
        assert_eq!(scores(0.378).len(), 1);
        let [_, score] = scores(0.377)[..] else { panic!("both are over") };
        assert!((score - 0.377_541).abs() < 1e-5, "{score}");
        assert_eq!(scores(1.0), [0.0; 0]);
        assert_eq!(scores(0.0).len(), 84, "every anchor");
    }

    /// Values of an anchor side by side, as the PyTorch family has them.
    #[test]
    fn channels_last_are_read() {
        let view = |output, values: usize, offset| View {
            output,
            offset,
            cell: 2 * values,
            anchor: values,
            channel: 1,
        };
        let level = Level {
            stride: 8,
            grid: (3, 2),
            anchors: 2,
            score: view(0, 2, 1),
            objectness: None,
            boxes: view(1, 4, 0),
            landmarks: Some(view(2, 10, 0)),
            point_values: 2,
        };
        let heads = Heads { family: &RETINAFACE, score: Score::Probability, levels: vec![level] };
        let mut outputs = [vec![0.0; 24], vec![0.0; 48], vec![0.0; 120]];
        // Anchor 1 of cell 4, (1, 1): number 9 of all; its prior has the centre (12, 12), side 32.
        outputs[0][2 * 9 + 1] = 0.75;
        outputs[0][2 * 3 + 1] = 0.5; // at the threshold, not over it
        outputs[1][4 * 9] = 10.0;
        outputs[2][10 * 9 + 3] = -5.0;
        let [candidate] = found(&heads, &outputs, 0.5)[..] else { panic!("one anchor is over") };
        assert_eq!(candidate.place, Place { level: 0, anchor: 1, cell: 4 });
        // 12 + 10·0.1·32 = 44
        assert_eq!(candidate.bounds, Rect::new(28.0, -4.0, 60.0, 28.0));
        let points = landmarks(&heads, &outputs[..], candidate.place).unwrap().0;
        assert_eq!((points[0].x, points[0].y), (12.0, 12.0));
        // 12 − 5·0.1·32 = −4
        assert_eq!((points[1].x, points[1].y), (12.0, -4.0));
    }

    /// Background and face of the only anchor side by side: every second value is a face's.
    #[test]
    fn scores_two_apart_are_read() {
        let level = Level {
            anchors: 1,
            score: View { output: 0, offset: 1, cell: 2, anchor: 0, channel: 1 },
            boxes: View { output: 1, offset: 0, cell: 4, anchor: 0, channel: 1 },
            ..Level::merged(0, 8, (3, 2), 1, false)
        };
        let heads = Heads { family: &RETINAFACE, score: Score::Probability, levels: vec![level] };
        let mut outputs = [vec![0.0; 12], vec![0.0; 24]];
        outputs[0][2 * 4] = 0.9; // the background of cell 4
        outputs[0][2 * 5 + 1] = 0.8;
        let cells: Vec<_> = found(&heads, &outputs, 0.5).iter().map(|c| c.place.cell).collect();
        assert_eq!(cells, [5]);
    }

    #[test]
    fn landmarks_come_from_the_candidates_place() {
        let (heads, mut outputs) = network(Score::Probability, 0.0);
        let place = Place { level: 1, anchor: 1, cell: 1 };
        // Two cells: scores are 4 values, boxes 16; then ten planes for each anchor.
        outputs[1][4 + 16 + 2 * 10 + 1] = 1.0;
        let points = landmarks(&heads, &outputs[..], place).unwrap().0;
        // The prior (24, 8) of side 128, and x of the first point 0.1·128 to its right.
        assert_eq!((points[0].x, points[0].y), (24.0 + 12.8, 8.0));
        assert_eq!((points[4].x, points[4].y), (24.0, 8.0));

        let mut without = heads;
        without.levels[1].landmarks = None;
        assert_eq!(landmarks(&without, &outputs[..], place), None);
    }

    #[test]
    fn boxes_that_are_no_numbers_are_left_out() {
        let (heads, mut outputs) = network(Score::Probability, 0.9);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            // x of the box of anchor 0 at cell 0.
            outputs[0][80] = value;
            assert_eq!(found(&heads, &outputs, 0.5).len(), 83, "{value}");
        }
        assert!(RETINAFACE.bounds(&heads.levels[0].cell(0, 0), [f32::NAN; 4]).x_min.is_nan());
    }
}
