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
//! Where GStreamer has analytics metas, the meta's id is that of an object detection in the buffer's
//! analytics meta. If the face is followed, the object is related to a tracking with the number `id` and
//! the timestamps of the frames in which the face was detected first and last. Elsewhere, the meta's id
//! is the smallest that no region of the buffer has yet, from 0 on: in Python, regions are found by
//! their ids alone.

use std::{cell::LazyCell, ffi::CStr, ops::Deref};

use glib::translate::IntoGlib;
use glib::variant::ToVariant;
use gst_video::VideoRegionOfInterestMeta;

use super::{analytics, fields};
use crate::{
    face::{Face, Landmarks},
    geometry::Rect,
};

const ROI_TYPE: &str = "face";
/// DL Streamer's `GVA::Tensor::Precision::FP32`.
const PRECISION_FP32: i32 = 10;

/// Attaches faces to a buffer that holds a frame of `width` × `height` pixels and has been looked at, so
/// that [`faces`] and every other reader gets them in this order. Without faces, the buffer is left
/// alone or, where there are analytics metas, gets an empty one.
///
/// A face of which less than a pixel lies inside the frame still gets a rectangle of one pixel at
/// the nearest edge, so that every face found has a meta.
pub fn attach_all(buffer: &mut gst::Buffer, faces: &[Face], width: u32, height: u32) {
    if !faces.is_empty() || analytics::available() {
        attach_to(buffer.make_mut(), faces, width, height);
    }
}

/// Attaches one face, after those that are there, and returns the id of its meta. As [`attach_all`],
/// but where metas are read newest first, GStreamer 1.14, it is read before them.
pub fn attach(buffer: &mut gst::BufferRef, face: &Face, width: u32, height: u32) -> i32 {
    attach_to(buffer, std::slice::from_ref(face), width, height)
}

/// Returns the id of the last.
fn attach_to(buffer: &mut gst::BufferRef, faces: &[Face], width: u32, height: u32) -> i32 {
    let objects = analytics::attach(buffer, faces, (width, height));
    attach_regions(buffer, faces, &objects, (width, height)).last().copied().unwrap_or_default()
}

/// Attaches a region for each face, with the id of its object, if it has one, and returns their ids.
pub(super) fn attach_regions(
    buffer: &mut gst::BufferRef,
    faces: &[Face],
    objects: &[Option<i32>],
    frame: (u32, u32),
) -> Vec<i32> {
    let taken: Vec<i32> = regions(buffer).map(|region| region.0.id).collect();
    let free = (0..).filter(|id| !taken.contains(id));
    let ids: Vec<_> =
        objects.iter().zip(free).map(|(object, free)| object.unwrap_or(free)).collect();
    let mut numbered: Vec<_> = faces.iter().zip(&ids).collect();
    if newest_first() {
        numbered.reverse();
    }
    for (face, id) in numbered {
        attach_region(buffer, face, *id, frame);
    }
    ids
}

/// Gives the regions of faces the ids of their objects, in the order in which they are read.
pub(super) fn set_ids(buffer: &mut gst::BufferRef, objects: &[Option<i32>]) {
    let mut objects = objects.iter();
    for mut region in buffer.iter_meta_mut::<VideoRegionOfInterestMeta>() {
        // SAFETY: the meta is part of the buffer, which is borrowed for as long.
        if !RawMeta(unsafe { &*region.as_ptr() }).is_face() {
            continue;
        }
        if let Some(Some(id)) = objects.next() {
            region.set_id(*id);
        }
    }
}

/// Whether the metas of a buffer are read in the reverse of the order in which they were attached.
fn newest_first() -> bool {
    gst::version() < (1, 16, 0, 0)
}

fn attach_region(buffer: &mut gst::BufferRef, face: &Face, id: i32, (width, height): (u32, u32)) {
    let rect = fields::whole_pixels(&face.bounds, width, height);
    let mut meta = VideoRegionOfInterestMeta::add(buffer, ROI_TYPE, rect);
    meta.set_id(id);
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

/// The faces on a buffer, whoever attached them: every region of interest of type `face`.
///
/// Scalers, converters and others drop the params of regions. What a region has lost, its box in
/// fractions of pixels, its confidence and its landmarks, is that of the analytics object with its
/// id, in whole pixels, if there is one, and the box is the region's rectangle otherwise. Where there
/// are no regions of faces at all, the faces are the analytics objects of type `face`.
pub fn faces(buffer: &gst::BufferRef) -> Vec<Face> {
    let objects = LazyCell::new(|| analytics::faces(buffer));
    let regions = regions(buffer).filter(RawMeta::is_face);
    let faces: Vec<_> = regions.map(|region| region.face(&objects)).collect();
    if faces.is_empty() { objects.iter().map(|(_, face)| *face).collect() } else { faces }
}

/// What `read` finds in the params `name` of the first face's region on a buffer.
pub(super) fn first_param<T>(
    buffer: &gst::BufferRef,
    name: &CStr,
    read: impl Fn(&gst::StructureRef) -> Option<T>,
) -> Option<T> {
    regions(buffer).find(RawMeta::is_face)?.param(name, read)
}

fn regions(buffer: &gst::BufferRef) -> impl Iterator<Item = RawMeta<'_>> {
    buffer.iter_meta::<VideoRegionOfInterestMeta>().map(|meta| {
        // SAFETY: the meta is part of the buffer, which is borrowed for as long.
        RawMeta(unsafe { &*meta.as_ptr() })
    })
}

/// A meta as an element in C may have attached it: without a type, or with names of any bytes. The
/// bindings take both for UTF-8 strings that are there.
pub(super) struct RawMeta<'a>(pub(super) &'a gst_video::ffi::GstVideoRegionOfInterestMeta);

impl RawMeta<'_> {
    pub(super) fn is_face(&self) -> bool {
        self.0.roi_type == glib::Quark::from_str(ROI_TYPE).into_glib()
    }

    /// With what it lacks from the object that has its id, among all `objects`.
    fn face(&self, objects: &impl Deref<Target = Vec<(i32, Face)>>) -> Face {
        let known = Face {
            bounds: self.rectangle(),
            landmarks: self.param(c"landmarks", fields::landmarks),
            confidence: self.param(c"detection", |params| fields::number(params, "confidence")),
            tracking: self.param(c"tracking", fields::tracking),
        };
        if let Some(bounds) = self.param(c"bounds", fields::bounds) {
            return Face { bounds, ..known };
        }
        self.object(objects).map_or(known, |(_, object)| Face {
            bounds: known.bounds,
            landmarks: known.landmarks.or(object.landmarks),
            confidence: known.confidence.or(object.confidence),
            tracking: known.tracking,
        })
    }

    fn rectangle(&self) -> Rect {
        let (x, y) = (self.0.x as f32, self.0.y as f32);
        Rect::new(x, y, x + self.0.w as f32, y + self.0.h as f32)
    }

    /// The one of these objects that is the same face.
    pub(super) fn object<'a>(&self, objects: &'a [(i32, Face)]) -> Option<&'a (i32, Face)> {
        // An id that nobody has set is 0, as that of the first object.
        let is_same = |object: &Face| object.bounds.iou(&self.rectangle()) > 0.5;
        objects.iter().find(|(id, object)| *id == self.0.id && is_same(object))
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
    fn faces_are_read_in_the_order_in_which_they_were_attached() {
        gst::init().unwrap();
        let mut buffer = gst::Buffer::new();
        let at = |x: f32| Face { bounds: Rect::new(x, 20.0, x + 10.0, 30.0), ..face() };
        let found = [at(50.0), at(10.0), at(30.0)];
        attach_all(&mut buffer, &found, FRAME.0, FRAME.1);
        assert_eq!(faces(&buffer), found);
    }

    #[test]
    fn regions_have_ids_of_their_own_that_follow_each_other() {
        gst::init().unwrap();
        let mut buffer = gst::Buffer::new();
        attach_all(&mut buffer, &[face(); 3], FRAME.0, FRAME.1);
        let ids = |buffer: &gst::BufferRef| {
            let mut ids: Vec<_> =
                buffer.iter_meta::<VideoRegionOfInterestMeta>().map(|meta| meta.id()).collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(ids(&buffer), [0, 1, 2]);
        let id = attach(buffer.make_mut(), &face(), FRAME.0, FRAME.1);
        assert!(id > 2);
        assert_eq!(ids(&buffer), [0, 1, 2, id]);
    }

    #[test]
    fn regions_of_others_keep_their_ids() {
        gst::init().unwrap();
        let mut buffer = gst::Buffer::new();
        let buffer = buffer.make_mut();
        // An id that nobody sets is 0.
        VideoRegionOfInterestMeta::add(buffer, "car", (1, 2, 3, 4));
        VideoRegionOfInterestMeta::add(buffer, "car", (1, 2, 3, 4)).set_id(2);
        let ids = [(); 3].map(|()| attach(buffer, &face(), FRAME.0, FRAME.1));
        if !analytics::available() {
            assert_eq!(ids, [1, 3, 4]);
        }
    }

    #[test]
    fn a_frame_without_faces_is_left_alone_where_there_are_no_analytics_metas() {
        gst::init().unwrap();
        let mut buffer = gst::Buffer::new();
        let same = buffer.clone();
        attach_all(&mut buffer, &[], FRAME.0, FRAME.1);
        assert_eq!(buffer.as_ptr() == same.as_ptr(), !analytics::available());
        assert_eq!(faces(&buffer), []);
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
