// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faces as GstAnalytics metas, where the GStreamer that runs has them: 1.24 and newer.
//!
//! A face is an object detection of type `face` in the buffer's one relation meta. From GStreamer
//! 1.30 on it contains a group of key points, its landmarks in their order; the group's tag is one
//! that DL Streamer knows the names of the points by.

mod library;

use std::{
    collections::HashSet,
    ffi::{CStr, c_void},
    iter,
    marker::PhantomData,
    ptr::{self, NonNull},
};

use glib::translate::IntoGlib;

use self::library::{
    Analytics, CONTAIN, Functions, IS_PART_OF, InitParams, KeyPoints, Mtd, MtdType, RELATE_TO,
    RelTypes, RelationMeta, TWO_DIMENSIONS, functions,
};
use super::fields;
use crate::{
    face::{Face, Landmarks},
    geometry::{Point, Rect},
};

const FACE: &str = "face";
const TAG: &CStr = c"face-landmarks/centerface-5";
/// What a face is made of: the object, the group and its points.
const PARTS: usize = 7;
/// As GStreamer's default has it: 1024 for five.
const BYTES_A_PART: usize = 205;

/// Whether this GStreamer has analytics metas.
pub fn available() -> bool {
    functions().is_some()
}

/// Adds an object for each face in a frame of `width` × `height` pixels, and an empty relation meta
/// where there are none: without one, elements that draw objects keep those of the frame before.
/// Returns the id of each face's object; `None` where GStreamer has no analytics metas.
pub fn attach(
    buffer: &mut gst::BufferRef,
    faces: &[Face],
    (width, height): (u32, u32),
) -> Vec<Option<i32>> {
    let Some(relations) = Relations::of_mut(buffer, PARTS * faces.len()) else {
        return vec![None; faces.len()];
    };
    // All objects first, so that their ids are small and follow each other.
    let rectangles = faces.iter().map(|face| fields::whole_pixels(&face.bounds, width, height));
    let objects: Vec<_> = faces
        .iter()
        .zip(rectangles)
        .map(|(face, rectangle)| relations.add_object(face, rectangle))
        .collect();
    for (face, object) in faces.iter().zip(&objects) {
        if let (Some(landmarks), Some(object)) = (&face.landmarks, object) {
            relations.add_landmarks(*object, landmarks);
        }
    }
    objects.into_iter().map(|object| object.and_then(|id| id.try_into().ok())).collect()
}

/// As [`attach`], in place of all faces that there are, with their landmarks and what trackers say of
/// them. `None`, and nothing is done, where the relation meta has parts that are none of these: parts
/// cannot be taken away one by one.
pub fn replace(
    buffer: &mut gst::BufferRef,
    faces: &[Face],
    frame: (u32, u32),
) -> Option<Vec<Option<i32>>> {
    if let Some(relations) = Relations::of(buffer) {
        if !relations.has_only_faces() {
            return None;
        }
        let meta = relations.meta.as_ptr();
        // SAFETY: the buffer is writable and the meta its own; nothing refers to it any more.
        unsafe { gst::ffi::gst_buffer_remove_meta(buffer.as_mut_ptr(), meta.cast()) };
    }
    Some(attach(buffer, faces, frame))
}

/// Adds to an object which of the stream's objects it is, by a number that is the same in all frames,
/// and when that one was seen first and last. Returns whether it was added: `object` has to be the id
/// of an object detection on the buffer, as the id of a face's region of interest meta is where
/// GStreamer has analytics metas.
pub fn attach_tracking(
    buffer: &mut gst::BufferRef,
    object: i32,
    number: u64,
    first_seen: Option<gst::ClockTime>,
    last_seen: Option<gst::ClockTime>,
) -> bool {
    let relations = Relations::of(buffer);
    let object = u32::try_from(object).ok();
    relations.zip(object).is_some_and(|(relations, object)| {
        relations.has_object(object)
            && relations.add_tracking(object, number, first_seen, last_seen).is_some()
    })
}

/// The objects of type `face` on a buffer, with their ids.
pub fn faces(buffer: &gst::BufferRef) -> Vec<(i32, Face)> {
    let Some(relations) = Relations::of(buffer) else { return Vec::new() };
    let objects = relations.faces().filter_map(|object| {
        let face = relations.face(object)?;
        Some((object.id.try_into().ok()?, face))
    });
    objects.collect()
}

/// The key points on a buffer that are not the landmarks of a face, whoever found them, in pixels.
pub fn other_key_points(buffer: &gst::BufferRef) -> Vec<Point> {
    let Some(relations) = Relations::of(buffer) else { return Vec::new() };
    let Some(functions) = relations.key_points else { return Vec::new() };
    let landmarks = relations.faces().filter_map(|object| relations.landmarks(object));
    let landmarks: Vec<u32> = landmarks.flatten().map(|point| point.id).collect();
    let others = relations.all(functions.kind()).filter(|point| !landmarks.contains(&point.id));
    others.filter_map(|point| functions.position(&point)).collect()
}

/// The relation meta of a buffer, which stays where it is as long as the buffer has it. Whoever adds
/// to it has borrowed the buffer mutably.
struct Relations<'a> {
    analytics: &'static Analytics,
    key_points: Option<&'static KeyPoints>,
    meta: NonNull<RelationMeta>,
    buffer: PhantomData<&'a gst::BufferRef>,
}

impl<'a> Relations<'a> {
    /// `None` where there is no such meta.
    fn of(buffer: &'a gst::BufferRef) -> Option<Self> {
        let functions = functions()?;
        let get = functions.analytics.buffer_get_analytics_relation_meta;
        // SAFETY: it only reads the buffer's list of metas.
        Self::new(functions, unsafe { get(buffer.as_ptr().cast_mut()) })
    }

    /// Adds a meta with room for so many parts if there is none.
    fn of_mut(buffer: &'a mut gst::BufferRef, parts: usize) -> Option<Self> {
        let functions = functions()?;
        if let Some(meta) = Relations::of(buffer).map(|relations| relations.meta) {
            return Self::new(functions, meta.as_ptr());
        }
        // It grows by as much as it had at first, which has to be something.
        let parts = parts.max(PARTS);
        let params = InitParams { relation_order: parts, buffer_size: parts * BYTES_A_PART };
        let add = functions.analytics.buffer_add_analytics_relation_meta_full;
        // SAFETY: the buffer is writable, and the parameters are copied.
        Self::new(functions, unsafe { add(buffer.as_mut_ptr(), &params) })
    }

    fn new(functions: &'static Functions, meta: *mut RelationMeta) -> Option<Self> {
        let Functions { analytics, key_points } = functions;
        let meta = NonNull::new(meta)?;
        Some(Self { analytics, key_points: key_points.as_ref(), meta, buffer: PhantomData })
    }

    /// The parts of one kind.
    fn all(&self, kind: MtdType) -> impl Iterator<Item = Mtd> {
        let next = self.analytics.analytics_relation_meta_iterate;
        parts(move |state, part| {
            // SAFETY: the meta is the buffer's; the others are for it to write to.
            unsafe { next(self.meta.as_ptr(), state, kind, part) }
        })
    }

    /// The parts of one kind to which a part has a relation.
    fn related(&self, first: u32, relation: RelTypes, kind: MtdType) -> impl Iterator<Item = Mtd> {
        let next = self.analytics.analytics_relation_meta_get_direct_related;
        parts(move |state, part| {
            // SAFETY: as above.
            unsafe { next(self.meta.as_ptr(), first, relation, kind, state, part) }
        })
    }

    /// The parts of one kind that a part contains.
    fn contained(&self, whole: u32, kind: MtdType) -> impl Iterator<Item = Mtd> {
        self.related(whole, CONTAIN, kind)
    }

    /// The object detections of type `face`.
    fn faces(&self) -> impl Iterator<Item = Mtd> {
        let face = glib::Quark::from_str(FACE).into_glib();
        // SAFETY: it only returns a number.
        let kind = unsafe { (self.analytics.analytics_od_mtd_get_mtd_type)() };
        self.all(kind).filter(move |object| {
            // SAFETY: an object detection of this meta.
            unsafe { (self.analytics.analytics_od_mtd_get_obj_type)(object) == face }
        })
    }

    /// Whether there is nothing but faces, their landmarks, and what trackers say of them.
    fn has_only_faces(&self) -> bool {
        let length = self.analytics.analytics_relation_get_length;
        let known: HashSet<u32> = self.faces().flat_map(|object| self.parts_of(object)).collect();
        // SAFETY: the meta is the buffer's. Ids are counted from 0.
        known.len() == unsafe { length(self.meta.as_ptr()) }
    }

    /// The ids of a face's object and of what [`Self::has_only_faces`] takes for a part of it.
    fn parts_of(&self, object: Mtd) -> Vec<u32> {
        // SAFETY: it only returns a number.
        let tracking = unsafe { (self.analytics.analytics_tracking_mtd_get_mtd_type)() };
        let mut parts = vec![object];
        parts.extend(self.related(object.id, RELATE_TO, tracking));
        if let (Some(functions), Some(landmarks)) = (self.key_points, self.landmarks(object)) {
            parts.extend(landmarks);
            let groups = self.contained(object.id, functions.group_kind());
            let is_landmark = |point: Mtd| landmarks.iter().any(|landmark| landmark.id == point.id);
            parts.extend(groups.filter(|group| functions.members(*group).all(is_landmark)));
        }
        parts.into_iter().map(|part| part.id).collect()
    }

    fn face(&self, object: Mtd) -> Option<Face> {
        let (mut x, mut y, mut width, mut height) = (0, 0, 0, 0);
        let mut confidence = 0.0;
        let location = self.analytics.analytics_od_mtd_get_location;
        // SAFETY: an object detection of this meta; it writes five numbers.
        let located =
            unsafe { location(&object, &mut x, &mut y, &mut width, &mut height, &mut confidence) };
        let (left, top) = (x as f32, y as f32);
        (located != 0).then(|| Face {
            bounds: Rect::new(left, top, left + width as f32, top + height as f32),
            landmarks: self.five_points(object),
            // Every object has one; that of a face without a score is 0.
            confidence: (confidence > 0.0 && confidence.is_finite()).then_some(confidence),
            tracking: None,
        })
    }

    fn five_points(&self, object: Mtd) -> Option<Landmarks> {
        let functions = self.key_points?;
        let mut landmarks = Landmarks::default();
        for (landmark, point) in landmarks.0.iter_mut().zip(self.landmarks(object)?) {
            *landmark = functions.position(&point)?;
        }
        Some(landmarks)
    }

    /// The key points that an object contains, in a group or each by itself, if they are as many as
    /// a face has.
    fn landmarks(&self, object: Mtd) -> Option<[Mtd; 5]> {
        let functions = self.key_points?;
        let groups = self.contained(object.id, functions.group_kind());
        let grouped = groups.map(|group| functions.members(group).collect::<Vec<_>>());
        let single = iter::once_with(|| self.contained(object.id, functions.kind()).collect());
        grouped.chain(single).find_map(|points| points.try_into().ok())
    }

    fn has_object(&self, id: u32) -> bool {
        let mut object = Mtd::NONE;
        let length = self.analytics.analytics_relation_get_length;
        let get = self.analytics.analytics_relation_meta_get_od_mtd;
        // SAFETY: the meta is the buffer's, and has a part with this id.
        unsafe {
            (id as usize) < length(self.meta.as_ptr())
                && get(self.meta.as_ptr(), id, &mut object) != 0
        }
    }

    /// Returns the id of the new object.
    fn add_object(&self, face: &Face, (x, y, w, h): (u32, u32, u32, u32)) -> Option<u32> {
        let kind = glib::Quark::from_str(FACE).into_glib();
        let (x, y, w, h) = (x as i32, y as i32, w as i32, h as i32);
        let confidence = face.confidence.unwrap_or_default();
        let mut object = Mtd::NONE;
        let add = self.analytics.analytics_relation_meta_add_od_mtd;
        // SAFETY: the meta is the buffer's, which is writable.
        let added = unsafe { add(self.meta.as_ptr(), kind, x, y, w, h, confidence, &mut object) };
        (added != 0).then_some(object.id)
    }

    fn add_landmarks(&self, object: u32, landmarks: &Landmarks) -> Option<()> {
        let add = self.key_points?.analytics_relation_meta_add_keypoints_group;
        let positions = landmarks.0.map(|point| [point.x.round() as i32, point.y.round() as i32]);
        let positions = positions.as_flattened();
        let mut group = Mtd::NONE;
        // SAFETY: the meta is the buffer's, which is writable; there are so many positions, and no
        // confidences, visibilities and lines.
        let added = unsafe {
            add(
                self.meta.as_ptr(),
                TAG.as_ptr(),
                TWO_DIMENSIONS,
                positions.len(),
                positions.as_ptr(),
                landmarks.0.len(),
                ptr::null(),
                ptr::null(),
                0,
                ptr::null(),
                &mut group,
            )
        };
        (added != 0).then_some(())?;
        self.relate(object, CONTAIN, group.id)?;
        self.relate(group.id, IS_PART_OF, object)
    }

    fn add_tracking(
        &self,
        object: u32,
        number: u64,
        first_seen: Option<gst::ClockTime>,
        last_seen: Option<gst::ClockTime>,
    ) -> Option<()> {
        let mut tracking = Mtd::NONE;
        let add = self.analytics.analytics_relation_meta_add_tracking_mtd;
        let update = self.analytics.analytics_tracking_mtd_update_last_seen;
        // SAFETY: the meta is the buffer's, which is writable; what is updated was added to it.
        let added = unsafe {
            add(self.meta.as_ptr(), number, first_seen.into_glib(), &mut tracking) != 0
                && update(&mut tracking, last_seen.into_glib()) != 0
        };
        added.then_some(())?;
        self.relate(object, RELATE_TO, tracking.id)
    }

    fn relate(&self, first: u32, relation: RelTypes, second: u32) -> Option<()> {
        let set = self.analytics.analytics_relation_meta_set_relation;
        // SAFETY: the meta is the buffer's, which is writable, and has both parts.
        (unsafe { set(self.meta.as_ptr(), relation, first, second) } != 0).then_some(())
    }
}

impl KeyPoints {
    fn kind(&self) -> MtdType {
        // SAFETY: it only returns a number.
        unsafe { (self.analytics_keypoint_mtd_get_mtd_type)() }
    }

    fn group_kind(&self) -> MtdType {
        // SAFETY: as above.
        unsafe { (self.analytics_group_mtd_get_mtd_type)() }
    }

    /// The key points in a group.
    fn members(&self, group: Mtd) -> impl Iterator<Item = Mtd> {
        let (next, kind) = (self.analytics_group_mtd_iterate, self.kind());
        parts(move |state, part| {
            // SAFETY: a group of a meta that is still there.
            unsafe { next(&group, state, kind, part) }
        })
    }

    /// Where a key point is in the picture.
    fn position(&self, point: &Mtd) -> Option<Point> {
        let (mut x, mut y, mut z, mut dimensions) = (0, 0, 0, 0);
        let position = self.analytics_keypoint_mtd_get_position;
        // SAFETY: a key point of a meta that is still there; it writes four numbers.
        let known = unsafe { position(point, &mut x, &mut y, &mut z, &mut dimensions) };
        (known != 0).then_some(Point { x: x as f32, y: y as f32 })
    }
}

/// What one of the library's iterators gives, which keep their state in a pointer.
fn parts(
    next: impl Fn(*mut *mut c_void, *mut Mtd) -> glib::ffi::gboolean,
) -> impl Iterator<Item = Mtd> {
    let mut state = ptr::null_mut();
    iter::from_fn(move || {
        let mut part = Mtd::NONE;
        (next(&mut state, &mut part) != 0).then_some(part)
    })
}
