// SPDX-License-Identifier: MIT OR Apache-2.0

//! The fields by which metas and messages tell of faces.

use crate::{
    face::Landmarks,
    geometry::{Point, Rect},
};

/// The smallest rectangle of whole pixels around `bounds` inside a frame of `width` × `height`: x,
/// y, width, height. At least one pixel, at the nearest edge, so that no face gets lost.
pub fn whole_pixels(bounds: &Rect, width: u32, height: u32) -> (u32, u32, u32, u32) {
    let inside = bounds.clip(width as f32, height as f32);
    let x = (inside.x_min as u32).min(width.saturating_sub(1));
    let y = (inside.y_min as u32).min(height.saturating_sub(1));
    let (right, bottom) = (inside.x_max.ceil() as u32, inside.y_max.ceil() as u32);
    (x, y, right.saturating_sub(x).max(1), bottom.saturating_sub(y).max(1))
}

/// `x_min`, `y_min`, `x_max`, `y_max`: doubles, pixels, not clipped.
pub fn set_bounds(structure: &mut gst::StructureRef, bounds: &Rect) {
    structure.set("x_min", f64::from(bounds.x_min));
    structure.set("y_min", f64::from(bounds.y_min));
    structure.set("x_max", f64::from(bounds.x_max));
    structure.set("y_max", f64::from(bounds.y_max));
}

pub fn bounds(structure: &gst::StructureRef) -> Option<Rect> {
    Some(Rect {
        x_min: double(structure, "x_min")?,
        y_min: double(structure, "y_min")?,
        x_max: double(structure, "x_max")?,
        y_max: double(structure, "y_max")?,
    })
}

/// `left_eye_x` … `mouth_right_y`: doubles, pixels, not clipped.
pub fn set_landmarks(structure: &mut gst::StructureRef, landmarks: &Landmarks) {
    for (name, point) in Landmarks::NAMES.iter().zip(&landmarks.0) {
        structure.set(format!("{name}_x"), f64::from(point.x));
        structure.set(format!("{name}_y"), f64::from(point.y));
    }
}

pub fn landmarks(structure: &gst::StructureRef) -> Option<Landmarks> {
    let mut landmarks = Landmarks::default();
    for (name, point) in Landmarks::NAMES.iter().zip(&mut landmarks.0) {
        *point = Point {
            x: double(structure, &format!("{name}_x"))?,
            y: double(structure, &format!("{name}_y"))?,
        };
    }
    Some(landmarks)
}

pub fn double(structure: &gst::StructureRef, field: &str) -> Option<f32> {
    structure.get::<f64>(field).ok().map(|value| value as f32)
}
