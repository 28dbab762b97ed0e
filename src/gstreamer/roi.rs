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
//!
//! With the cargo feature `analytics`, the meta's id is that of an object detection in the buffer's
//! GstAnalytics meta.

use glib::variant::ToVariant;
use gst_video::VideoRegionOfInterestMeta;

use super::fields;
use crate::{
    face::{Face, Landmarks},
    geometry::Rect,
};

const ROI_TYPE: &str = "face";
/// DL Streamer's `GVA::Tensor::Precision::FP32`.
const PRECISION_FP32: i32 = 10;

/// Puts `face` on a buffer that holds a frame of `width` × `height` pixels.
///
/// A face of which less than a pixel lies inside the frame still gets a rectangle of one pixel at
/// the nearest edge, so that every face found has a meta.
pub fn attach(buffer: &mut gst::BufferRef, face: &Face, width: u32, height: u32) {
    let rect = fields::whole_pixels(&face.bounds, width, height);
    #[cfg(feature = "analytics")]
    let analytics_id = super::analytics::attach(buffer, face, rect);
    let mut meta = VideoRegionOfInterestMeta::add(buffer, ROI_TYPE, rect);
    #[cfg(feature = "analytics")]
    if let Some(id) = analytics_id {
        meta.set_id(id);
    }
    meta.add_param(detection(face, width, height));
    let mut bounds = gst::Structure::new_empty("bounds");
    fields::set_bounds(&mut bounds, &face.bounds);
    meta.add_param(bounds);
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
            bounds: meta.param("bounds").and_then(fields::bounds).unwrap_or_else(|| {
                let (x, y, w, h) = meta.rect();
                let (x, y, w, h) = (x as f32, y as f32, w as f32, h as f32);
                Rect::new(x, y, x + w, y + h)
            }),
            landmarks: meta.param("landmarks").and_then(fields::landmarks),
            confidence: meta
                .param("detection")
                .and_then(|params| fields::double(params, "confidence")),
        })
        .collect()
}

fn detection(face: &Face, width: u32, height: u32) -> gst::Structure {
    let inside = face.bounds.clip(width as f32, height as f32);
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
    fields::set_landmarks(&mut structure, landmarks);
    structure
}
