// SPDX-License-Identifier: MIT OR Apache-2.0

//! Geometry and suppression hold for any boxes.

use gstretinaface::{
    geometry::Rect,
    orientation::Orientation,
    preprocess::{InputSizes, ScaleMethod},
    retinaface::{
        decode::{Candidate, Place},
        nms,
    },
};
use proptest::prelude::*;

fn rect() -> impl Strategy<Value = Rect> {
    (-50f32..700.0, -50f32..500.0, 0f32..300.0, 0f32..300.0)
        .prop_map(|(x, y, w, h)| Rect::new(x, y, x + w, y + h))
}

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let candidate = (rect(), 0f32..1.0);
    prop::collection::vec(candidate, 0..60).prop_map(|boxes| {
        let number = |(i, (bounds, score))| {
            let place = Place { cell: i as u32, ..Place::default() };
            Candidate { bounds, score, place }
        };
        boxes.into_iter().enumerate().map(number).collect()
    })
}

fn suppressed(candidates: &[Candidate], threshold: f32) -> Vec<Candidate> {
    let mut kept = candidates.to_vec();
    nms::suppress(&mut kept, nms::overlap, threshold, usize::MAX);
    kept
}

proptest! {
    #[test]
    fn iou_is_symmetric_and_within_bounds(a in rect(), b in rect()) {
        let iou = a.iou(&b);
        prop_assert!((0.0..=1.0 + 1e-5).contains(&iou));
        prop_assert_eq!(iou, b.iou(&a));
        if a.area() > 1e-3 {
            prop_assert!((a.iou(&a) - 1.0).abs() < 1e-4);
        }
    }

    #[test]
    fn clipping_stays_inside_and_once_is_enough(rect in rect()) {
        let clipped = rect.clip(640.0, 480.0);
        prop_assert!(clipped.x_min >= 0.0 && clipped.x_max <= 640.0);
        prop_assert!(clipped.y_min >= 0.0 && clipped.y_max <= 480.0);
        prop_assert!(clipped.width() >= 0.0 && clipped.height() >= 0.0);
        prop_assert_eq!(clipped.clip(640.0, 480.0), clipped);
    }

    #[test]
    fn suppression_is_idempotent(candidates in candidates(), threshold in 0f32..1.0) {
        let once = suppressed(&candidates, threshold);
        prop_assert_eq!(suppressed(&once, threshold), once);
    }

    #[test]
    fn suppression_does_not_depend_on_order(
        (candidates, shuffled) in candidates().prop_flat_map(|c| (Just(c.clone()), Just(c).prop_shuffle())),
        threshold in 0f32..1.0,
    ) {
        prop_assert_eq!(suppressed(&candidates, threshold), suppressed(&shuffled, threshold));
    }

    #[test]
    fn suppression_drops_what_a_better_box_overlaps(
        candidates in candidates(),
        threshold in 0f32..1.0,
    ) {
        let kept = suppressed(&candidates, threshold);
        prop_assert!(kept.len() <= candidates.len());
        for candidate in candidates.iter().filter(|c| !kept.contains(c)) {
            prop_assert!(kept.iter().any(|better| better.score >= candidate.score
                && nms::overlap(&better.bounds, &candidate.bounds) > threshold));
        }
        for (i, a) in kept.iter().enumerate() {
            for b in &kept[i + 1..] {
                prop_assert!(nms::overlap(&a.bounds, &b.bounds) <= threshold);
            }
        }
    }

    #[test]
    fn input_sizes_keep_the_aspect_ratio(
        width in 1u32..8192, height in 1u32..8192, scale in 0.05f64..4.0, max in 0u32..2000,
    ) {
        let placement =
            InputSizes::ANY.place((width, height), Orientation::Identity, scale, max, ScaleMethod::Bilinear);
        let (w, h) = placement.input;
        prop_assert!(w >= 1 && h >= 1);
        prop_assert!(max == 0 || w.max(h) <= max.max(1));
        let exact = (f64::from(w) / f64::from(width), f64::from(h) / f64::from(height));
        prop_assert!(
            (exact.0 - exact.1).abs() <= 0.5 / f64::from(width) + 0.5 / f64::from(height)
                + 1.0 / f64::from(width.min(height))
        );
    }
}

#[test]
fn scores_that_are_no_numbers_do_no_harm() {
    let candidate = |score, cell| Candidate {
        bounds: Rect::new(0.0, 0.0, 10.0, 10.0),
        score,
        place: Place { cell, ..Place::default() },
    };
    let mut candidates = vec![candidate(f32::NAN, 0), candidate(0.5, 1), candidate(f32::NAN, 2)];
    nms::suppress(&mut candidates, nms::overlap, 0.4, 10);
    assert_eq!(candidates.len(), 1);
}
