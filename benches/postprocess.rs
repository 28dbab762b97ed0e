// SPDX-License-Identifier: MIT OR Apache-2.0

//! Outputs of the default network for 640×480 to faces: threshold, decode, suppress, landmarks.

use criterion::{Criterion, criterion_group, criterion_main};
use gstretinaface::{
    families::{
        heads::{Heads, Score},
        level::{Level, View, cells},
        pytorch::RETINAFACE,
    },
    retinaface::{decode, nms},
};

const SIZE: (u32, u32) = (640, 480);
const COUNTS: [usize; 5] = [0, 10, 25, 100, 1000];

/// One tensor for all levels, two anchors a cell, values of an anchor side by side.
fn heads() -> (Heads, usize) {
    let mut anchors = 0;
    let mut levels = Vec::new();
    for stride in [8, 16, 32] {
        let grid = (cells(SIZE.0, stride), cells(SIZE.1, stride));
        let view = |output, values: usize, first| View {
            output,
            offset: anchors * values + first,
            cell: 2 * values,
            anchor: values,
            channel: 1,
        };
        levels.push(Level {
            stride,
            grid,
            anchors: 2,
            objectness: None,
            score: view(0, 2, 1),
            boxes: view(1, 4, 0),
            landmarks: Some(view(2, 10, 0)),
            point_values: 2,
        });
        anchors += 2 * grid.0 * grid.1;
    }
    (Heads { family: &RETINAFACE, score: Score::Probability, levels }, anchors)
}

fn postprocess(criterion: &mut Criterion) {
    let (heads, anchors) = heads();
    let mut group = criterion.benchmark_group("postprocess 640x480");
    for count in COUNTS {
        let mut scores = vec![0.1f32; 2 * anchors];
        for i in 0..count {
            // Spread over the levels, four anchors side by side as around a real face.
            let place = (i / 4) * (anchors * 4 / count.max(4)) + i % 4;
            scores[2 * place.min(anchors - 1) + 1] = 0.7 + 0.2 * (i % 7) as f32 / 7.0;
        }
        let outputs = [scores, vec![0.3; 4 * anchors], vec![0.1; 10 * anchors]];
        let mut candidates = Vec::new();
        let mut landmarks = Vec::new();
        group.bench_function(format!("{count} candidates"), |bencher| {
            bencher.iter(|| {
                candidates.clear();
                landmarks.clear();
                decode::candidates(&heads, &outputs[..], 0.6, &mut candidates);
                nms::suppress(&mut candidates, nms::overlap, 0.4, 750);
                landmarks.extend(
                    candidates.iter().map(|c| decode::landmarks(&heads, &outputs[..], c.place)),
                );
                landmarks.len()
            });
        });
    }
}

criterion_group!(benches, postprocess);
criterion_main!(benches);
