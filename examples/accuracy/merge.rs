// SPDX-License-Identifier: MIT OR Apache-2.0

//! What several looks at a picture found, made one: RetinaFace.bbox_vote of InsightFace's
//! detection/retinaface/retinaface.py, with which its multi-scale figures were measured.

use crate::dataset::{Bounds, Corners, Detection, Points};

/// As many boxes of a picture as are kept there.
const MOST: usize = 750;

/// From the highest score down, a box and all that overlap it by at least `iou` become their mean,
/// weighted by score, with the highest score. A box that no other supports is dropped, as there: a
/// face has many, since none of them were suppressed; also as there, it stays if it is the last.
pub fn vote(mut detections: Vec<Detection>, iou: f64) -> Vec<Detection> {
    detections.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut merged = Vec::new();
    while let Some(best) = detections.first().copied() {
        if merged.len() == MOST {
            break;
        }
        // Itself among them, also where rounding makes it overlap itself by less than all.
        let mut group = vec![best];
        let mut index = 0;
        detections.retain(|other| {
            index += 1;
            let joins = index > 1 && Corners::Pixels.iou(&best.bounds, &other.bounds) >= iou;
            if joins {
                group.push(*other);
            }
            index > 1 && !joins
        });
        if group.len() > 1 || detections.is_empty() {
            merged.push(mean(&group));
        }
    }
    merged
}

/// The mean of boxes and of points where all have them; the first has the highest score.
fn mean(group: &[Detection]) -> Detection {
    let sum: f64 = group.iter().map(|detection| detection.score).sum();
    // Scores of 0 weigh the same.
    let weight = |d: &Detection| if sum > 0.0 { d.score / sum } else { 1.0 / group.len() as f64 };
    let mean = |value: &dyn Fn(&Detection) -> f64| -> f64 {
        group.iter().map(|detection| value(detection) * weight(detection)).sum()
    };
    let all = group.iter().map(|detection| detection.points).collect::<Option<Vec<Points>>>();
    let points = all.map(|points| {
        let weighted = || points.iter().zip(group.iter().map(weight));
        let axis = |point: usize, axis: usize| weighted().map(|(p, w)| p[point][axis] * w).sum();
        std::array::from_fn(|point| [axis(point, 0), axis(point, 1)])
    });
    Detection {
        bounds: Bounds {
            x_min: mean(&|d| d.bounds.x_min),
            y_min: mean(&|d| d.bounds.y_min),
            x_max: mean(&|d| d.bounds.x_max),
            y_max: mean(&|d| d.bounds.y_max),
        },
        score: group[0].score,
        points,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detection(x: f64, score: f64) -> Detection {
        let bounds = Bounds::new(x, 0.0, x + 9.0, 9.0);
        Detection { bounds, score, points: Some([[x, x + 1.0]; 5]) }
    }

    fn assert_near(found: &Detection, expected: &Detection) {
        let numbers = |d: &Detection| {
            let b = d.bounds;
            let points = d.points.into_iter().flatten().flatten();
            [b.x_min, b.y_min, b.x_max, b.y_max, d.score].into_iter().chain(points).collect()
        };
        let (found, expected): (Vec<f64>, Vec<f64>) = (numbers(found), numbers(expected));
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-9, "{found} for {expected}");
        }
    }

    /// 0.75 at 0 and 0.25 at 4: at 1, with 0.75. 6·10 of 140 pixels overlap, 0.43.
    #[test]
    fn boxes_that_overlap_become_their_mean() {
        let boxes = || vec![detection(4.0, 0.25), detection(0.0, 0.75), detection(100.0, 0.1)];
        let merged = vote(boxes(), 0.4);
        assert_eq!(merged.len(), 2);
        assert_near(&merged[0], &detection(1.0, 0.75));
        // Alone, but the last.
        assert_near(&merged[1], &detection(100.0, 0.1));
        // Nothing overlaps that much: each is alone, and only the last stays.
        let merged = vote(boxes(), 0.5);
        assert_eq!(merged.len(), 1);
        assert_near(&merged[0], &detection(100.0, 0.1));
    }

    /// The third overlaps the second by half but the best not at all.
    #[test]
    fn overlaps_are_with_the_best() {
        let boxes = [(0.0, 0.9), (3.0, 0.6), (6.0, 0.8), (7.0, 0.4)];
        let merged = vote(boxes.map(|(x, score)| detection(x, score)).to_vec(), 0.5);
        assert_eq!(merged.len(), 2);
        assert_near(&merged[0], &detection(3.0 * 0.6 / 1.5, 0.9));
        assert_near(&merged[1], &detection((6.0 * 0.8 + 7.0 * 0.4) / 1.2, 0.8));
    }

    #[test]
    fn points_need_to_be_in_all() {
        let without = Detection { points: None, ..detection(1.0, 0.5) };
        let merged = vote(vec![detection(0.0, 0.5), without], 0.5);
        assert_near(&merged[0], &Detection { points: None, ..detection(0.5, 0.5) });
    }

    #[test]
    fn at_most_as_many_as_there() {
        let pairs = (0..800).flat_map(|i| [detection(100.0 * f64::from(i), 0.5); 2]);
        assert_eq!(vote(pairs.collect(), 0.4).len(), 750);
        assert!(vote(Vec::new(), 0.4).is_empty());
        let none = vote(vec![detection(0.0, 0.0), detection(2.0, 0.0)], 0.5);
        assert_near(&none[0], &detection(1.0, 0.0));
    }
}
