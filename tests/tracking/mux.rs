// SPDX-License-Identifier: MIT OR Apache-2.0

//! `retinafacemetamux`: faces of a small branch on the frames of a large one.

use std::{thread, time::Duration};

use gst::prelude::*;
use gstretinaface::{face::Face, geometry::Rect, meta};

use super::{CAPS, common, face, frame, ms, parse, tracking, wait_for_end};

/// The element between two sources and a sink: frames of 320×480 pixels on the main branch, twice as
/// wide as high, of 160×120 on the other.
struct Mux {
    pipeline: gst::Pipeline,
    main: gst_app::AppSrc,
    faces: gst_app::AppSrc,
    sink: gst_app::AppSink,
}

impl Mux {
    fn new(properties: &str) -> Self {
        Self::with_pixels("2/1", properties)
    }

    /// With another aspect ratio of the main branch's pixels.
    fn with_pixels(aspect: &str, properties: &str) -> Self {
        let large = CAPS.replace("width=160,height=120", "width=320,height=480");
        let large = format!("{large},pixel-aspect-ratio={aspect}");
        let pipeline = parse(&format!(
            "retinafacemetamux name=mux {properties} ! appsink name=sink sync=false \
             appsrc name=main format=time caps={large} ! mux.sink \
             appsrc name=faces format=time caps={CAPS} ! mux.faces"
        ));
        let source = |name| pipeline.by_name(name).and_downcast::<gst_app::AppSrc>().expect(name);
        let sink = pipeline.by_name("sink").and_downcast::<gst_app::AppSink>().expect("a sink");
        pipeline.set_state(gst::State::Playing).expect("it plays");
        Self { main: source("main"), faces: source("faces"), pipeline, sink }
    }

    fn push_main(&self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.main.push_buffer(frame(number, &[])).expect("it takes frames");
        }
    }

    /// Each with a face that says which it is.
    fn push_faces(&self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            let faces = [face(20.0 + number as f32, 50.0, 0.9)];
            self.faces.push_buffer(frame(number, &faces)).expect("it takes frames");
        }
    }

    /// Waits until the element has had all frames of the analysis branch.
    fn settle(&self) {
        self.faces.end_of_stream().expect("an end");
        let pad = self.pipeline.by_name("mux").and_then(|mux| mux.static_pad("faces"));
        let pad = pad.expect("a pad");
        while !pad.pad_flags().contains(gst::PadFlags::EOS) {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The number of the next frame, and of the frames that its faces are from.
    fn pull(&self) -> Option<(u64, Vec<u64>)> {
        let sample = self.sink.pull_sample().ok()?;
        let buffer = sample.buffer().expect("a buffer");
        let number = |face: Face| (face.bounds.middle().x / 2.0 - 20.0).round() as u64;
        Some((buffer.offset(), meta::faces(buffer).into_iter().map(number).collect()))
    }

    fn pull_all(&self) -> Vec<(u64, Vec<u64>)> {
        self.main.end_of_stream().expect("an end");
        std::iter::from_fn(|| self.pull()).collect()
    }

    fn warnings(&self) -> usize {
        let bus = self.pipeline.bus().expect("a bus");
        std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Warning])).count()
    }
}

impl Drop for Mux {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

#[test]
fn faces_grow_with_the_frame() {
    let mux = Mux::new("");
    mux.push_faces([0]);
    mux.push_main([0]);
    let sample = mux.sink.pull_sample().expect("a frame");
    let faces = meta::faces(sample.buffer().expect("a buffer"));
    let small = face(20.0, 50.0, 0.9);
    // Twice as wide and four times as high.
    assert_eq!(faces[0].bounds, Rect::new(20.0, 160.0, 60.0, 240.0));
    let points = |face: &Face| face.landmarks.expect("landmarks").0;
    for (large, small) in points(&faces[0]).iter().zip(points(&small)) {
        assert_eq!((large.x, large.y), (2.0 * small.x, 4.0 * small.y));
    }
    assert_eq!(faces[0].confidence, small.confidence);
}

#[test]
fn each_frame_waits_for_its_faces() {
    let mux = Mux::new("");
    mux.push_main(0..4);
    mux.push_faces([0]);
    assert_eq!(mux.pull(), Some((0, vec![0])));
    // It knows that 1 and 2 were left out only now.
    mux.push_faces([3]);
    assert_eq!(mux.pull(), Some((1, vec![])));
    assert_eq!(mux.pull(), Some((2, vec![])));
    assert_eq!(mux.pull(), Some((3, vec![3])));
    mux.settle();
    mux.push_main([4]);
    assert_eq!(mux.pull_all(), [(4, vec![])], "nothing is waited for that has ended");
    assert_eq!(mux.warnings(), 0);
}

#[test]
fn frames_without_faces_of_their_own_may_keep_those_before() {
    // Two frames of 40 ms.
    let mux = Mux::new("hold=80000000");
    mux.push_faces([0, 4]);
    mux.settle();
    mux.push_main(0..8);
    let held = [
        (0, vec![0]),
        (1, vec![0]),
        (2, vec![0]),
        (3, vec![]),
        (4, vec![4]),
        (5, vec![4]),
        (6, vec![4]),
        (7, vec![]),
    ];
    assert_eq!(mux.pull_all(), held);
}

/// As videorate makes timestamps anew.
#[test]
fn frames_are_the_same_whose_timestamps_are_half_a_frame_apart() {
    let mux = Mux::new("");
    for (number, offset) in [(0, 0), (3, 15), (7, 5), (9, 22)] {
        let mut buffer = frame(number, &[face(20.0 + number as f32, 50.0, 0.9)]);
        let pts = buffer.pts().expect("a time");
        buffer.make_mut().set_pts(pts + ms(offset));
        mux.faces.push_buffer(buffer).expect("it takes frames");
    }
    mux.settle();
    mux.push_main(0..12);
    // 22 ms after frame 9 is 18 ms before frame 10.
    let expected = (0..12).map(|number| match number {
        0 | 3 | 7 => (number, vec![number]),
        10 => (10, vec![9]),
        _ => (number, vec![]),
    });
    assert_eq!(mux.pull_all(), expected.collect::<Vec<_>>());
    assert_eq!(mux.warnings(), 0);
}

#[test]
fn an_analysis_branch_that_is_too_slow_is_said_once() {
    for (properties, warnings) in [("max-wait=0", 1), ("max-wait=0 hold=1000000000", 0)] {
        let mux = Mux::new(properties);
        mux.push_main(0..40);
        for number in 0..40 {
            assert_eq!(mux.pull(), Some((number, vec![])));
        }
        mux.push_faces(0..30);
        mux.settle();
        assert_eq!(mux.warnings(), warnings, "{properties}");
    }
}

/// Borders put faces in wrong places.
#[test]
fn another_aspect_ratio_is_said_once() {
    for (pixels, warnings) in [("1/1", 1), ("2/1", 0), ("99/50", 0)] {
        let mux = Mux::with_pixels(pixels, "");
        mux.push_main(0..3);
        mux.push_faces(0..3);
        let expected = [0, 1, 2].map(|number| (number, vec![number]));
        assert_eq!(mux.pull_all(), expected);
        assert_eq!(mux.warnings(), warnings, "{pixels}");
    }
}

#[test]
fn a_silent_analysis_branch_stops_nothing() {
    let mux = Mux::new("max-wait=20000000");
    mux.push_main(0..100);
    for number in 0..100 {
        assert_eq!(mux.pull(), Some((number, vec![])));
    }
    assert_eq!(mux.warnings(), 1);
    // When it speaks, it is listened to again.
    mux.push_faces([100]);
    mux.settle();
    mux.push_main([100]);
    assert_eq!(mux.pull_all(), [(100, vec![100])]);
}

#[test]
fn nothing_waits_for_a_branch_that_is_not_there() {
    let pipeline = parse(
        "videotestsrc num-buffers=10 ! video/x-raw,width=64,height=64 ! mux.sink \
         retinafacemetamux name=mux max-wait=1000000000000 ! fakesink sync=false",
    );
    pipeline.set_state(gst::State::Playing).expect("it plays");
    wait_for_end(&pipeline);
    pipeline.set_state(gst::State::Null).expect("it stops");
}

#[test]
fn a_frame_that_waits_lets_the_pipeline_stop_and_seek() {
    for _ in 0..3 {
        let mux = Mux::new("max-wait=1000000000000");
        mux.push_main(0..3);
        mux.push_faces([0]);
        assert_eq!(mux.pull(), Some((0, vec![0])));
        let pad = mux.pipeline.by_name("mux").and_then(|mux| mux.static_pad("sink"));
        let pad = pad.expect("a pad");
        assert!(pad.send_event(gst::event::FlushStart::new()));
        assert!(pad.send_event(gst::event::FlushStop::new(false)));
        mux.pipeline.set_state(gst::State::Null).expect("it stops");
        mux.pipeline.set_state(gst::State::Playing).expect("it plays again");
        mux.push_faces([5]);
        mux.push_main([5]);
        assert_eq!(mux.pull(), Some((5, vec![5])), "and is what it was");
        mux.push_main([6]);
        mux.pipeline.set_state(gst::State::Null).expect("it stops");
    }
}

#[test]
fn live_pipelines_know_of_the_wait() {
    for (properties, wait) in [("", 100), ("max-wait=30000000", 30)] {
        let pipeline = parse(&format!(
            "videotestsrc is-live=true ! video/x-raw,width=64,height=64,framerate=25/1 ! tee name=t \
             t. ! queue ! mux.sink t. ! queue leaky=downstream ! mux.faces \
             retinafacemetamux name=mux {properties} ! fakesink sync=true"
        ));
        pipeline.set_state(gst::State::Playing).expect("it plays");
        pipeline.state(gst::ClockTime::from_seconds(30)).0.expect("it plays");
        let mut query = gst::query::Latency::new();
        assert!(pipeline.query(&mut query));
        let (live, latency, _) = query.result();
        assert!(live && latency >= ms(wait), "{latency} for {properties}");
        assert!(latency < ms(wait + 100), "{latency} for {properties}");
        pipeline.set_state(gst::State::Null).expect("it stops");
    }
}

/// What README.md recommends for large frames, and that every frame comes through.
#[test]
fn a_small_branch_finds_the_faces_of_a_large_one() {
    for (queue, analysed) in [("queue", 12), ("queue leaky=downstream max-size-buffers=1", 1)] {
        let pipeline = parse(&format!(
            "{} ! videoconvert ! videoscale ! video/x-raw,format=I420,width=1536,height=1536 ! tee name=t \
             t. ! queue max-size-bytes=0 max-size-time=0 max-size-buffers=32 ! mux.sink \
             t. ! {queue} ! videoscale ! video/x-raw,width=512,height=512 ! retinafacedetect ! \
             mux.faces retinafacemetamux name=mux ! retinafacetrack ! appsink name=sink sync=false",
            common::astronauts(12)
        ));
        let sink = pipeline.by_name("sink").and_downcast::<gst_app::AppSink>().expect("a sink");
        pipeline.set_state(gst::State::Playing).expect("it plays");
        let samples: Vec<_> = std::iter::from_fn(|| sink.pull_sample().ok()).collect();
        pipeline.set_state(gst::State::Null).expect("it stops");
        assert_eq!(samples.len(), 12, "{queue}");
        let small = common::faces(&common::media("astronaut.png"), "I420", "")[0];
        let mut with_faces = 0;
        for sample in &samples {
            for face in meta::faces(sample.buffer().expect("a buffer")) {
                let iou = face.bounds.iou(&small.bounds.scale(3.0, 3.0));
                assert!(iou > 0.9, "{iou}: {face:?}");
                assert_eq!(tracking(&face).id, 1);
                with_faces += 1;
            }
        }
        assert!(with_faces >= analysed, "{queue}: {with_faces}");
    }
}
