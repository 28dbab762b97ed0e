// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faces as `GstVideoRegionOfInterestMeta`.
//!
//! One meta of type `face` a face. Its rectangle is whole pixels inside the frame; what that loses
//! is in its params, three structures:
//!
//! - `detection`, as DL Streamer writes it: `x_min`, `x_max`, `y_min`, `y_max` (doubles, fractions
//!   of the frame's width and height, 0 to 1), `confidence` (double), `label_id` (int),
//!   `label` (string `face`).
//! - `bounds`: `x_min`, `y_min`, `x_max`, `y_max` (doubles, pixels, may lie outside the frame).
//! - `landmarks`: `left_eye_x` … `mouth_right_y` (doubles, pixels, may lie outside the frame), and
//!   the same points as the tensor that DL Streamer's elements read: `format`, `precision`, `dims`,
//!   `data_buffer` (ten native-endian f32, fractions of the box).

use glib::variant::ToVariant;
use gst_video::VideoRegionOfInterestMeta;

use crate::{
    face::{Face, Landmarks},
    geometry::{Point, Rect},
};

const ROI_TYPE: &str = "face";
/// DL Streamer's `GVA::Tensor::Precision::FP32`.
const PRECISION_FP32: i32 = 10;

/// Puts `face` on a buffer that holds a frame of `width` × `height` pixels.
///
/// A face of which less than a pixel lies inside the frame still gets a rectangle of one pixel at
/// the nearest edge, so that every face found has a meta.
pub fn attach(buffer: &mut gst::BufferRef, face: &Face, width: u32, height: u32) {
    let inside = face.bounds.clip(width as f32, height as f32);
    let x = (inside.x_min.floor() as u32).min(width.saturating_sub(1));
    let y = (inside.y_min.floor() as u32).min(height.saturating_sub(1));
    let rect = (
        x,
        y,
        (inside.x_max.ceil() as u32).saturating_sub(x).max(1),
        (inside.y_max.ceil() as u32).saturating_sub(y).max(1),
    );

    let mut meta = VideoRegionOfInterestMeta::add(buffer, ROI_TYPE, rect);
    meta.add_param(detection(face, &inside, width, height));
    meta.add_param(bounds(&face.bounds));
    if let Some(landmarks) = &face.landmarks {
        meta.add_param(tensor(landmarks, &face.bounds));
    }
}

/// The faces on a buffer, whoever attached them: every region of interest of type `face`, with as
/// much as its params tell.
pub fn faces(buffer: &gst::BufferRef) -> Vec<Face> {
    buffer
        .iter_meta::<VideoRegionOfInterestMeta>()
        .filter(|meta| meta.roi_type() == ROI_TYPE)
        .map(|meta| Face {
            bounds: meta.param("bounds").and_then(parse_bounds).unwrap_or_else(|| {
                let (x, y, w, h) = meta.rect();
                Rect::new(x as f32, y as f32, (x + w) as f32, (y + h) as f32)
            }),
            landmarks: meta.param("landmarks").and_then(parse_landmarks),
            confidence: meta.param("detection").and_then(|params| double(params, "confidence")),
        })
        .collect()
}

fn detection(face: &Face, inside: &Rect, width: u32, height: u32) -> gst::Structure {
    let (width, height) = (f64::from(width), f64::from(height));
    gst::Structure::builder("detection")
        .field("x_min", f64::from(inside.x_min) / width)
        .field("x_max", f64::from(inside.x_max) / width)
        .field("y_min", f64::from(inside.y_min) / height)
        .field("y_max", f64::from(inside.y_max) / height)
        .field_if_some("confidence", face.confidence.map(f64::from))
        .field("label_id", 0i32)
        .field("label", ROI_TYPE)
        .build()
}

fn bounds(bounds: &Rect) -> gst::Structure {
    gst::Structure::builder("bounds")
        .field("x_min", f64::from(bounds.x_min))
        .field("y_min", f64::from(bounds.y_min))
        .field("x_max", f64::from(bounds.x_max))
        .field("y_max", f64::from(bounds.y_max))
        .build()
}

fn tensor(landmarks: &Landmarks, bounds: &Rect) -> gst::Structure {
    let mut bytes = Vec::with_capacity(40);
    for point in &landmarks.0 {
        bytes.extend(((point.x - bounds.x_min) / bounds.width()).to_ne_bytes());
        bytes.extend(((point.y - bounds.y_min) / bounds.height()).to_ne_bytes());
    }
    let mut structure = gst::Structure::builder("landmarks")
        .field("format", "landmark_points")
        .field("precision", PRECISION_FP32)
        .field("dims", gst::Array::new([5u32, 2u32]))
        .field("data_buffer", bytes.to_variant())
        .build();
    for (name, point) in Landmarks::NAMES.iter().zip(&landmarks.0) {
        structure.set(format!("{name}_x"), f64::from(point.x));
        structure.set(format!("{name}_y"), f64::from(point.y));
    }
    structure
}

fn parse_bounds(params: &gst::StructureRef) -> Option<Rect> {
    Some(Rect {
        x_min: double(params, "x_min")?,
        y_min: double(params, "y_min")?,
        x_max: double(params, "x_max")?,
        y_max: double(params, "y_max")?,
    })
}

fn parse_landmarks(params: &gst::StructureRef) -> Option<Landmarks> {
    let mut landmarks = Landmarks::default();
    for (name, point) in Landmarks::NAMES.iter().zip(&mut landmarks.0) {
        *point = Point {
            x: double(params, &format!("{name}_x"))?,
            y: double(params, &format!("{name}_y"))?,
        };
    }
    Some(landmarks)
}

fn double(params: &gst::StructureRef, field: &str) -> Option<f32> {
    params.get::<f64>(field).ok().map(|value| value as f32)
}
