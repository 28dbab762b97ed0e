// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faces as analytics metas, where the GStreamer that runs has them, and what other elements make of them.

mod common;

use std::{
    ffi::{CStr, c_char, c_int, c_uint, c_void},
    iter, ptr,
};

use glib::translate::IntoGlib;
use gst::prelude::*;
use gst_check::Harness;
use gst_video::{VideoFormat, VideoInfo, VideoRegionOfInterestMeta};
use gstretinaface::{
    face::{Face, Landmarks},
    geometry::{Point, Rect},
    meta,
};
use libloading::os::unix::Library;

const ANALYTICS: (u32, u32) = (1, 24);
/// Development versions of 1.30 have key points as well.
const KEY_POINTS: (u32, u32) = (1, 29);
const SIZE: (u32, u32) = (64, 48);
const CONTAIN: c_int = 4;
const IS_PART_OF: c_int = 2;
const RELATE_TO: c_int = 8;

/// Whether the GStreamer that runs is as new as this. Prints a SKIPPED line otherwise.
fn has(version: (u32, u32), test: &str) -> bool {
    common::init();
    let (major, minor, ..) = gst::version();
    let new_enough = (major, minor) >= version;
    if !new_enough {
        eprintln!("SKIPPED: {test}: needs GStreamer {}.{} or newer", version.0, version.1);
    }
    new_enough
}

fn face(x: f32) -> Face {
    let points = [(4.0, 5.0), (12.0, 5.0), (8.0, 9.0), (5.0, 13.0), (11.0, 13.0)];
    Face {
        bounds: Rect::new(x, 10.0, x + 16.0, 30.0),
        landmarks: Some(Landmarks(points.map(|(dx, dy)| Point { x: x + dx, y: 10.0 + dy }))),
        confidence: Some(0.75),
        tracking: None,
    }
}

/// A grey frame with these faces.
fn frame(format: VideoFormat, faces: &[Face]) -> (VideoInfo, gst::Buffer) {
    let info = VideoInfo::builder(format, SIZE.0, SIZE.1).build().expect("a format");
    let mut buffer = gst::Buffer::from_mut_slice(vec![0x60u8; info.size()]);
    meta::attach_all(&mut buffer, faces, SIZE.0, SIZE.1);
    (info, buffer)
}

/// How many analytics metas a buffer has.
fn metas(buffer: &gst::BufferRef) -> usize {
    let metas = buffer.iter_meta::<gst::Meta>();
    metas.filter(|meta| meta.api().name() == "GstAnalyticsRelationMetaAPI").count()
}

/// `GstAnalyticsMtd`.
#[repr(C)]
struct Mtd {
    id: c_uint,
    meta: *mut c_void,
}

impl Mtd {
    fn none() -> Self {
        Self { id: 0, meta: ptr::null_mut() }
    }
}

/// A function of the analytics library.
///
/// # Safety
///
/// It has to be of this type.
unsafe fn function<T: Copy>(name: &str) -> T {
    // SAFETY: the library is loaded, and the function as the caller promises.
    unsafe {
        let library = Library::new("libgstanalytics-1.0.so.0").expect("a library");
        let function = *library.get(name).expect("a function");
        std::mem::forget(library);
        function
    }
}

fn relation_meta(buffer: &gst::BufferRef) -> *mut c_void {
    // SAFETY: as the header declares it.
    unsafe {
        let get: unsafe extern "C" fn(*mut c_void) -> *mut c_void =
            function("gst_buffer_get_analytics_relation_meta");
        get(buffer.as_ptr().cast_mut().cast())
    }
}

/// What is related to a part so.
fn related(buffer: &gst::BufferRef, id: u32, relation: c_int) -> Vec<Mtd> {
    let meta = relation_meta(buffer);
    type Next = unsafe extern "C" fn(
        *mut c_void,
        c_uint,
        c_int,
        usize,
        *mut *mut c_void,
        *mut Mtd,
    ) -> c_int;
    // SAFETY: as the header declares it.
    let next: Next = unsafe { function("gst_analytics_relation_meta_get_direct_related") };
    let mut state = ptr::null_mut();
    let parts = iter::from_fn(|| {
        let mut part = Mtd::none();
        // SAFETY: the meta is the buffer's.
        (unsafe { next(meta, id, relation, 0, &mut state, &mut part) } != 0).then_some(part)
    });
    parts.collect()
}

#[test]
fn frames_that_were_looked_at_have_one_analytics_meta_and_others_none() {
    if !has(ANALYTICS, "frames_that_were_looked_at_have_one_analytics_meta_and_others_none") {
        return;
    }
    for in_flight in [1, 2] {
        let samples = common::run(&format!(
            "videotestsrc num-buffers=4 pattern=black ! video/x-raw,width=64,height=64 ! \
             retinafacedetect inference-interval=2 in-flight={in_flight} ! appsink name=sink"
        ));
        let samples = samples.expect("it runs");
        let metas: Vec<_> =
            samples.iter().map(|sample| metas(sample.buffer().expect("a buffer"))).collect();
        assert_eq!(metas, [1, 0, 1, 0]);
    }
}

#[test]
fn faces_come_through_where_regions_are_lost() {
    if !has(ANALYTICS, "faces_come_through_where_regions_are_lost") {
        return;
    }
    let (_, mut buffer) = frame(VideoFormat::Rgb, &[face(8.25), face(40.0)]);
    assert_eq!(meta::faces(&buffer), [face(8.25), face(40.0)]);
    let buffer = buffer.make_mut();
    while let Some(region) = buffer.meta_mut::<VideoRegionOfInterestMeta>() {
        region.remove().expect("it is not locked");
    }
    let faces = meta::faces(buffer);
    // Whole pixels around the box, and the nearest to the points.
    let boxes: Vec<_> = faces.iter().map(|face| face.bounds).collect();
    assert_eq!(boxes, [Rect::new(8.0, 10.0, 25.0, 30.0), face(40.0).bounds]);
    assert!(faces.iter().all(|face| face.confidence == Some(0.75)));
    if has(KEY_POINTS, "landmarks_come_through_where_regions_are_lost") {
        assert_eq!(
            faces.iter().map(|face| face.landmarks).collect::<Vec<_>>(),
            [face(8.0).landmarks, face(40.0).landmarks]
        );
    }
}

#[test]
fn regions_have_the_ids_of_their_objects() {
    if !has(ANALYTICS, "regions_have_the_ids_of_their_objects") {
        return;
    }
    let (_, buffer) = frame(VideoFormat::Rgb, &[face(8.0), face(40.0)]);
    // SAFETY: as the header declares it.
    let get: unsafe extern "C" fn(*mut c_void, c_uint, *mut Mtd) -> c_int =
        unsafe { function("gst_analytics_relation_meta_get_od_mtd") };
    for (id, region) in buffer.iter_meta::<VideoRegionOfInterestMeta>().enumerate() {
        assert_eq!(region.id(), id as i32);
        // SAFETY: the meta is the buffer's.
        let is_object = unsafe { get(relation_meta(&buffer), id as u32, &mut Mtd::none()) };
        assert_ne!(is_object, 0, "{id}");
    }
}

/// Whoever reads objects sees the faces that whoever reads regions sees.
#[test]
fn objects_of_faces_that_are_not_followed_are_gone() {
    if !has(ANALYTICS, "objects_of_faces_that_are_not_followed_are_gone") {
        return;
    }
    let mut harness = Harness::new_parse("retinafacetrack hold=0 min-hits=1");
    let caps = VideoInfo::builder(VideoFormat::Rgb, SIZE.0, SIZE.1).build().expect("a format");
    harness.set_src_caps(caps.to_caps().expect("caps"));
    let mut pass = |buffer: gst::Buffer| harness.push_and_pull(buffer).expect("a frame");
    let weak = |x| Face { confidence: Some(0.3), ..face(x) };
    let without_regions = |buffer: &gst::BufferRef| {
        let mut copy = buffer.copy();
        while let Some(region) =
            copy.get_mut().and_then(|copy| copy.meta_mut::<VideoRegionOfInterestMeta>())
        {
            region.remove().expect("it is not locked");
        }
        copy
    };
    let places = |buffer: &gst::BufferRef| -> Vec<_> {
        meta::faces(buffer).iter().map(|face| face.bounds).collect()
    };

    let buffer = pass(frame(VideoFormat::Rgb, &[weak(4.0), face(40.0)]).1);
    assert_eq!(places(&buffer), [face(40.0).bounds]);
    assert_eq!(places(&without_regions(&buffer)), [face(40.0).bounds]);
    let region = buffer.meta::<VideoRegionOfInterestMeta>().expect("a region");
    assert_eq!(region.id(), 0, "that of the only object");
    assert!(region.param("tracking").is_some());

    let buffer = pass(frame(VideoFormat::Rgb, &[weak(4.0)]).1);
    assert_eq!((places(&buffer), metas(&buffer)), (vec![], 1), "it was looked at");

    // Behind an element that drops regions.
    let objects = without_regions(&frame(VideoFormat::Rgb, &[face(40.0)]).1);
    let buffer = pass(objects);
    assert_eq!(places(&buffer), [face(40.0).bounds]);
    assert_eq!(places(&without_regions(&buffer)), [face(40.0).bounds]);
}

/// They cannot be taken out one by one.
#[test]
fn what_others_have_added_to_the_analytics_meta_stays() {
    if !has(ANALYTICS, "what_others_have_added_to_the_analytics_meta_stays") {
        return;
    }
    let weak = Face { confidence: Some(0.3), ..face(4.0) };
    let (info, mut buffer) = frame(VideoFormat::Rgb, &[weak]);
    let quark = glib::Quark::from_str("car").into_glib();
    // SAFETY: as the header declares it; the buffer is writable.
    let add: unsafe extern "C" fn(
        *mut c_void,
        u32,
        c_int,
        c_int,
        c_int,
        c_int,
        f32,
        *mut Mtd,
    ) -> c_int = unsafe { function("gst_analytics_relation_meta_add_od_mtd") };
    let mut car = Mtd::none();
    buffer.make_mut();
    // SAFETY: the meta is the buffer's.
    let added = unsafe { add(relation_meta(&buffer), quark, 1, 2, 3, 4, 0.5, &mut car) };
    assert_ne!(added, 0);

    let mut harness = Harness::new_parse("retinafacetrack hold=0");
    harness.set_src_caps(info.to_caps().expect("caps"));
    let buffer = harness.push_and_pull(buffer).expect("a frame");
    assert!(buffer.meta::<VideoRegionOfInterestMeta>().is_none(), "not followed");
    // SAFETY: as the header declares it.
    let get: unsafe extern "C" fn(*mut c_void, c_uint, *mut Mtd) -> c_int =
        unsafe { function("gst_analytics_relation_meta_get_od_mtd") };
    // SAFETY: the meta is the buffer's.
    assert_ne!(unsafe { get(relation_meta(&buffer), car.id, &mut Mtd::none()) }, 0);
}

/// The scaler drops the params of regions.
#[test]
fn scores_come_through_a_scaler() {
    if !has(ANALYTICS, "scores_come_through_a_scaler") {
        return;
    }
    let found = &common::faces(&common::media("astronaut.png"), "RGB", "")[0];
    let samples = common::run(&format!(
        "filesrc location=\"{}\" ! pngdec ! videoconvert ! video/x-raw,format=RGB ! \
         retinafacedetect ! videoscale ! video/x-raw,width=256,height=256 ! appsink name=sink",
        common::media("astronaut.png").display()
    ));
    let samples = samples.expect("it runs");
    let buffer = samples[0].buffer().expect("a buffer");
    let region = buffer.meta::<VideoRegionOfInterestMeta>().expect("a region");
    assert!(region.param("detection").is_none(), "nothing was lost");
    let [scaled] = meta::faces(buffer)[..] else { panic!("{:?}", meta::faces(buffer)) };
    assert_eq!(scaled.confidence, found.confidence);
    let expected = found.bounds.scale(0.5, 0.5);
    assert!(scaled.bounds.iou(&expected) > 0.95, "{:?}, not {expected:?}", scaled.bounds);
    if has(KEY_POINTS, "landmarks_come_through_a_scaler") {
        let points = scaled.landmarks.expect("landmarks").0;
        for (point, expected) in points.iter().zip(found.landmarks.expect("landmarks").0) {
            let off = (point.x - expected.x / 2.0).abs().max((point.y - expected.y / 2.0).abs());
            assert!(off <= 1.0, "{point:?}, not half of {expected:?}");
        }
    }
}

#[test]
fn landmarks_are_a_group_that_says_what_it_is() {
    if !has(KEY_POINTS, "landmarks_are_a_group_that_says_what_it_is") {
        return;
    }
    let (_, buffer) = frame(VideoFormat::Rgb, &[face(8.0), face(40.0)]);
    // SAFETY: as the headers declare them.
    let (has_tag, members) = unsafe {
        let has_tag: unsafe extern "C" fn(*const Mtd, *const c_char) -> c_int =
            function("gst_analytics_mtd_has_semantic_tag");
        let members: unsafe extern "C" fn(*const Mtd) -> usize =
            function("gst_analytics_group_mtd_get_member_count");
        (has_tag, members)
    };
    let tag: &CStr = c"face-landmarks/centerface-5";
    for object in [0, 1] {
        let contained = related(&buffer, object, CONTAIN);
        let [group] = &contained[..] else { panic!("{} parts", contained.len()) };
        // SAFETY: a group of the buffer's meta.
        unsafe {
            assert_ne!(has_tag(group, tag.as_ptr()), 0);
            assert_eq!(members(group), 5);
        }
        let whole = related(&buffer, group.id, IS_PART_OF);
        assert_eq!(whole.iter().map(|part| part.id).collect::<Vec<_>>(), [object]);
    }
}

#[test]
fn an_object_has_the_number_that_whoever_follows_it_has_given_it() {
    if !has(ANALYTICS, "an_object_has_the_number_that_whoever_follows_it_has_given_it") {
        return;
    }
    let (_, mut buffer) = frame(VideoFormat::Rgb, &[face(8.0), face(40.0)]);
    let buffer = buffer.make_mut();
    let (first, last) = (gst::ClockTime::from_seconds(1), gst::ClockTime::from_seconds(2));
    assert!(meta::attach_tracking(buffer, 1, 1 << 40, Some(first), Some(last)));
    for id in [-1, 99] {
        assert!(!meta::attach_tracking(buffer, id, 5, None, None), "there is no object {id}");
    }
    assert!(related(buffer, 0, RELATE_TO).is_empty());
    assert_eq!(tracking(buffer, 1), (1 << 40, first.nseconds(), last.nseconds()));
}

/// What an object's tracking says: number, timestamps of the first and the last detection.
fn tracking(buffer: &gst::BufferRef, object: i32) -> (u64, u64, u64) {
    type Info = unsafe extern "C" fn(*const Mtd, *mut u64, *mut u64, *mut u64, *mut c_int) -> c_int;
    let related = related(buffer, object.try_into().expect("an id"), RELATE_TO);
    let [tracking] = &related[..] else { panic!("{} trackings", related.len()) };
    let (mut number, mut first, mut last, mut lost) = (0, 0, 0, 1);
    // SAFETY: as the header declares it; a part of the buffer's meta.
    let known = unsafe {
        let info: Info = function("gst_analytics_tracking_mtd_get_info");
        info(tracking, &mut number, &mut first, &mut last, &mut lost)
    };
    assert_ne!(known, 0);
    assert_eq!(lost, 0);
    (number, first, last)
}

fn region_ids(buffer: &gst::BufferRef) -> Vec<i32> {
    buffer.iter_meta::<VideoRegionOfInterestMeta>().map(|region| region.id()).collect()
}

fn tracker(properties: &str) -> Harness {
    let mut harness = Harness::new_parse(&format!("retinafacetrack {properties}"));
    harness.set_src_caps(frame(VideoFormat::Rgb, &[]).0.to_caps().expect("caps"));
    harness
}

fn follow(harness: &mut Harness, number: u64, mut buffer: gst::Buffer) -> gst::Buffer {
    buffer.make_mut().set_pts(gst::ClockTime::from_mseconds(40 * number));
    harness.push_and_pull(buffer).expect("a frame")
}

#[test]
fn followed_faces_have_a_tracking_that_says_when_they_were_detected() {
    if !has(ANALYTICS, "followed_faces_have_a_tracking_that_says_when_they_were_detected") {
        return;
    }
    let weak = |x| Face { confidence: Some(0.25), ..face(x) };
    let nothing = || gst::Buffer::from_mut_slice(vec![0x60u8; 64 * 48 * 3]);
    let mut harness = tracker("hold=1");
    let found = |faces: &[Face]| frame(VideoFormat::Rgb, faces).1;
    for (number, buffer, last) in [
        (0, found(&[weak(8.0), face(40.0)]), 0),
        (1, found(&[weak(8.0), weak(40.0)]), 40),
        (2, nothing(), 40),
    ] {
        let out = follow(&mut harness, number, buffer);
        assert_eq!((metas(&out), region_ids(&out)), (1, vec![0]), "frame {number}");
        assert_eq!(tracking(&out, 0), (1, 0, last * 1_000_000), "frame {number}");
    }
    // Without a meta, an overlay would keep what it has.
    let out = follow(&mut harness, 3, found(&[weak(8.0)]));
    assert_eq!((metas(&out), meta::faces(&out)), (1, vec![]));
}

#[test]
fn a_second_tracker_writes_its_numbers_in_place_of_the_firsts() {
    if !has(ANALYTICS, "a_second_tracker_writes_its_numbers_in_place_of_the_firsts") {
        return;
    }
    let mut first = tracker("");
    follow(&mut first, 0, frame(VideoFormat::Rgb, &[face(8.0)]).1);
    let out = follow(&mut first, 1, frame(VideoFormat::Rgb, &[face(40.0)]).1);
    // The one that is held, and has been there for longer, comes after the one that has a region.
    assert_eq!([tracking(&out, 0), tracking(&out, 1)].map(|(number, ..)| number), [2, 1]);
    let out = follow(&mut tracker(""), 5, out);
    assert_eq!(tracking(&out, 0), (1, 200_000_000, 200_000_000));
    assert_eq!(tracking(&out, 1), (2, 200_000_000, 200_000_000));
}

/// The elements draw frame after frame, and keep what they had where nothing new is known.
#[test]
fn other_overlays_draw_our_boxes_and_no_ghosts() {
    let test = "other_overlays_draw_our_boxes_and_no_ghosts";
    if !has(ANALYTICS, test) {
        return;
    }
    for elements in [
        "objectdetectionoverlay",
        "ioutracker ! objectdetectionoverlay",
        "retinafacetrack hold=0 ! objectdetectionoverlay",
    ] {
        if elements.split(" ! ").any(|element| {
            let name = element.split(' ').next().expect("a name");
            gst::ElementFactory::find(name).is_none()
        }) {
            eprintln!("SKIPPED: {test}: needs {elements}");
            continue;
        }
        let (astronaut, format) = {
            let sample = common::astronaut("RGBA");
            (sample.buffer_owned().expect("a frame"), sample.caps_owned().expect("caps"))
        };
        let empty = gst::Buffer::from_mut_slice(vec![0x60u8; astronaut.size()]);
        let mut harness = Harness::new_parse(&format!("retinafacedetect ! {elements}"));
        harness.set_src_caps(format);
        let out = |harness: &mut Harness, buffer: &gst::Buffer, index: u64| {
            let mut buffer = buffer.copy();
            buffer.make_mut().set_pts(gst::ClockTime::from_mseconds(40 * index));
            let out = harness.push_and_pull(buffer).expect("a frame");
            out.map_readable().expect("memory").to_vec()
        };
        let bytes = |buffer: &gst::Buffer| buffer.map_readable().expect("memory").to_vec();
        assert!(out(&mut harness, &astronaut, 0) != bytes(&astronaut), "{elements} draws nothing");
        assert!(out(&mut harness, &empty, 1) == bytes(&empty), "{elements} draws a ghost");
    }
}

#[test]
fn key_points_of_other_detectors_are_drawn() {
    if !has(KEY_POINTS, "key_points_of_other_detectors_are_drawn") {
        return;
    }
    let (info, mut buffer) = frame(VideoFormat::Rgb, &[]);
    type Add = unsafe extern "C" fn(
        *mut c_void,
        *const c_char,
        c_int,
        usize,
        *const c_int,
        usize,
        *const f32,
        *const u8,
        usize,
        *const c_int,
        *mut Mtd,
    ) -> c_int;
    let points = [10, 12, 40, 30];
    let buffer_mut = buffer.make_mut();
    // SAFETY: as the header declares it; the buffer is writable.
    unsafe {
        let add: Add = function("gst_analytics_relation_meta_add_keypoints_group");
        let meta = relation_meta(buffer_mut);
        let (none, mut group) = (ptr::null(), Mtd::none());
        let tag = c"hand-2-kp".as_ptr();
        let added =
            add(meta, tag, 2, 4, points.as_ptr(), 2, none, ptr::null(), 0, ptr::null(), &mut group);
        assert_ne!(added, 0);
    }
    assert_eq!(
        meta::other_key_points(&buffer),
        [Point { x: 10.0, y: 12.0 }, Point { x: 40.0, y: 30.0 }]
    );
    let mut harness = Harness::new("retinafaceoverlay");
    harness.element().expect("an element").set_property("color", 0xffff_0000u32);
    harness.set_src_caps(info.to_caps().expect("caps"));
    let out = harness.push_and_pull(buffer).expect("a frame");
    let out = out.map_readable().expect("memory");
    let pixel = |x: usize, y: usize| &out[y * info.stride()[0] as usize + 3 * x..][..3];
    for (x, y, expected) in [(10, 12, [255, 0, 0]), (40, 30, [255, 0, 0]), (25, 20, [0x60; 3])] {
        assert_eq!(pixel(x, y), expected, "{x}, {y}");
    }
    // Landmarks of faces are not drawn twice.
    let (_, buffer) = frame(VideoFormat::Rgb, &[face(8.0)]);
    assert_eq!(meta::other_key_points(&buffer), []);
}
