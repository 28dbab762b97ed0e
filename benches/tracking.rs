// SPDX-License-Identifier: MIT OR Apache-2.0

//! What following faces costs a frame.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use gstretinaface::{
    face::{Face, Landmarks},
    geometry::{Point, Rect},
    tracking::{Settings, Tracker},
};

const SETTINGS: Settings = Settings {
    score_threshold: 0.6,
    weak_score_threshold: 0.2,
    iou_threshold: 0.2,
    weak_iou_threshold: 0.5,
    min_hits: 1,
    hold: 10,
    max_age: 30,
    look_ahead: 0,
};
/// Frames before everything repeats.
const PERIOD: usize = 64;

/// `count` faces of 60 pixels in rows, each on a circle of its own; every seventh is weak, and every
/// eleventh missed.
fn frame(count: usize, number: usize) -> Vec<Face> {
    let face = |index: usize| {
        let angle = (number + index) as f32 * std::f32::consts::TAU / PERIOD as f32;
        let middle = Point {
            x: 80.0 * (index % 10) as f32 + 60.0 * angle.cos(),
            y: 80.0 * (index / 10) as f32 + 60.0 * angle.sin(),
        };
        Face {
            bounds: Rect::around(middle, 30.0, 30.0),
            landmarks: Some(Landmarks([middle; 5])),
            confidence: Some(if (number + index).is_multiple_of(7) { 0.4 } else { 0.9 }),
            tracking: None,
        }
    };
    (0..count).filter(|index| !(number + index).is_multiple_of(11)).map(face).collect()
}

fn tracking(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tracking");
    for (look_ahead, interval) in [(0, 1), (15, 1), (0, 3)] {
        let settings = Settings { look_ahead, ..SETTINGS };
        for count in [1, 5, 25, 100] {
            let frames: Vec<_> = (0..PERIOD)
                .map(|number| {
                    if number.is_multiple_of(interval) { frame(count, number) } else { Vec::new() }
                })
                .collect();
            let mut tracker = Tracker::default();
            let mut placed = Vec::new();
            let mut number = 0;
            let name =
                BenchmarkId::new(format!("look-ahead={look_ahead} interval={interval}"), count);
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    number += 1;
                    let frame = tracker.observe(&frames[number % PERIOD], 1, None, &settings);
                    let leaving = frame.saturating_sub(look_ahead);
                    tracker.place(leaving, &settings, &mut placed);
                    placed.len()
                });
            });
        }
    }
}

criterion_group!(benches, tracking);
criterion_main!(benches);
