// SPDX-License-Identifier: MIT OR Apache-2.0

//! Average precision as the toolkit of WIDER FACE computes it: eval_tools, functions norm_score.m and
//! evaluation.m, and VOCap.m; the same in Python is wondervictor/WiderFace-Evaluation.
//!
//! It differs from PASCAL VOC's in that scores are spread over 0 to 1, precision is known at 1000 of
//! them only, and a second box on a face is not wrong but one more proposal, as is the first.

use crate::{
    average_precision::{area, most_overlapped},
    dataset::{Corners, Dataset, Detection, Picture, Subset},
};

const THRESHOLDS: usize = 1000;

/// What is known at one threshold: how many boxes are proposed for faces that count or for none, and
/// how many faces are found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counts {
    proposals: usize,
    found: usize,
}

/// Detections by falling score, their scores spread over 0 to 1 for all pictures together.
pub fn normalise(detections: &[Vec<Detection>]) -> Vec<Vec<Detection>> {
    let scores = || detections.iter().flatten().map(|detection| detection.score);
    let lowest = scores().fold(f64::INFINITY, f64::min);
    let range = scores().fold(f64::NEG_INFINITY, f64::max) - lowest;
    let mut normalised = detections.to_vec();
    for found in &mut normalised {
        for detection in found.iter_mut() {
            // All the same: the toolkit divides by 0.
            let spread = (detection.score - lowest) / range;
            detection.score = if range > 0.0 { spread } else { 1.0 };
        }
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
    }
    normalised
}

/// Of the faces of `subset`, for detections that are [`normalise`]d; NaN where no face counts.
pub fn average_precision(
    dataset: &Dataset,
    subset: &Subset,
    detections: &[Vec<Detection>],
    iou: f64,
) -> f64 {
    let mut totals = [Counts::default(); THRESHOLDS];
    for ((picture, counts), found) in dataset.pictures.iter().zip(&subset.counts).zip(detections) {
        // As there, what is found in pictures without faces is not looked at.
        if picture.faces.is_empty() || found.is_empty() {
            continue;
        }
        let after = evaluate_picture(picture, counts, found, iou);
        let mut over = 0;
        for (index, total) in totals.iter_mut().enumerate() {
            let threshold = 1.0 - (index + 1) as f64 / THRESHOLDS as f64;
            over += found[over..].iter().take_while(|found| found.score >= threshold).count();
            if let Some(last) = over.checked_sub(1) {
                total.proposals += after[last].proposals;
                total.found += after[last].found;
            }
        }
    }
    let faces = subset.faces() as f64;
    // Without proposals nothing is found, and whatever the precision is, it has no weight.
    let point = |counts: &Counts| {
        (counts.found as f64 / faces, counts.found as f64 / counts.proposals.max(1) as f64)
    };
    let curve: Vec<_> = totals.iter().map(point).collect();
    if faces > 0.0 { area(&curve) } else { f64::NAN }
}

/// What is counted once each of the detections was looked at.
fn evaluate_picture(
    picture: &Picture,
    counts: &[bool],
    found: &[Detection],
    iou: f64,
) -> Vec<Counts> {
    let mut taken = vec![false; picture.faces.len()];
    let mut so_far = Counts::default();
    let count = |detection: &Detection| {
        match most_overlapped(&picture.faces, &detection.bounds, Corners::Pixels, iou) {
            Some(best) if !counts[best] => return so_far,
            Some(best) if !taken[best] => {
                taken[best] = true;
                so_far.found += 1;
            }
            _ => {}
        }
        so_far.proposals += 1;
        so_far
    };
    found.iter().map(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{
        Bounds, Protocol,
        examples::{self, assert_near},
    };

    fn at(x: f64) -> Bounds {
        Bounds::with_size([x, 0.0, 9.0, 9.0])
    }

    fn detection(x: f64, score: f64) -> Detection {
        Detection { bounds: at(x), score, points: None }
    }

    fn dataset(pictures: &[&[(f64, bool)]]) -> Dataset {
        examples::dataset(pictures, at, Corners::Pixels, Protocol::Wider)
    }

    fn evaluate(dataset: &Dataset, detections: &[Vec<Detection>]) -> f64 {
        average_precision(dataset, &dataset.subsets[0], &normalise(detections), 0.5)
    }

    #[test]
    fn scores_are_spread_over_the_set() {
        let detections =
            [vec![detection(0.0, 0.2), detection(1.0, 0.6)], vec![detection(2.0, 0.4)]];
        let normalised = normalise(&detections);
        let scores = |found: &Vec<Detection>| found.iter().map(|d| d.score).collect::<Vec<_>>();
        assert_eq!(scores(&normalised[0]), [1.0, 0.0]);
        assert_near(scores(&normalised[1])[0], 0.5);
        // Nothing to spread.
        let alone = normalise(&[vec![detection(0.0, 0.3), detection(1.0, 0.3)]]);
        assert_eq!(scores(&alone[0]), [1.0, 1.0]);
        assert_eq!(alone[0][0].bounds, at(0.0));
    }

    /// The precision is 1 at a recall of 1/2, and 2/3 at 1.
    #[test]
    fn right_and_wrong_by_hand() {
        let dataset = dataset(&[&[(0.0, true), (100.0, true)]]);
        let detections = [vec![detection(0.0, 1.0), detection(50.0, 0.6), detection(100.0, 0.2)]];
        assert_near(evaluate(&dataset, &detections), 0.5 + 0.5 * 2.0 / 3.0);
    }

    /// Wrong after the last face was found, which is too late to count, unless that was at the same of
    /// 1000 thresholds.
    #[test]
    fn scores_less_than_a_thousandth_apart_are_one() {
        let dataset = dataset(&[&[(0.0, true), (100.0, true)]]);
        for (score, expected) in [(0.5003, 0.5 + 0.5 * 2.0 / 3.0), (0.4999, 1.0)] {
            let found = [(100.0, 1.0), (0.0, 0.50045), (50.0, score), (300.0, 0.0)];
            let found = found.map(|(x, score)| detection(x, score)).to_vec();
            assert_near(evaluate(&dataset, &[found]), expected);
        }
    }

    /// Three proposals, two of them for one face: 1/1, 1/2, 2/3.
    #[test]
    fn a_second_box_is_a_proposal() {
        let dataset = dataset(&[&[(0.0, true), (100.0, true)]]);
        let detections = [vec![detection(0.0, 1.0), detection(1.0, 0.6), detection(100.0, 0.2)]];
        assert_near(evaluate(&dataset, &detections), 0.5 + 0.5 * 2.0 / 3.0);
    }

    #[test]
    fn faces_that_do_not_count_take_their_boxes_away() {
        let dataset = dataset(&[&[(0.0, false), (100.0, true)]]);
        let detections = [vec![detection(0.0, 1.0), detection(1.0, 0.9), detection(100.0, 0.2)]];
        assert_eq!(evaluate(&dataset, &detections), 1.0);
    }

    /// From 0 to 9 and from 5 to 14, 50 of 150 pixels: without the last pixel it is 36 of 126.
    #[test]
    fn the_last_pixel_counts() {
        let dataset = dataset(&[&[(0.0, true)]]);
        let detections = normalise(&[vec![detection(5.0, 1.0)]]);
        let at = |iou| average_precision(&dataset, &dataset.subsets[0], &detections, iou);
        assert_eq!(at(1.0 / 3.0), 1.0);
        assert_eq!(at(0.34), 0.0);
    }

    #[test]
    fn pictures_without_faces_are_left_out() {
        let dataset = dataset(&[&[(0.0, true)], &[]]);
        let detections =
            [vec![detection(0.0, 0.5)], vec![detection(0.0, 0.9), detection(0.0, 0.1)]];
        assert_eq!(evaluate(&dataset, &detections), 1.0);
        assert!(evaluate(&self::dataset(&[&[(0.0, false)]]), &detections[..1]).is_nan());
    }
}
