// SPDX-License-Identifier: MIT OR Apache-2.0

//! Greedy non-maximum suppression.

use std::cmp::Ordering;

use super::decode::Candidate;
use crate::geometry::Rect;

/// A box with a score.
pub trait Scored: Copy {
    fn bounds(&self) -> &Rect;

    fn score(&self) -> f32;

    /// The order of two with one score.
    fn place(&self, other: &Self) -> Ordering;
}

impl Scored for Candidate {
    fn bounds(&self) -> &Rect {
        &self.bounds
    }

    fn score(&self) -> f32 {
        self.score
    }

    fn place(&self, other: &Self) -> Ordering {
        self.place.cmp(&other.place)
    }
}

/// Keeps the best box of each group that overlaps: from the highest score down, every box that
/// overlaps none of the kept ones by more than `threshold`, at most `limit` of them. What remains
/// is in order of falling score. Nothing is allocated.
pub fn suppress<T: Scored>(
    candidates: &mut Vec<T>,
    overlap: impl Fn(&Rect, &Rect) -> f32,
    threshold: f32,
    limit: usize,
) {
    // Equal scores are put in order of place, so that the result does not depend on the input's.
    candidates.sort_unstable_by(|a, b| b.score().total_cmp(&a.score()).then_with(|| a.place(b)));
    let mut kept = 0;
    for i in 0..candidates.len() {
        if kept == limit {
            break;
        }
        let candidate = candidates[i];
        let overlaps = |other: &T| overlap(candidate.bounds(), other.bounds()) > threshold;
        if !candidates[..kept].iter().any(overlaps) {
            candidates[kept] = candidate;
            kept += 1;
        }
    }
    candidates.truncate(kept);
}

/// Intersection over union of boxes whose corners are the first and last pixel, so a box is a pixel
/// wider than its corners are apart: as in py_cpu_nms of Fast R-CNN, with which every RetinaFace is
/// trained and measured. For boxes of a few pixels it differs from [`Rect::iou`].
pub fn overlap(a: &Rect, b: &Rect) -> f32 {
    let area = |rect: &Rect| (rect.width() + 1.0) * (rect.height() + 1.0);
    let both = a.intersection(b);
    let intersection = (both.width() + 1.0).max(0.0) * (both.height() + 1.0).max(0.0);
    intersection / (area(a) + area(b) - intersection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retinaface::decode::Place;

    fn candidate(score: f32, bounds: [f32; 4], cell: u32) -> Candidate {
        let [x_min, y_min, x_max, y_max] = bounds;
        let place = Place { cell, ..Place::default() };
        Candidate { bounds: Rect::new(x_min, y_min, x_max, y_max), score, place }
    }

    /// Pixels counted: a box from 0 to 9 has ten of them.
    #[test]
    fn overlaps_count_the_last_pixel() {
        let square = Rect::new(0.0, 0.0, 9.0, 9.0);
        let table = [
            // The same: 100 of 100.
            ([0.0, 0.0, 9.0, 9.0], 1.0),
            // Half: 5·10 of 100 + 100 − 50 pixels. Without the pixel: 4·9 of 81 + 81 − 36, 0.286.
            ([5.0, 0.0, 14.0, 9.0], 1.0 / 3.0),
            ([0.0, 5.0, 9.0, 14.0], 1.0 / 3.0),
            // A quarter: 5·5 of 100 + 100 − 25.
            ([5.0, 5.0, 14.0, 14.0], 1.0 / 7.0),
            // Inside: 4·2 of 100.
            ([2.0, 3.0, 5.0, 4.0], 0.08),
            // Side by side: no pixel in common.
            ([10.0, 0.0, 19.0, 9.0], 0.0),
            ([0.0, 12.0, 9.0, 20.0], 0.0),
            ([30.0, 40.0, 39.0, 49.0], 0.0),
        ];
        for ([x_min, y_min, x_max, y_max], expected) in table {
            let other = Rect::new(x_min, y_min, x_max, y_max);
            assert!((overlap(&square, &other) - expected).abs() < 1e-6, "{other:?}");
            assert!((overlap(&other, &square) - expected).abs() < 1e-6, "{other:?}");
        }
    }

    #[test]
    fn the_better_of_two_that_overlap_is_kept() {
        let boxes = vec![
            candidate(0.7, [5.0, 0.0, 14.0, 9.0], 0),
            candidate(0.9, [0.0, 0.0, 9.0, 9.0], 1),
            // Overlaps the first by a third, but that one is dropped.
            candidate(0.6, [10.0, 0.0, 19.0, 9.0], 2),
        ];
        let kept = |threshold, limit| {
            let mut boxes = boxes.clone();
            suppress(&mut boxes, overlap, threshold, limit);
            boxes.iter().map(|kept| kept.place.cell).collect::<Vec<_>>()
        };
        // 1/3 is over 0.33 but not over 0.34: only with the last pixel.
        assert_eq!(kept(0.33, 10), [1, 2]);
        assert_eq!(kept(0.34, 10), [1, 0, 2]);
        // At the threshold is not over it.
        assert_eq!(kept(1.0 / 3.0, 10), [1, 0, 2]);
        assert_eq!(kept(0.34, 2), [1, 0]);
        assert_eq!(kept(0.34, 0), [0; 0]);
    }

    #[test]
    fn equal_scores_are_in_order_of_place() {
        let bounds = |x| [x, 0.0, x + 9.0, 9.0];
        let mut boxes = vec![candidate(0.9, bounds(50.0), 7), candidate(0.9, bounds(0.0), 3)];
        suppress(&mut boxes, overlap, 0.4, 10);
        assert_eq!(boxes.iter().map(|kept| kept.place.cell).collect::<Vec<_>>(), [3, 7]);
    }
}
