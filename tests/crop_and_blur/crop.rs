// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faces cut out of frames.

use std::{env, ffi::OsString, fs, path::Path, process::Command};

use gst::prelude::*;
use gst_check::Harness;
use gst_video::{VideoFormat, VideoInfo, VideoRegionOfInterestMeta};
use gstretinaface::{
    alignment::ARCFACE,
    face::{Face, Landmarks, Tracking, TrackingState},
    geometry::{Point, Rect},
    meta,
};

use crate::{
    common,
    elements::{bytes, harness_of, info, messages, with_bus},
};

const WIDTH: u32 = 160;
const HEIGHT: u32 = 128;
const FRAME: gst::ClockTime = gst::ClockTime::from_mseconds(40);

fn harness(properties: &[(&str, &str)], info: &VideoInfo) -> Harness {
    harness_of("retinafacecrop", properties, info)
}

/// Gray frames with a different value for each pixel, which get their number as time.
fn frame(number: u64, faces: &[Face]) -> gst::Buffer {
    let pixels = (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x + y * 3) as u8));
    let mut buffer = gst::Buffer::from_mut_slice(pixels.collect::<Vec<_>>());
    let frame = buffer.get_mut().expect("a new buffer");
    frame.set_pts(FRAME * number);
    frame.set_duration(FRAME);
    for face in faces {
        meta::attach(frame, face, WIDTH, HEIGHT);
    }
    buffer
}

fn gray() -> VideoInfo {
    info(VideoFormat::Gray8, WIDTH, HEIGHT)
}

/// As ArcFace has it, moved by this many pixels.
fn face(right: f32, down: f32) -> Face {
    let moved = |p: Point| Point { x: p.x + right, y: p.y + down };
    Face {
        bounds: Rect::new(right + 20.0, down + 10.0, right + 92.0, down + 106.0),
        landmarks: Some(Landmarks(ARCFACE.0.map(moved))),
        confidence: Some(0.75),
        tracking: None,
    }
}

fn tracked(id: u64, state: TrackingState, face: Face) -> Face {
    Face { tracking: Some(Tracking { id, age: 0, state }), ..face }
}

/// Everything that has come out of the element.
fn pictures(harness: &mut Harness) -> Vec<gst::Buffer> {
    std::iter::from_fn(|| harness.try_pull()).collect()
}

/// The ids and the frames of pictures.
fn ids(pictures: &[gst::Buffer]) -> Vec<(u64, u64)> {
    let id = |picture: &gst::Buffer| meta::faces(picture)[0].tracking.expect("a track").id;
    let source = |picture: &gst::Buffer| meta::source(picture).expect("a source");
    pictures.iter().map(|picture| (id(picture), source(picture).frame)).collect()
}

fn mean_difference(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let sum: u64 = a.iter().zip(b).map(|(&a, &b)| u64::from(a.abs_diff(b))).sum();
    sum as f64 / a.len() as f64
}

/// The pictures of the astronaut's face, converted to `format` first.
fn astronaut(format: &str, properties: &str, caps: &str) -> Vec<gst::Sample> {
    let pictures = common::run(&format!(
        "filesrc location=\"{}\" ! pngdec ! videoconvert ! video/x-raw,format={format} ! \
         retinafacedetect ! retinafacecrop {properties} ! {caps} ! appsink name=sink",
        common::media("astronaut.png").display()
    ));
    pictures.expect("scripts/setup has downloaded the picture")
}

#[test]
fn aligned_faces_are_those_of_an_independent_implementation() {
    let python = env::var_os("RETINAFACE_PYTHON").unwrap_or_else(|| OsString::from("python3"));
    let imports = Command::new(&python).args(["-c", "import numpy, skimage.transform"]).output();
    if !imports.is_ok_and(|output| output.status.success()) {
        eprintln!(
            "SKIPPED: aligned_faces_are_those_of_an_independent_implementation: needs a python3 with \
             numpy and scikit-image, which RETINAFACE_PYTHON may name"
        );
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("picture"), folder.path().join("face"));
    let picture = common::astronaut("RGB");
    fs::write(&input, bytes(picture.buffer().expect("a buffer"))).expect("a file");
    let found = common::faces(&common::media("astronaut.png"), "RGB", "");
    let landmarks = found[0].landmarks.expect("landmarks");
    // Sizes at which the face has about as many pixels in the picture as in the frame.
    for size in [112, 150] {
        let pictures = astronaut("RGB", &format!("size={size}"), "video/x-raw,format=RGB");
        let picture = bytes(pictures[0].buffer().expect("a buffer"));
        let stride = (3 * size as usize).next_multiple_of(4);
        let rows = picture.chunks_exact(stride).flat_map(|row| &row[..3 * size as usize]);
        let status = Command::new(&python)
            .arg("-B")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crop_and_blur/warp.py"))
            .arg(&input)
            .args(["512".to_owned(), "512".to_owned(), size.to_string()])
            .arg(&output)
            .args(landmarks.0.iter().flat_map(|p| [p.x.to_string(), p.y.to_string()]))
            .status();
        assert!(status.expect("it runs").success());
        let expected = fs::read(&output).expect("a picture");
        let difference = mean_difference(&rows.copied().collect::<Vec<_>>(), &expected);
        assert!(difference <= 2.0, "{difference} grey levels at {size}");
    }
}

#[test]
fn every_format_gives_the_same_face() {
    let of = |format| bytes(astronaut(format, "", "video/x-raw,format=RGB")[0].buffer().unwrap());
    let expected = of("RGB");
    for format in ["BGRx", "ARGB", "NV12", "NV21", "I420", "YV12", "YUY2", "UYVY"] {
        let difference = mean_difference(&of(format), &expected);
        assert!(difference < 4.0, "{difference} grey levels in {format}");
    }
    let gray = of("GRAY8");
    assert!(gray.as_chunks::<3>().0.iter().all(|[r, g, b]| r == g && g == b));
    let luma = |rgb: &[u8; 3]| {
        (0.299 * f32::from(rgb[0]) + 0.587 * f32::from(rgb[1]) + 0.114 * f32::from(rgb[2])) as u8
    };
    let expected: Vec<u8> = expected.as_chunks().0.iter().map(luma).collect();
    let gray: Vec<u8> = gray.as_chunks::<3>().0.iter().map(|[gray, ..]| *gray).collect();
    // In gray, landmarks are found some half a pixel away; brightness does not depend on that.
    let difference = mean_difference(&gray, &expected);
    assert!(difference < 10.0, "{difference} grey levels in GRAY8");
    let mean = |pixels: &[u8]| {
        pixels.iter().map(|&pixel| f64::from(pixel)).sum::<f64>() / pixels.len() as f64
    };
    let brighter = mean(&gray) - mean(&expected);
    assert!(brighter.abs() < 1.5, "{brighter} grey levels");
}

#[test]
fn downstream_chooses_the_order_of_the_channels() {
    let rgb = astronaut("RGB", "", "video/x-raw");
    assert!(rgb[0].caps().unwrap().to_string().contains("(string)RGB"), "{:?}", rgb[0].caps());
    let bgr = astronaut("RGB", "", "video/x-raw,format=BGR");
    let mut swapped = bytes(bgr[0].buffer().unwrap());
    swapped.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| pixel.reverse());
    assert_eq!(swapped, bytes(rgb[0].buffer().unwrap()));
}

#[test]
fn each_face_is_a_picture_with_where_it_comes_from() {
    let mut harness = harness(&[], &gray());
    let faces = [face(10.0, 5.0), face(30.0, 10.0)];
    assert!(harness.push(frame(0, &[])).is_ok());
    assert!(harness.push(frame(1, &faces)).is_ok());
    let pictures = pictures(&mut harness);
    assert_eq!(pictures.len(), 2);
    for (picture, (face, (right, down))) in
        pictures.iter().zip(faces.iter().zip([(10, 5), (30, 10)]))
    {
        assert_eq!((picture.pts(), picture.duration()), (Some(FRAME), Some(FRAME)));
        let rgb = bytes(picture);
        for (index, pixel) in rgb.as_chunks::<3>().0.iter().enumerate() {
            let (x, y) = (index as u32 % 112 + right, index as u32 / 112 + down);
            assert_eq!(*pixel, [(x + y * 3) as u8; 3], "{x}, {y}");
        }
        let found = meta::faces(picture)[0];
        assert_eq!(found.bounds, Rect::new(0.0, 0.0, 112.0, 112.0));
        assert_eq!(found.confidence, Some(0.75));
        for (found, expected) in found.landmarks.unwrap().0.iter().zip(ARCFACE.0) {
            assert!((found.x - expected.x).abs() < 1e-3 && (found.y - expected.y).abs() < 1e-3);
        }
        let source = meta::source(picture).unwrap();
        assert_eq!((source.frame, source.pts, source.size), (1, Some(FRAME), (WIDTH, HEIGHT)));
        assert_eq!(source.bounds, face.bounds);
        assert!((source.quality.size - 1.0).abs() < 1e-3, "{source:?}");
    }
    // As Python and C see it.
    let regions: Vec<_> = pictures[0].iter_meta::<VideoRegionOfInterestMeta>().collect();
    assert_eq!(regions.len(), 1);
    assert_eq!((regions[0].roi_type(), regions[0].rect()), ("face", (0, 0, 112, 112)));
    let params = regions[0].param("source").unwrap();
    assert_eq!(params.get::<u64>("pts"), Ok(FRAME.nseconds()));
    assert_eq!(params.get::<f64>("x_min"), Ok(30.0));
    assert!((0.0..=1.0).contains(&params.get::<f64>("quality").unwrap()));
}

#[test]
fn memory_of_pictures_is_used_again() {
    let mut harness = harness(&[], &gray());
    let memories = [0, 1, 2].map(|number| {
        assert!(harness.push(frame(number, &[face(0.0, 0.0)])).is_ok());
        let picture = harness.pull().expect("a picture");
        assert_eq!(meta::faces(&picture).len(), 1, "only its own face");
        picture.peek_memory(0).as_ptr()
    });
    assert_eq!(memories, [memories[0]; 3]);
}

#[test]
fn boxes_are_cut_out_as_squares() {
    let mut harness = harness(&[("align", "none"), ("margin", "0.125"), ("size", "80")], &gray());
    // 40×64 pixels become 80×80 around (60, 50).
    let bounds = Rect::new(40.0, 18.0, 80.0, 82.0);
    assert!(harness.push(frame(0, &[Face { bounds, ..Face::default() }])).is_ok());
    let pictures = pictures(&mut harness);
    let rgb = bytes(&pictures[0]);
    for (index, pixel) in rgb.as_chunks::<3>().0.iter().enumerate() {
        let (x, y) = (index as u32 % 80 + 20, index as u32 / 80 + 10);
        assert_eq!(*pixel, [(x + y * 3) as u8; 3], "{x}, {y}");
    }
    let source = meta::source(&pictures[0]).unwrap();
    assert_eq!((source.bounds, source.quality.frontality), (bounds, None));
}

#[test]
fn frames_without_faces_are_gaps() {
    let mut harness = harness(&[], &gray());
    for number in 0..3 {
        let faces = if number == 1 { vec![face(0.0, 0.0)] } else { Vec::new() };
        assert!(harness.push(frame(number, &faces)).is_ok());
    }
    let events = std::iter::from_fn(|| harness.try_pull_event());
    let gaps: Vec<_> = events
        .filter_map(|event| match event.view() {
            gst::EventView::Gap(gap) => Some(gap.get()),
            _ => None,
        })
        .collect();
    assert_eq!(gaps, [(gst::ClockTime::ZERO, Some(FRAME)), (FRAME * 2, Some(FRAME))]);
    assert_eq!(pictures(&mut harness).len(), 1);
}

#[test]
fn a_stream_without_faces_prerolls_and_ends() {
    common::init();
    let pipeline = gst::parse::launch(
        "videotestsrc num-buffers=5 ! video/x-raw,width=64,height=48 ! retinafacecrop ! fakesink",
    );
    let pipeline = pipeline.expect("a pipeline").downcast::<gst::Pipeline>().expect("a pipeline");
    for _ in 0..2 {
        pipeline.set_state(gst::State::Paused).expect("it starts");
        let (result, state, _) = pipeline.state(gst::ClockTime::from_seconds(60));
        assert_eq!((result.is_ok(), state), (true, gst::State::Paused));
        pipeline.set_state(gst::State::Playing).expect("it plays");
        let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
        let bus = pipeline.bus().expect("a bus");
        let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds);
        assert_eq!(message.expect("an end").type_(), gst::MessageType::Eos);
        pipeline.set_state(gst::State::Null).expect("it stops");
    }
}

#[test]
fn faces_are_saved_as_files() {
    let folder = tempfile::tempdir().expect("a folder");
    common::init();
    let pipeline = gst::parse::launch(&format!(
        "filesrc location=\"{}\" ! pngdec ! videoconvert ! retinafacedetect ! retinafacecrop size=64 ! \
         pngenc ! multifilesink location=\"{}/%03d.png\"",
        common::media("astronaut.png").display(),
        folder.path().display()
    ));
    let pipeline = pipeline.expect("a pipeline").downcast::<gst::Pipeline>().expect("a pipeline");
    pipeline.set_state(gst::State::Playing).expect("it plays");
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = pipeline.bus().expect("a bus").timed_pop_filtered(gst::ClockTime::NONE, &kinds);
    assert_eq!(message.expect("an end").type_(), gst::MessageType::Eos);
    pipeline.set_state(gst::State::Null).expect("it stops");
    let face = image::open(folder.path().join("000.png")).expect("a picture");
    assert_eq!((face.width(), face.height()), (64, 64));
    assert!(!folder.path().join("001.png").exists());
}

#[test]
fn faces_without_landmarks_are_left_out_with_a_warning() {
    let mut harness = harness(&[], &gray());
    let bus = with_bus(&harness);
    let plain = Face { landmarks: None, ..face(0.0, 0.0) };
    for number in 0..2 {
        assert!(harness.push(frame(number, &[plain, face(0.0, 0.0)])).is_ok());
    }
    assert_eq!(pictures(&mut harness).len(), 2);
    let warnings = messages(&bus, gst::MessageType::Warning);
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("align=none"), "{warnings:?}");
}

/// Sharper where it is farther to the right: the frame's values wrap there.
fn sharp(id: u64) -> Face {
    tracked(id, TrackingState::Detected, face(40.0, 10.0))
}

/// Half of it is outside of the frame.
fn cut_off(id: u64) -> Face {
    tracked(id, TrackingState::Detected, face(-60.0, 10.0))
}

#[test]
fn the_best_picture_of_a_face_is_sent_when_it_has_gone() {
    let properties = [("select", "best"), ("max-age", "2")];
    let mut harness = harness(&properties, &gray());
    for (number, faces) in [
        vec![cut_off(7), sharp(9)],
        vec![sharp(7), sharp(9)],
        vec![cut_off(7)],
        // Its place is guessed, however good it looks.
        vec![tracked(7, TrackingState::Held, sharp(7)), cut_off(9)],
        vec![],
        vec![],
    ]
    .into_iter()
    .enumerate()
    {
        assert!(harness.push(frame(number as u64, &faces)).is_ok());
        assert_eq!(harness.try_pull(), None, "too early at {number}");
    }
    assert!(harness.push(frame(6, &[sharp(11)])).is_ok());
    let gone = pictures(&mut harness);
    assert_eq!(ids(&gone), [(7, 1), (9, 0)]);
    assert_eq!(gone[0].pts(), Some(FRAME), "the frame's time");
    // The end is the end of every face, before the event.
    assert!(harness.push_event(gst::event::Eos::new()));
    assert_eq!(ids(&pictures(&mut harness)), [(11, 6)]);
}

#[test]
fn every_interval_has_its_best_picture() {
    let mut harness = harness(&[("select", "best"), ("best-interval", "80000000")], &gray());
    for (number, face) in
        [cut_off(1), sharp(1), cut_off(1), cut_off(1), sharp(1), sharp(1)].into_iter().enumerate()
    {
        assert!(harness.push(frame(number as u64, &[face])).is_ok());
    }
    assert_eq!(ids(&pictures(&mut harness)), [(1, 1), (1, 4)]);
}

#[test]
fn best_needs_tracks() {
    let mut harness = harness(&[("select", "best")], &gray());
    let bus = with_bus(&harness);
    assert!(harness.push(frame(0, &[])).is_ok());
    assert_eq!(harness.push(frame(1, &[face(0.0, 0.0)])), Err(gst::FlowError::Error));
    let errors = messages(&bus, gst::MessageType::Error);
    assert!(errors[0].contains("put retinafacetrack before"), "{errors:?}");
}

#[test]
fn a_flush_forgets_and_a_segment_ends_faces() {
    let mut harness = harness(&[("select", "best")], &gray());
    assert!(harness.push(frame(0, &[sharp(1)])).is_ok());
    assert!(harness.push_event(gst::event::FlushStart::new()));
    assert!(harness.push_event(gst::event::FlushStop::new(true)));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(harness.push_event(gst::event::Segment::new(&segment)));
    assert!(harness.push(frame(5, &[sharp(2)])).is_ok());
    assert!(pictures(&mut harness).is_empty());
    assert!(harness.push_event(gst::event::Segment::new(&segment)));
    assert_eq!(ids(&pictures(&mut harness)), [(2, 1)]);
}

#[test]
fn frames_may_change_their_size_and_format() {
    let mut harness = harness(&[], &gray());
    assert!(harness.push(frame(0, &[face(0.0, 0.0)])).is_ok());
    let larger = info(VideoFormat::Rgbx, 300, 200);
    harness.set_src_caps(larger.to_caps().unwrap());
    let mut buffer = gst::Buffer::from_mut_slice(vec![50; larger.size()]);
    meta::attach(buffer.make_mut(), &face(150.0, 60.0), 300, 200);
    assert!(harness.push(buffer).is_ok());
    let pictures = pictures(&mut harness);
    assert_eq!(bytes(&pictures[1]), vec![50; 3 * 112 * 112]);
    assert_eq!(meta::source(&pictures[1]).unwrap().size, (300, 200));
}

#[test]
fn pixels_that_are_not_square_become_square() {
    common::init();
    let wide = VideoInfo::builder(VideoFormat::Gray8, WIDTH, HEIGHT).par(gst::Fraction::new(2, 1));
    let mut harness = harness(&[], &wide.build().unwrap());
    let narrow = Landmarks(ARCFACE.0.map(|p| Point { x: p.x / 2.0, ..p }));
    assert!(harness.push(frame(0, &[Face { landmarks: Some(narrow), ..face(0.0, 0.0) }])).is_ok());
    let rgb = bytes(&pictures(&mut harness)[0]);
    // Every second pixel is one of the frame's.
    for (x, y) in [(0, 0), (20, 30), (100, 80)] {
        let expected = (x / 2 + y * 3) as u8;
        assert!(rgb[3 * (y * 112 + x)].abs_diff(expected) <= 1, "{x}, {y}");
    }
    assert!(harness.sinkpad().unwrap().current_caps().unwrap().to_string().contains("1/1"));
}

#[test]
fn a_frame_that_does_not_match_its_caps_is_dropped_with_a_warning() {
    let mut harness = harness(&[], &gray());
    let bus = with_bus(&harness);
    assert!(harness.push(frame(0, &[face(0.0, 0.0)])).is_ok());
    let mut short = gst::Buffer::from_mut_slice(vec![0; 100]);
    meta::attach(short.make_mut(), &face(0.0, 0.0), WIDTH, HEIGHT);
    assert!(harness.push(short).is_ok());
    assert_eq!(pictures(&mut harness).len(), 1);
    let warnings = messages(&bus, gst::MessageType::Warning);
    assert!(warnings[0].contains("is dropped"), "{warnings:?}");
}

#[test]
fn aligned_faces_are_upright_whatever_the_tags_say() {
    for (align, expected) in [("landmarks", None), ("none", Some("rotate-90"))] {
        let mut harness = harness(&[("align", align)], &gray());
        let mut tags = gst::TagList::new();
        let list = tags.get_mut().unwrap();
        list.add::<gst::tags::ImageOrientation>(&"rotate-90", gst::TagMergeMode::Append);
        list.add::<gst::tags::Title>(&"a film", gst::TagMergeMode::Append);
        assert!(harness.push_event(gst::event::Tag::new(tags)));
        let events = std::iter::from_fn(|| harness.try_pull_event());
        let tags: Vec<_> = events
            .filter_map(|event| match event.view() {
                gst::EventView::Tag(event) => Some(event.tag_owned()),
                _ => None,
            })
            .collect();
        assert_eq!(tags[0].get::<gst::tags::Title>().unwrap().get(), "a film");
        let orientation = tags[0].get::<gst::tags::ImageOrientation>();
        assert_eq!(orientation.as_ref().map(|value| value.get()), expected);
    }
}
