// SPDX-License-Identifier: MIT OR Apache-2.0

//! Greedy non-maximum suppression.

use super::decode::Candidate;
use crate::geometry::Rect;

/// Keeps the best box of each group that overlaps: from the highest score down, every box that
/// overlaps none of the kept ones by more than `threshold`, at most `limit` of them. What remains
/// is in order of falling score. Nothing is allocated.
pub fn suppress(candidates: &mut Vec<Candidate>, threshold: f32, limit: usize) {
    // Equal scores are put in order of place, so that the result does not depend on the input's.
    candidates
        .sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.place.cmp(&b.place)));
    let mut kept = 0;
    for i in 0..candidates.len() {
        if kept == limit {
            break;
        }
        let candidate = candidates[i];
        let overlaps = |other: &Candidate| overlap(&candidate.bounds, &other.bounds) > threshold;
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
