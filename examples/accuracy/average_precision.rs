// SPDX-License-Identifier: MIT OR Apache-2.0

//! Average precision as PASCAL VOC has computed it since 2010, for any IoU.
//!
//! VOCdevkit's VOCevaldet.m: from the highest score down, a detection belongs to the annotated face
//! that it overlaps most. It is right if that is enough and the face had none yet, wrong if not, and
//! neither if the face does not count.

use crate::dataset::{Bounds, Corners, Dataset, Detection, Face, Subset};

/// A face and what was found for it, as indices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Match {
    pub picture: usize,
    pub face: usize,
    pub detection: usize,
}

#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    /// NaN where no face counts.
    pub average_precision: f64,
    /// The part of the faces that is found at all.
    pub recall: f64,
    /// Pictures in which each face that counts was found, and nothing that is none or was found before.
    pub exact: usize,
    pub matches: Vec<Match>,
}

/// Of the faces of `subset`; `detections` has those of each picture.
pub fn evaluate(
    dataset: &Dataset,
    subset: &Subset,
    detections: &[Vec<Detection>],
    iou: f64,
) -> Evaluation {
    let mut order: Vec<(usize, usize)> = Vec::new();
    for (picture, found) in detections.iter().enumerate() {
        order.extend((0..found.len()).map(|detection| (picture, detection)));
    }
    let score = |&(picture, detection): &(usize, usize)| detections[picture][detection].score;
    order.sort_by(|a, b| score(b).total_cmp(&score(a)));

    let mut is_exact = vec![true; detections.len()];
    let mut taken: Vec<_> = subset.counts.iter().map(|faces| vec![false; faces.len()]).collect();
    let total = subset.faces() as f64;
    let (mut right, mut wrong) = (0.0, 0.0);
    let mut curve = Vec::new();
    let mut matches = Vec::new();
    for (picture, detection) in order {
        let faces = &dataset.pictures[picture].faces;
        let bounds = &detections[picture][detection].bounds;
        match most_overlapped(faces, bounds, dataset.corners, iou) {
            Some(face) if !subset.counts[picture][face] => continue,
            Some(face) if !taken[picture][face] => {
                taken[picture][face] = true;
                matches.push(Match { picture, face, detection });
                right += 1.0;
            }
            None if in_a_crowd(faces, bounds, dataset.corners, iou) => continue,
            _ => {
                wrong += 1.0;
                is_exact[picture] = false;
            }
        }
        curve.push((right / total, right / (right + wrong)));
    }
    let recall = right / total;
    let average_precision = if total > 0.0 { area(&curve) } else { f64::NAN };
    let exact = is_exact.iter().zip(&taken).zip(&subset.counts);
    let exact = exact.filter(|((is_exact, taken), counts)| **is_exact && taken == counts).count();
    Evaluation { average_precision, recall, exact, matches }
}

/// The face that is overlapped most, if by at least `iou`; the first of several.
pub fn most_overlapped(
    faces: &[Face],
    bounds: &Bounds,
    corners: Corners,
    iou: f64,
) -> Option<usize> {
    let mut best = None;
    let mut most = f64::NEG_INFINITY;
    for (index, face) in faces.iter().enumerate().filter(|(_, face)| !face.crowd) {
        let overlap = corners.iou(bounds, &face.bounds);
        if overlap > most {
            most = overlap;
            best = Some(index);
        }
    }
    best.filter(|_| most >= iou)
}

/// As in COCO's cocoeval.py: what lies in a region of many faces is neither right nor wrong.
fn in_a_crowd(faces: &[Face], bounds: &Bounds, corners: Corners, iou: f64) -> bool {
    faces.iter().any(|face| face.crowd && corners.inside(bounds, &face.bounds) >= iou)
}

/// The area under a curve of `(recall, precision)`, by growing recall, in which each precision is the
/// highest at that recall or more: VOCap.m, of which WIDER FACE's toolkit has a copy.
pub fn area(curve: &[(f64, f64)]) -> f64 {
    let mut area = 0.0;
    let mut best = 0.0_f64;
    for (index, &(recall, precision)) in curve.iter().enumerate().rev() {
        best = best.max(precision);
        let before = index.checked_sub(1).map_or(0.0, |before| curve[before].0);
        area += (recall - before) * best;
    }
    area
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{
        Protocol,
        examples::{self, assert_near},
    };

    fn at(x: f64) -> Bounds {
        Bounds::new(x, 0.0, x + 10.0, 10.0)
    }

    fn dataset(pictures: &[&[(f64, bool)]]) -> Dataset {
        examples::dataset(pictures, at, Corners::Edges, Protocol::Voc)
    }

    fn found(detections: &[(f64, f64)]) -> Vec<Detection> {
        let detection = |&(x, score): &(f64, f64)| Detection { bounds: at(x), score, points: None };
        detections.iter().map(detection).collect()
    }

    fn evaluate_at(dataset: &Dataset, detections: &[Vec<Detection>], iou: f64) -> Evaluation {
        evaluate(dataset, &dataset.subsets[0], detections, iou)
    }

    #[test]
    fn areas_by_hand() {
        // Precision rises again at the second point, so the first gets that as well.
        assert_near(area(&[(0.25, 0.5), (0.5, 0.75), (1.0, 0.5)]), 0.5 * 0.75 + 0.5 * 0.5);
        // What is not reached is not counted.
        assert_near(area(&[(0.5, 1.0), (0.5, 0.5)]), 0.5);
        assert_eq!(area(&[]), 0.0);
    }

    /// Right, wrong, right, and one face not found: precision 1, 1/2, 2/3 at a recall of 1/3, 1/3, 2/3.
    #[test]
    fn scores_are_compared_across_pictures() {
        let dataset = dataset(&[&[(0.0, true), (100.0, true)], &[(0.0, true)]]);
        let detections = [found(&[(1.0, 0.7), (50.0, 0.8)]), found(&[(0.0, 0.9)])];
        let evaluation = evaluate_at(&dataset, &detections, 0.5);
        assert_near(evaluation.average_precision, 1.0 / 3.0 + 1.0 / 3.0 * 2.0 / 3.0);
        assert_near(evaluation.recall, 2.0 / 3.0);
        let pairs = [(1, 0, 0), (0, 0, 0)];
        let pairs = pairs.map(|(picture, face, detection)| Match { picture, face, detection });
        assert_eq!(evaluation.matches, pairs);
    }

    #[test]
    fn a_face_is_found_once() {
        let dataset = dataset(&[&[(0.0, true)]]);
        let detections = [found(&[(2.0, 0.8), (0.0, 0.9), (1.0, 0.7)])];
        let evaluation = evaluate_at(&dataset, &detections, 0.5);
        // The best comes first; the two that follow do not lower what was reached before.
        assert_eq!(evaluation.average_precision, 1.0);
        assert_eq!(evaluation.matches.len(), 1);
        assert_eq!(evaluation.matches[0].detection, 1);
        assert_eq!(evaluation.exact, 0);
        // With a wrong one before it, the right one has a precision of 1/2.
        let detections = [found(&[(30.0, 0.95), (0.0, 0.9)])];
        assert_near(evaluate_at(&dataset, &detections, 0.5).average_precision, 0.5);
    }

    #[test]
    fn pictures_are_exact_without_a_face_too_few_or_a_box_too_many() {
        let two = &[(0.0, true), (100.0, true), (200.0, false)][..];
        let dataset = dataset(&[two, two, two, &[]]);
        let all = found(&[(0.0, 0.9), (200.0, 0.8), (100.0, 0.7)]);
        let detections = [all.clone(), all[..2].to_vec(), found(&[(0.0, 0.9)]), Vec::new()];
        assert_eq!(evaluate_at(&dataset, &detections, 0.5).exact, 2);
        let more = [&all[..], &found(&[(50.0, 0.1)])].concat();
        let detections = [all, more.clone(), more, found(&[(50.0, 0.1)])];
        assert_eq!(evaluate_at(&dataset, &detections, 0.5).exact, 1);
    }

    /// 8·10 of 100 + 100 − 80 is 2/3.
    #[test]
    fn an_overlap_at_the_threshold_is_enough() {
        let dataset = dataset(&[&[(0.0, true)]]);
        let detections = [found(&[(2.0, 0.9)])];
        for (iou, expected) in [(2.0 / 3.0, 1.0), (0.67, 0.0)] {
            assert_eq!(evaluate_at(&dataset, &detections, iou).average_precision, expected);
        }
    }

    #[test]
    fn faces_that_do_not_count_are_neither_right_nor_wrong() {
        let dataset = dataset(&[&[(0.0, false), (100.0, true)]]);
        let detections = [found(&[(0.0, 0.9), (1.0, 0.8), (100.0, 0.7)])];
        assert_eq!(evaluate_at(&dataset, &detections, 0.5).average_precision, 1.0);
    }

    #[test]
    fn crowds_take_what_overlaps_no_face() {
        let mut dataset = dataset(&[&[(0.0, false), (0.0, true)]]);
        dataset.pictures[0].faces[0].bounds = Bounds::new(0.0, 0.0, 1000.0, 1000.0);
        dataset.pictures[0].faces[0].crowd = true;
        let detections = [found(&[(500.0, 0.9), (994.0, 0.8), (0.0, 0.7), (1.0, 0.6)])];
        let evaluation = evaluate_at(&dataset, &detections, 0.5);
        assert_eq!(evaluation.average_precision, 1.0);
        assert_eq!(evaluation.matches, [Match { picture: 0, face: 1, detection: 2 }]);
        // Less than half of it is inside.
        let detections = [found(&[(996.0, 0.9), (0.0, 0.7)])];
        assert_near(evaluate_at(&dataset, &detections, 0.5).average_precision, 0.5);
    }

    #[test]
    fn without_faces_there_is_no_precision() {
        let dataset = dataset(&[&[(0.0, false)]]);
        let evaluation = evaluate_at(&dataset, &[found(&[(50.0, 0.9)])], 0.5);
        assert!(evaluation.average_precision.is_nan());
        let dataset = self::dataset(&[&[(0.0, true)]]);
        assert_eq!(evaluate_at(&dataset, &[Vec::new()], 0.5).average_precision, 0.0);
    }
}
