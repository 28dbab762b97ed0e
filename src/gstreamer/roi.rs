// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faces as `GstVideoRegionOfInterestMeta`.
//!
//! One meta of type `face` per face. Its rectangle is whole pixels inside the frame; the exact values
//! are in its params, three structures:
//!
//! - `detection`, as DL Streamer writes it: `x_min`, `x_max`, `y_min`, `y_max` (doubles, fractions
//!   of the frame's width and height, 0 to 1), `confidence` (double), `label_id` (int),
//!   `label` (string `face`).
//! - `bounds`: `x_min`, `y_min`, `x_max`, `y_max` (doubles, pixels, may lie outside the frame).
//! - `landmarks`: `left_eye_x` … `mouth_right_y` (doubles, pixels, may lie outside the frame), and
//!   the same points as the tensor that DL Streamer's elements read: `format`, `precision`, `dims`,
//!   `data_buffer` (ten native-endian f32, fractions of the box).
//!
//! A face that is followed from frame to frame has a fourth, `tracking`: `id` (uint64, the same in all
//! frames), `age` (uint64, frames since the first), `state` (string, `detected` or `held`).
//!
//! With the cargo feature `analytics`, the meta's id is that of an object detection in the buffer's
//! GstAnalytics meta.

use std::ffi::CStr;

use glib::translate::IntoGlib;
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

/// Attaches `face` to a buffer that holds a frame of `width` × `height` pixels.
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
    if let Some(tracking) = &face.tracking {
        meta.add_param(fields::tracking_structure(tracking));
    }
}

/// The faces on a buffer, whoever attached them: every region of interest of type `face`. Without
/// a param `bounds`, the face has the meta's rectangle.
pub fn faces(buffer: &gst::BufferRef) -> Vec<Face> {
    let metas = buffer.iter_meta::<VideoRegionOfInterestMeta>().map(|meta| {
        // SAFETY: the meta is part of the buffer, which is borrowed for as long.
        RawMeta(unsafe { &*meta.as_ptr() })
    });
    metas.filter(RawMeta::is_face).map(|meta| meta.face()).collect()
}

/// A meta as an element in C may have attached it: without a type, or with names of any bytes. The
/// bindings take both for UTF-8 strings that are there.
struct RawMeta<'a>(&'a gst_video::ffi::GstVideoRegionOfInterestMeta);

impl RawMeta<'_> {
    fn is_face(&self) -> bool {
        self.0.roi_type == glib::Quark::from_str(ROI_TYPE).into_glib()
    }

    fn face(&self) -> Face {
        let bounds = self.param(c"bounds", fields::bounds);
        Face {
            bounds: bounds.unwrap_or_else(|| {
                let (x, y) = (self.0.x as f32, self.0.y as f32);
                Rect::new(x, y, x + self.0.w as f32, y + self.0.h as f32)
            }),
            landmarks: self.param(c"landmarks", fields::landmarks),
            confidence: self.param(c"detection", |params| fields::double(params, "confidence")),
            tracking: self.param(c"tracking", fields::tracking),
        }
    }

    /// What `read` finds in the first param of this name.
    fn param<T>(&self, name: &CStr, read: impl Fn(&gst::StructureRef) -> Option<T>) -> Option<T> {
        let meta = std::ptr::from_ref(self.0).cast_mut();
        // SAFETY: it only reads the meta, which lives as long as its buffer is borrowed.
        let param = unsafe {
            gst_video::ffi::gst_video_region_of_interest_meta_get_param(meta, name.as_ptr())
        };
        if param.is_null() {
            return None;
        }
        // SAFETY: a structure that belongs to the meta.
        read(unsafe { gst::StructureRef::from_glib_borrow(param) })
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        face::{Tracking, TrackingState},
        geometry::Point,
    };

    const FRAME: (u32, u32) = (100, 80);

    /// 60 wide and 70 high; reaches beyond the frame's left and lower edges.
    fn face() -> Face {
        let points = [(20.0, 55.0), (50.0, 90.0), (-10.0, 20.0), (5.0, 37.5), (65.0, 107.5)];
        Face {
            bounds: Rect::new(-10.0, 20.0, 50.0, 90.0),
            landmarks: Some(Landmarks(points.map(|(x, y)| Point { x, y }))),
            confidence: Some(0.75),
            tracking: Some(Tracking { id: 1 << 40, age: 3, state: TrackingState::Held }),
        }
    }

    fn with(face: &Face) -> gst::Buffer {
        gst::init().unwrap();
        let mut buffer = gst::Buffer::new();
        attach(buffer.make_mut(), face, FRAME.0, FRAME.1);
        buffer
    }

    #[test]
    fn detection_is_the_box_as_fractions_of_the_frame() {
        let buffer = with(&face());
        let meta = buffer.meta::<VideoRegionOfInterestMeta>().unwrap();
        assert_eq!(meta.roi_type(), "face");
        assert_eq!(meta.rect(), (0, 20, 50, 60));
        let detection = meta.param("detection").unwrap();
        // Clipped: from 0 to 50 of 100, from 20 to 80 of 80.
        for (name, value) in
            [("x_min", 0.0), ("x_max", 0.5), ("y_min", 0.25), ("y_max", 1.0), ("confidence", 0.75)]
        {
            assert_eq!(detection.get::<f64>(name), Ok(value), "{name}");
        }
        assert_eq!(detection.get::<i32>("label_id"), Ok(0));
        assert_eq!(detection.get::<&str>("label"), Ok("face"));
    }

    #[test]
    fn landmarks_are_a_tensor_of_fractions_of_the_box() {
        let buffer = with(&face());
        let meta = buffer.meta::<VideoRegionOfInterestMeta>().unwrap();
        let landmarks = meta.param("landmarks").unwrap();
        assert_eq!(landmarks.get::<&str>("format"), Ok("landmark_points"));
        assert_eq!(landmarks.get::<i32>("precision"), Ok(10));
        let dims = landmarks.get::<gst::Array>("dims").unwrap();
        let dims: Vec<u32> = dims.iter().map(|dim| dim.get().unwrap()).collect();
        assert_eq!(dims, [5, 2]);
        let tensor = landmarks.get::<glib::Variant>("data_buffer").unwrap();
        let bytes = tensor.fixed_array::<u8>().unwrap();
        // (x + 10) / 60, (y - 20) / 70.
        let points = [0.5f32, 0.5, 1.0, 1.0, 0.0, 0.0, 0.25, 0.25, 1.25, 1.25];
        assert_eq!(bytes, points.map(f32::to_ne_bytes).concat());
    }

    #[test]
    fn faces_read_as_they_were_attached() {
        let plain = Face { landmarks: None, confidence: None, tracking: None, ..face() };
        for face in [face(), plain] {
            assert_eq!(faces(&with(&face)), [face]);
        }
    }

    #[test]
    fn faces_of_other_elements_have_their_rectangle() {
        gst::init().unwrap();
        let mut buffer = gst::Buffer::new();
        VideoRegionOfInterestMeta::add(buffer.make_mut(), "car", (1, 2, 3, 4));
        VideoRegionOfInterestMeta::add(buffer.make_mut(), "face", (10, 20, 30, 40));
        let face = Face { bounds: Rect::new(10.0, 20.0, 40.0, 60.0), ..Face::default() };
        assert_eq!(faces(&buffer), [face]);
    }
}
