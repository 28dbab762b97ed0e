// SPDX-License-Identifier: MIT OR Apache-2.0

//! The structure fields that describe faces, in metas and messages alike.

use crate::{
    face::{Landmarks, Tracking, TrackingState},
    geometry::{Point, Rect},
};

/// The smallest rectangle of whole pixels around `bounds` inside a frame of `width` × `height`: x,
/// y, width, height. At least one pixel, at the nearest edge, so that no face is lost.
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

/// What [`set_bounds`] has set; `None` where [`number`] finds one of the fields missing.
pub fn bounds(structure: &gst::StructureRef) -> Option<Rect> {
    Some(Rect {
        x_min: number(structure, "x_min")?,
        y_min: number(structure, "y_min")?,
        x_max: number(structure, "x_max")?,
        y_max: number(structure, "y_max")?,
    })
}

/// `left_eye_x` … `mouth_right_y`: doubles, pixels, not clipped.
pub fn set_landmarks(structure: &mut gst::StructureRef, landmarks: &Landmarks) {
    for (name, point) in Landmarks::NAMES.iter().zip(&landmarks.0) {
        structure.set(format!("{name}_x"), f64::from(point.x));
        structure.set(format!("{name}_y"), f64::from(point.y));
    }
}

/// What [`set_landmarks`] has set; `None` where [`number`] finds one of the fields missing.
pub fn landmarks(structure: &gst::StructureRef) -> Option<Landmarks> {
    let mut landmarks = Landmarks::default();
    for (name, point) in Landmarks::NAMES.iter().zip(&mut landmarks.0) {
        *point = Point {
            x: number(structure, &format!("{name}_x"))?,
            y: number(structure, &format!("{name}_y"))?,
        };
    }
    Some(landmarks)
}

/// `tracking`: `id` and `age` (uint64), `state` (string).
pub fn tracking_structure(tracking: &Tracking) -> gst::Structure {
    gst::Structure::builder("tracking")
        .field("id", tracking.id)
        .field("age", tracking.age)
        .field("state", tracking.state.nick())
        .build()
}

/// What [`tracking_structure`] says; `None` where a field is missing or has another type or value.
pub fn tracking(structure: &gst::StructureRef) -> Option<Tracking> {
    let state = structure.get::<&str>("state").ok()?;
    Some(Tracking {
        id: structure.get("id").ok()?,
        age: structure.get("age").ok()?,
        state: TrackingState::ALL.into_iter().find(|known| known.nick() == state)?,
    })
}

/// A double, or a float as other elements may write it; `None` where it is missing, has another type or
/// is not finite.
pub fn number(structure: &gst::StructureRef, field: &str) -> Option<f32> {
    let value = structure.get::<f64>(field).map(|value| value as f32);
    let value = value.or_else(|_| structure.get::<f32>(field)).ok()?;
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use glib::prelude::*;

    use super::*;

    /// In a frame of 100×80 pixels.
    #[test]
    fn whole_pixels_cover_the_box_inside_the_frame() {
        for (bounds, expected) in [
            ((10.0, 20.0, 30.0, 40.0), (10, 20, 20, 20)),
            // Outwards: from 10 to 31, from 20 to 41.
            ((10.2, 20.7, 30.1, 40.9), (10, 20, 21, 21)),
            // Cut at each edge.
            ((-5.5, 10.0, 4.5, 20.0), (0, 10, 5, 10)),
            ((10.0, -3.0, 20.0, 2.5), (10, 0, 10, 3)),
            ((95.5, 70.5, 120.0, 90.0), (95, 70, 5, 10)),
            ((-10.0, -10.0, 110.0, 90.0), (0, 0, 100, 80)),
            // Beyond each edge: one column or row of pixels at it.
            ((-30.0, 10.0, -10.0, 20.0), (0, 10, 1, 10)),
            ((150.0, 10.0, 170.0, 20.0), (99, 10, 1, 10)),
            ((10.0, -30.0, 20.0, -10.0), (10, 0, 10, 1)),
            ((10.0, 150.0, 20.0, 170.0), (10, 79, 10, 1)),
            // Without area, and at the last pixel's far corner.
            ((50.0, 50.0, 50.0, 50.0), (50, 50, 1, 1)),
            ((100.0, 80.0, 100.0, 80.0), (99, 79, 1, 1)),
            ((f32::NAN, f32::NAN, f32::NAN, f32::NAN), (0, 0, 1, 1)),
        ] {
            let (x_min, y_min, x_max, y_max) = bounds;
            let rect = Rect::new(x_min, y_min, x_max, y_max);
            assert_eq!(whole_pixels(&rect, 100, 80), expected, "{bounds:?}");
        }
    }

    #[test]
    fn bounds_have_names_and_keep_their_values() {
        gst::init().unwrap();
        let mut structure = gst::Structure::new_empty("bounds");
        assert_eq!(bounds(&structure), None);
        let rect = Rect::new(-1.5, 2.25, 30.5, 40.0);
        set_bounds(&mut structure, &rect);
        for (name, value) in [("x_min", -1.5), ("y_min", 2.25), ("x_max", 30.5), ("y_max", 40.0)] {
            assert_eq!(structure.get::<f64>(name), Ok(value));
        }
        assert_eq!(bounds(&structure), Some(rect));
        structure.set("y_max", 40i32);
        assert_eq!(bounds(&structure), None);
    }

    #[test]
    fn numbers_are_doubles_or_floats_and_finite() {
        gst::init().unwrap();
        let mut structure = gst::Structure::new_empty("detection");
        assert_eq!(number(&structure, "confidence"), None);
        for (value, expected) in [
            (0.5f64.to_send_value(), Some(0.5)),
            (0.5f32.to_send_value(), Some(0.5)),
            (1i32.to_send_value(), None),
            (f64::NAN.to_send_value(), None),
            (f32::INFINITY.to_send_value(), None),
            (f64::MAX.to_send_value(), None),
        ] {
            structure.set_value("confidence", value.clone());
            assert_eq!(number(&structure, "confidence"), expected, "{value:?}");
        }
    }

    #[test]
    fn landmarks_have_names_and_keep_their_values() {
        gst::init().unwrap();
        let mut structure = gst::Structure::new_empty("landmarks");
        assert_eq!(landmarks(&structure), None);
        let points = [(1.0, 2.0), (3.0, 4.0), (5.0, 6.0), (7.0, 8.0), (-9.5, 10.0)];
        let points = Landmarks(points.map(|(x, y)| Point { x, y }));
        set_landmarks(&mut structure, &points);
        let names = [
            "left_eye_x",
            "left_eye_y",
            "right_eye_x",
            "right_eye_y",
            "nose_x",
            "nose_y",
            "mouth_left_x",
            "mouth_left_y",
            "mouth_right_x",
            "mouth_right_y",
        ];
        let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, -9.5, 10.0];
        for (name, value) in names.into_iter().zip(values) {
            assert_eq!(structure.get::<f64>(name), Ok(value), "{name}");
        }
        assert_eq!(structure.n_fields(), 10);
        assert_eq!(landmarks(&structure), Some(points));
        structure.remove_field("nose_y");
        assert_eq!(landmarks(&structure), None);
    }
}
