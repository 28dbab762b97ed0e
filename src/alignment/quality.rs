// SPDX-License-Identifier: MIT OR Apache-2.0

//! How well a picture of a face shows it.

use crate::{face::Landmarks, geometry::Point};

/// The variance of the Laplacian at which a picture is half as sharp as can be: below 100, pictures
/// are usually taken for blurred.
const HALF_SHARP: f32 = 100.0;

/// What makes a picture of a face better than another, each from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    /// v / (v + 100), where v is the variance of the Laplacian (Pech-Pacheco and others, "Diatom
    /// autofocusing in brightfield microscopy", 2000) of the picture's luma, from 0 to 255.
    pub sharpness: f32,
    /// See [`frontality`]; `None` where there are no landmarks.
    pub frontality: Option<f32>,
    /// Pixels of the frame, across and down, for each of the picture's, at most 1; times the share of
    /// the picture that is inside the frame.
    pub size: f32,
}

impl Quality {
    /// sharpness · frontality · size; a frontality that is not known counts as 1.
    pub fn value(&self) -> f32 {
        self.sharpness * self.frontality.unwrap_or(1.0) * self.size
    }
}

/// How far a face looks straight ahead: (1 - |a|) · (1 - |2·b - 1|), or 0 where one of the factors is
/// negative, where the nose is `a` of half the eyes' distance to the right of the line from between the
/// eyes to between the corners of the mouth, and `b` of this line's length below its upper end.
///
/// 1 for a nose in the middle of both, as in most faces from the front; 0 for one that is above or below
/// an eye, or as high as the eyes or the mouth. Turning and scaling the picture change nothing.
pub fn frontality(landmarks: &Landmarks) -> f32 {
    let [left_eye, right_eye, nose, mouth_left, mouth_right] = landmarks.0;
    let eyes = between(left_eye, right_eye);
    let across = Point { x: (right_eye.x - left_eye.x) / 2.0, y: (right_eye.y - left_eye.y) / 2.0 };
    let down = difference(between(mouth_left, mouth_right), eyes);
    let nose = difference(nose, eyes);
    // nose = a·across + b·down.
    let area = cross(across, down);
    let (a, b) = (cross(nose, down) / area, cross(across, nose) / area);
    let frontality = (1.0 - a.abs()).max(0.0) * (1.0 - (2.0 * b - 1.0).abs()).max(0.0);
    if frontality.is_finite() && area > 0.0 { frontality } else { 0.0 }
}

fn between(a: Point, b: Point) -> Point {
    Point { x: (a.x + b.x) / 2.0, y: (a.y + b.y) / 2.0 }
}

fn difference(a: Point, b: Point) -> Point {
    Point { x: a.x - b.x, y: a.y - b.y }
}

fn cross(a: Point, b: Point) -> f32 {
    a.x * b.y - a.y * b.x
}

/// [`Quality::sharpness`] of a picture whose rows are `width` long. What is not a number is not part of
/// it, nor are pixels beside it.
pub fn sharpness(luma: &[f32], width: usize) -> f32 {
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    let width = width.max(1);
    for y in 1..(luma.len() / width).saturating_sub(1) {
        let [above, row, below] = [y - 1, y, y + 1].map(|y| &luma[y * width..][..width]);
        for x in 1..width.saturating_sub(1) {
            let around = above[x] + below[x] + row[x - 1] + row[x + 1];
            let laplacian = f64::from(around - 4.0 * row[x]);
            if !laplacian.is_nan() {
                count += 1.0;
                sum += laplacian;
                squares += laplacian * laplacian;
            }
        }
    }
    if count == 0.0 {
        return 0.0;
    }
    let mean = sum / count;
    let variance = (squares / count - mean * mean).max(0.0) as f32;
    variance / (variance + HALF_SHARP)
}
