// SPDX-License-Identifier: MIT OR Apache-2.0

//! Compares with independent implementations: tests/accuracy/make.py and the packages it uses, on
//! faces and detections that both sides make up alike.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    annotations::{self, Choice},
    average_precision,
    dataset::{Bounds, Corners, Dataset, Detection, Face, Picture, Points, Protocol, Subset},
    detections,
    landmarks::{self, Norm},
    merge, wider,
};

/// Knuth's MMIX linear congruential generator, its upper 31 bits.
struct Generator(u64);

impl Generator {
    fn below(&mut self, limit: u64) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % limit) as f64
    }

    fn side(&mut self) -> f64 {
        20.0 + self.below(40)
    }

    fn score(&mut self) -> f64 {
        (1.0 + self.below(1 << 20)) / f64::from(1 << 20)
    }
}

/// What make.py's function of this name makes.
fn generate(seed: u64, count: usize, crowded: bool) -> (Dataset, Vec<Vec<Detection>>) {
    let mut random = Generator(seed);
    let mut pictures = Vec::new();
    let mut levels = Vec::new();
    let mut detections = Vec::new();
    for index in 0..count {
        let (mut faces, mut here, mut found) = (Vec::new(), Vec::new(), Vec::new());
        for face in 0..random.below(8) as u32 {
            let corner = match crowded {
                true => [random.below(60), random.below(60)],
                false => {
                    [face % 4, face / 4].map(|cell| 100.0 * f64::from(cell) + random.below(40))
                }
            };
            let [width, height] = [random.side(), random.side()];
            let bounds = Bounds::with_size([corner[0], corner[1], width, height]);
            let points: Points = [(); 5].map(|()| {
                [corner[0] + random.below(width as u64), corner[1] + random.below(height as u64)]
            });
            faces.push(Face { bounds, points: Some(points), crowd: false });
            here.push(random.below(4) as u32);
            for _ in 0..random.below(3) as u32 {
                let edges = [bounds.x_min, bounds.y_min, bounds.x_max, bounds.y_max];
                let [x_min, y_min, x_max, y_max] = edges.map(|edge| edge + random.below(17) - 8.0);
                let points = points.map(|point| point.map(|axis| axis + random.below(5)));
                let bounds = Bounds::new(x_min, y_min, x_max, y_max);
                found.push(Detection { bounds, score: random.score(), points: Some(points) });
            }
        }
        for _ in 0..random.below(3) as u32 {
            let corner = [random.below(300), random.below(150)];
            let bounds = Bounds::with_size([corner[0], corner[1], random.side(), random.side()]);
            found.push(Detection { bounds, score: random.score(), points: None });
        }
        let name = format!("{}--Event/{index}", index % 3);
        pictures.push(Picture { name, id: None, faces });
        levels.push(here);
        detections.push(found);
    }
    let subset = |(name, least): (&str, u32)| {
        let counts = |levels: &Vec<u32>| levels.iter().map(|level| *level >= least).collect();
        Subset { name: name.to_owned(), counts: levels.iter().map(counts).collect() }
    };
    let subsets = [("easy", 3), ("medium", 2), ("hard", 1), ("all", 0)].map(subset).to_vec();
    let dataset =
        Dataset { pictures, subsets, corners: Corners::Pixels, protocol: Protocol::Wider };
    (dataset, detections)
}

/// What make.py's function of this name computes.
fn vote(detections: &[Vec<Detection>], iou: f64) -> f64 {
    let weigh = |found: Detection| {
        let b = found.bounds;
        (b.x_min + 2.0 * b.y_min + 3.0 * b.x_max + 4.0 * b.y_max) * found.score
    };
    detections.iter().flat_map(|found| merge::vote(found.clone(), iou)).map(weigh).sum()
}

#[test]
fn independent_implementations_compute_the_same() {
    let sets = [("apart", generate(1, 60, false)), ("crowded", generate(1, 60, true))];
    let expected = include_str!("../../tests/accuracy/expected.json");
    let expected: Vec<Value> = serde_json::from_str(expected).unwrap();
    for row in &expected {
        let (_, (dataset, detections)) = sets.iter().find(|(name, _)| row["set"] == *name).unwrap();
        let subset = dataset.subsets.iter().find(|subset| row["subset"] == *subset.name).unwrap();
        let iou = row["iou"].as_f64().unwrap();
        let of = |corners| {
            let dataset = Dataset { corners, ..dataset.clone() };
            average_precision::evaluate(&dataset, subset, detections, iou)
        };
        let nme = |norm| {
            let matches = of(Corners::Edges).matches;
            landmarks::mean_error(dataset, detections, &matches, norm).unwrap().0
        };
        let value = match row["measure"].as_str().unwrap() {
            "wider" => {
                wider::average_precision(dataset, subset, &wider::normalise(detections), iou)
            }
            "pixels" => of(Corners::Pixels).average_precision,
            "edges" => of(Corners::Edges).average_precision,
            "nme-box" => nme(Norm::Box),
            "nme-eyes" => nme(Norm::Eyes),
            "vote" => vote(detections, iou),
            measure => panic!("{measure}"),
        };
        // This package keeps 32 bits.
        let bits = if row["by"] == "mean-average-precision" { 1e-7 } else { 1e-12 };
        let expected = row["value"].as_f64().unwrap();
        assert!((value - expected).abs() <= bits * expected.max(1.0), "{value} for {row}");
    }
    assert!(expected.len() > 90, "{} rows", expected.len());
}

/// Written by SciPy, compressed or not, as numbers of several types; and what was found through files.
#[test]
fn ground_truth_files_have_the_faces() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/accuracy/ground_truth");
    let dataset = annotations::read(&folder, &Choice::default()).unwrap();
    let (mut expected, found) = generate(2, 9, false);
    // There, event by event, and without points.
    let mut order: Vec<usize> = (0..9).collect();
    order.sort_by_key(|index| index % 3);
    for picture in &mut expected.pictures {
        picture.faces.iter_mut().for_each(|face| face.points = None);
    }
    let pictures: Vec<_> = order.iter().map(|&index| expected.pictures[index].clone()).collect();
    assert_eq!(dataset.pictures, pictures);
    for (subset, expected) in dataset.subsets.iter().zip(&expected.subsets) {
        assert_eq!(subset.name, expected.name);
        let counts: Vec<_> = order.iter().map(|&index| expected.counts[index].clone()).collect();
        assert_eq!(subset.counts, counts);
    }
    assert_eq!(dataset.subsets.len(), 3);
    assert_eq!(dataset.protocol, Protocol::Wider);

    let written = tempfile::tempdir().unwrap();
    let mut writer = detections::Writer::create(written.path()).unwrap();
    for (picture, found) in expected.pictures.iter().zip(&found) {
        writer.write(&picture.name, found).unwrap();
    }
    writer.finish().unwrap();
    let read = detections::read(written.path(), &dataset, &Choice::default()).unwrap().detections;
    for (subset, expected_subset) in dataset.subsets.iter().zip(&expected.subsets) {
        let value = wider::average_precision(&dataset, subset, &wider::normalise(&read), 0.5);
        let expected =
            wider::average_precision(&expected, expected_subset, &wider::normalise(&found), 0.5);
        assert_eq!(value, expected);
        assert!(value > 0.0 && value < 1.0);
    }
}

#[test]
fn ground_truth_files_have_to_fit_together() {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/accuracy/ground_truth");
    let folder = tempfile::tempdir().unwrap();
    let read = || {
        let read = annotations::read(folder.path(), &Choice::default());
        read.map(|_| ()).unwrap_err().to_string()
    };
    let copy = |name: &str| fs::copy(from.join(name), folder.path().join(name)).unwrap();
    copy("wider_easy_val.mat");
    assert!(read().contains("wider_medium_val.mat: No such file"), "{}", read());
    fs::write(folder.path().join("wider_medium_val.mat"), b"MATLAB 7.3").unwrap();
    assert!(read().contains("wider_medium_val.mat: is a MAT-file of version 7.3"), "{}", read());
    copy("wider_medium_val.mat");
    assert!(read().contains("wider_hard_val.mat: No such file"), "{}", read());
}
