// SPDX-License-Identifier: MIT OR Apache-2.0

//! Normalised mean error (NME) of the five points.

use crate::{
    average_precision::Match,
    dataset::{Bounds, Dataset, Detection, Points},
};

/// What distances are divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Norm {
    /// The square root of the annotated box's area, as in the paper of RetinaFace (on AFLW).
    #[default]
    Box,
    /// The distance of the annotated eyes, as on 300-W.
    Eyes,
}

impl Norm {
    pub fn name(self) -> &'static str {
        match self {
            Self::Box => "the box's size",
            Self::Eyes => "the eyes' distance",
        }
    }

    fn length(self, bounds: &Bounds, points: &Points) -> f64 {
        match self {
            Self::Box => (bounds.width() * bounds.height()).max(0.0).sqrt(),
            Self::Eyes => distance(points[0], points[1]),
        }
    }
}

fn distance(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// The mean over the faces that were found and have points, and how many these are; `None`: none.
pub fn mean_error(
    dataset: &Dataset,
    detections: &[Vec<Detection>],
    matches: &[Match],
    norm: Norm,
) -> Option<(f64, usize)> {
    let error = |found: &Match| {
        let face = &dataset.pictures[found.picture].faces[found.face];
        let expected = face.points?;
        let points = detections[found.picture][found.detection].points?;
        let length = norm.length(&face.bounds, &expected);
        let sum: f64 = points.iter().zip(&expected).map(|(&a, &b)| distance(a, b)).sum();
        (length > 0.0).then(|| sum / points.len() as f64 / length)
    };
    let errors: Vec<f64> = matches.iter().filter_map(error).collect();
    let faces = errors.len();
    (faces > 0).then(|| (errors.iter().sum::<f64>() / faces as f64, faces))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Corners, Face, Picture, Protocol};

    const POINTS: Points = [[2.0, 3.0], [8.0, 3.0], [5.0, 5.0], [3.0, 8.0], [7.0, 8.0]];

    /// Points off by 5, 0, 0, 1 and 2 pixels: 1.6 on average, of a box of 4 × 16 pixels.
    #[test]
    fn errors_by_hand() {
        let mut points = POINTS;
        points[0] = [5.0, 7.0];
        points[3][1] += 1.0;
        points[4][0] -= 2.0;
        let face =
            |points| Face { bounds: Bounds::new(0.0, 0.0, 4.0, 16.0), points, ..Face::default() };
        let faces = vec![face(Some(POINTS)), face(None), face(Some([[1.0, 1.0]; 5]))];
        let picture = Picture { faces, ..Picture::default() };
        let dataset = Dataset::new(vec![(picture, vec![true; 3])], Corners::Edges, Protocol::Voc);
        let detection = |points| Detection { bounds: Bounds::default(), score: 1.0, points };
        let detections = [vec![detection(Some(points)), detection(None)]];
        let pair = |face, detection| Match { picture: 0, face, detection };
        let error = |matches: &[Match], norm| mean_error(&dataset, &detections, matches, norm);

        let (by_box, faces) = error(&[pair(0, 0), pair(1, 0), pair(0, 1)], Norm::Box).unwrap();
        assert!((by_box - 1.6 / 8.0).abs() < 1e-12, "{by_box}");
        assert_eq!(faces, 1);
        // The eyes are 6 pixels apart; those of the last face are one point.
        let (by_eyes, faces) = error(&[pair(0, 0), pair(2, 0)], Norm::Eyes).unwrap();
        assert!((by_eyes - 1.6 / 6.0).abs() < 1e-12, "{by_eyes}");
        assert_eq!(faces, 1);
        assert_eq!(error(&[pair(1, 0)], Norm::Box), None);
        assert_eq!(error(&[], Norm::Box), None);
    }
}
