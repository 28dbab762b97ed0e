// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faces made unrecognisable.

use gst::prelude::*;
use gst_check::Harness;
use gst_video::{VideoFormat, VideoInfo};
use gstretinaface::{face::Face, geometry::Rect, meta};

use crate::{
    common,
    elements::{bytes, harness_of, info, messages, with_bus},
};

const WIDTH: u32 = 64;
const HEIGHT: u32 = 48;
/// Of whole chroma samples in every format.
const FACE: Rect = Rect::new(16.0, 8.0, 48.0, 40.0);

fn gray() -> VideoInfo {
    info(VideoFormat::Gray8, WIDTH, HEIGHT)
}

fn harness(properties: &[(&str, &str)]) -> Harness {
    harness_of("retinafaceblur", properties, &gray())
}

/// A different value for each pixel.
fn pixels() -> Vec<u8> {
    (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x * 37 + y * 101) as u8)).collect()
}

fn frame(bounds: &[Rect]) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_mut_slice(pixels());
    for &bounds in bounds {
        let face = Face { bounds, ..Face::default() };
        meta::attach(buffer.get_mut().expect("a new buffer"), &face, WIDTH, HEIGHT);
    }
    buffer
}

fn at(data: &[u8], x: u32, y: u32) -> u8 {
    data[(y * WIDTH + x) as usize]
}

fn in_face(x: u32, y: u32) -> bool {
    (16..48).contains(&x) && (8..40).contains(&y)
}

/// Whether the ellipse inside the face has the middle of a pixel.
fn in_ellipse(x: u32, y: u32) -> bool {
    let (x, y) = (f64::from(x) + 0.5 - 32.0, f64::from(y) + 0.5 - 24.0);
    x * x + y * y <= 16.0 * 16.0
}

/// What `properties` make of a frame with a face.
fn blurred(properties: &[(&str, &str)]) -> Vec<u8> {
    let mut harness = harness(properties);
    bytes(&harness.push_and_pull(frame(&[FACE])).expect("a frame"))
}

/// The formats that the element takes.
fn formats() -> Vec<String> {
    common::init();
    let factory = gst::ElementFactory::find("retinafaceblur").expect("registered");
    let templates = factory.static_pad_templates();
    let caps = templates.iter().next().expect("a pad").caps();
    let formats = caps.structure(0).expect("caps").get::<gst::List>("format").expect("formats");
    formats.iter().map(|format| format.get::<String>().expect("a name")).collect()
}

#[test]
fn every_format_is_filled_inside_the_face_and_left_alone_outside() {
    let formats = formats();
    assert!(formats.len() >= 17, "{formats:?}");
    for format in formats {
        let pipeline = gst::parse::launch(&format!(
            "videotestsrc num-buffers=1 pattern=white ! \
             video/x-raw,format=RGB,width={WIDTH},height={HEIGHT} ! videoconvert ! \
             video/x-raw,format={format} ! retinafaceblur name=blur mode=fill shape=rectangle margin=0 \
             color=0xffff0000 ! videoconvert ! video/x-raw,format=RGB ! appsink name=sink sync=false"
        ));
        let pipeline =
            pipeline.expect("a pipeline").downcast::<gst::Pipeline>().expect("a pipeline");
        let blur = pipeline.by_name("blur").expect("an element");
        let sink = blur.static_pad("sink").expect("a pad");
        sink.add_probe(gst::PadProbeType::BUFFER, |_, info| {
            if let Some(buffer) = info.buffer_mut() {
                let face = Face { bounds: FACE, ..Face::default() };
                meta::attach(buffer.make_mut(), &face, WIDTH, HEIGHT);
            }
            gst::PadProbeReturn::Ok
        });
        pipeline.set_state(gst::State::Playing).expect("it plays");
        let sink = pipeline.by_name("sink").and_downcast::<gst_app::AppSink>().expect("a sink");
        let sample = sink.pull_sample().expect("a frame");
        pipeline.set_state(gst::State::Null).expect("it stops");
        let data = bytes(sample.buffer().expect("a buffer"));
        let is_gray = format.starts_with("GRAY");
        for (index, pixel) in data.as_chunks::<3>().0.iter().enumerate() {
            let (x, y) = (index as u32 % WIDTH, index as u32 / WIDTH);
            let expected = match in_face(x, y) {
                true if is_gray => [76; 3],
                true => [255, 0, 0],
                false => [255; 3],
            };
            // The conversion back may mix neighbouring chroma samples.
            let at_edge = [(15, 8), (48, 8), (16, 7), (16, 40)];
            let near = |a: u32, b: u32| a.abs_diff(b) <= 4;
            let edge = at_edge.iter().any(|(ex, ey)| near(x, *ex) || near(y, *ey));
            let same =
                pixel.iter().zip(expected).all(|(&found, wanted)| found.abs_diff(wanted) <= 4);
            assert!(same || edge, "{format} at {x},{y}: {pixel:?} instead of {expected:?}");
        }
    }
}

#[test]
fn rectangles_and_ellipses_hide_what_is_in_them() {
    let before = pixels();
    for shape in ["rectangle", "ellipse"] {
        let after = blurred(&[
            ("mode", "fill"),
            ("shape", shape),
            ("margin", "0"),
            ("color", "0xff070707"),
        ]);
        let mut beside = 0;
        for (x, y) in (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x, y))) {
            let hidden = if shape == "ellipse" { in_ellipse(x, y) } else { in_face(x, y) };
            match (hidden, at(&after, x, y)) {
                (true, found) => assert_eq!(found, 7, "{shape} at {x},{y}"),
                // Pixels that the ellipse touches.
                (false, found) if found != at(&before, x, y) => {
                    assert!(shape == "ellipse" && in_face(x, y), "{shape} at {x},{y}");
                    beside += 1;
                }
                (false, _) => (),
            }
        }
        // Its outline is 100 pixels long; of the square, 220 pixels are outside of it.
        assert!(beside < 110, "{beside}");
    }
}

/// 32×32 pixels as 4×4 squares of 8×8.
#[test]
fn squares_are_means() {
    let before = pixels();
    let properties =
        [("mode", "pixelate"), ("shape", "rectangle"), ("margin", "0"), ("squares", "4")];
    let after = blurred(&properties);
    for (x, y) in (8..40).flat_map(|y| (16..48).map(move |x| (x, y))) {
        let (left, top) = (x / 8 * 8, y / 8 * 8);
        let square = (top..top + 8).flat_map(|y| (left..left + 8).map(move |x| (x, y)));
        let sum: u32 = square.map(|(x, y)| u32::from(at(&before, x, y))).sum();
        let mean = (f64::from(sum) / 64.0).round() as u8;
        assert!(at(&after, x, y).abs_diff(mean) <= 1, "{x},{y}");
    }
}

#[test]
fn margins_are_hidden_too() {
    let before = pixels();
    let properties = [("mode", "fill"), ("shape", "rectangle"), ("margin", "0.125")];
    let after = blurred(&properties);
    for (x, y) in (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x, y))) {
        let hidden = (12..52).contains(&x) && (4..44).contains(&y);
        let expected = if hidden { 0 } else { at(&before, x, y) };
        assert_eq!(at(&after, x, y), expected, "{x},{y}");
    }
}

/// Blurred pixels are smooth: the frame's own are not.
#[test]
fn blurred_faces_are_smooth() {
    let steps = |data: &[u8]| {
        let pixels = (12..36).flat_map(|y| (20..43).map(move |x| (x, y)));
        pixels.map(|(x, y)| at(data, x, y).abs_diff(at(data, x + 1, y))).max().unwrap()
    };
    assert!(steps(&pixels()) > 100);
    for squares in ["1", "5"] {
        let after = blurred(&[("shape", "rectangle"), ("squares", squares)]);
        assert!(steps(&after) < 20, "{squares}");
    }
}

#[test]
fn faces_are_not_found_again() {
    common::init();
    let found = |element: &str| {
        let pipeline = gst::parse::launch(&format!(
            "filesrc location=\"{}\" ! pngdec ! videoconvert ! video/x-raw,format=I420 ! \
             retinafacedetect ! {element} ! identity name=clean ! \
             retinafacedetect score-threshold=0.2 ! appsink name=sink sync=false",
            common::media("astronaut.png").display()
        ));
        let pipeline =
            pipeline.expect("a pipeline").downcast::<gst::Pipeline>().expect("a pipeline");
        let clean =
            pipeline.by_name("clean").and_then(|clean| clean.static_pad("src")).expect("a pad");
        clean.add_probe(gst::PadProbeType::BUFFER, |_, info| {
            if let Some(buffer) = info.buffer_mut() {
                // Without the faces that were found before.
                let (bytes, pts) = (bytes(buffer), buffer.pts());
                *buffer = gst::Buffer::from_mut_slice(bytes);
                buffer.make_mut().set_pts(pts);
            }
            gst::PadProbeReturn::Ok
        });
        pipeline.set_state(gst::State::Playing).expect("it plays");
        let sink = pipeline.by_name("sink").and_downcast::<gst_app::AppSink>().expect("a sink");
        let sample = sink.pull_sample().expect("a frame");
        pipeline.set_state(gst::State::Null).expect("it stops");
        meta::faces(sample.buffer().expect("a buffer")).len()
    };
    assert_eq!(found("identity"), 1, "the face is there");
    for element in [
        "retinafaceblur",
        "retinafaceblur mode=pixelate",
        "retinafaceblur mode=fill",
        "retinafaceblur shape=rectangle",
    ] {
        assert_eq!(found(element), 0, "after {element}");
    }
}

#[test]
fn faces_at_and_beyond_the_edge_are_hidden() {
    let before = pixels();
    let faces = [
        Rect::new(-20.0, -20.0, 10.0, 12.0),
        Rect::new(50.5, 30.5, 90.0, 100.0),
        Rect::new(100.0, 100.0, 120.0, 130.0),
        Rect::new(30.0, 20.0, 30.0, 20.0),
        Rect::new(f32::NAN, 0.0, 10.0, 10.0),
    ];
    let mut harness = harness(&[("mode", "fill"), ("shape", "rectangle"), ("margin", "0")]);
    let after = bytes(&harness.push_and_pull(frame(&faces)).expect("a frame"));
    for (x, y) in (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x, y))) {
        let hidden = x < 10 && y < 12 || x >= 50 && y >= 30;
        let expected = if hidden { 0 } else { at(&before, x, y) };
        assert_eq!(at(&after, x, y), expected, "{x},{y}");
    }
}

#[test]
fn memory_that_others_hold_is_copied_first() {
    let mut harness = harness(&[]);
    let alone = frame(&[FACE]);
    let address = |buffer: &gst::BufferRef| buffer.map_readable().expect("memory").as_ptr();
    let before = address(&alone);
    let after = harness.push_and_pull(alone).expect("a frame");
    assert_eq!(address(&after), before, "memory that nobody shares was copied");
    let shared = frame(&[FACE]);
    let other = shared.clone();
    let after = harness.push_and_pull(shared).expect("a frame");
    assert_ne!(bytes(&after), pixels());
    assert_eq!(bytes(&other), pixels(), "shared memory was written");
    let without = frame(&[]);
    let before = address(&without);
    let after = harness.push_and_pull(without).expect("a frame");
    assert_eq!((address(&after), bytes(&after)), (before, pixels()));
}

#[test]
fn a_frame_whose_faces_cannot_be_hidden_is_dropped_with_a_warning() {
    let mut harness = harness(&[]);
    let bus = with_bus(&harness);
    assert!(harness.push_and_pull(frame(&[FACE])).is_ok());
    let mut short = gst::Buffer::from_mut_slice(vec![0; 100]);
    meta::attach(short.make_mut(), &Face { bounds: FACE, ..Face::default() }, WIDTH, HEIGHT);
    assert!(harness.push(short).is_ok());
    assert_eq!(harness.try_pull(), None);
    let warnings = messages(&bus, gst::MessageType::Warning);
    assert!(warnings[0].contains("is dropped"), "{warnings:?}");
    assert!(harness.push_and_pull(frame(&[FACE])).is_ok());
}

#[test]
fn frames_may_change_their_size_and_format() {
    let mut harness = harness(&[("mode", "fill"), ("color", "0xff0000ff")]);
    assert!(harness.push_and_pull(frame(&[FACE])).is_ok());
    let larger = info(VideoFormat::Rgbx, 200, 100);
    harness.set_src_caps(larger.to_caps().unwrap());
    let mut buffer = gst::Buffer::from_mut_slice(vec![50; larger.size()]);
    let bounds = Rect::new(120.0, 40.0, 160.0, 80.0);
    meta::attach(buffer.make_mut(), &Face { bounds, ..Face::default() }, 200, 100);
    let after = bytes(&harness.push_and_pull(buffer).expect("a frame"));
    assert_eq!(after[4 * (60 * 200 + 140)..][..4], [0, 0, 255, 50]);
    assert_eq!(after[4 * (60 * 200 + 100)..][..4], [50; 4]);
}
