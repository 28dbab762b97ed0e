// SPDX-License-Identifier: MIT OR Apache-2.0

//! `retinafacetrack` with faces that the test puts on frames.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use gst::prelude::*;
use gst_check::Harness;
use gst_video::VideoRegionOfInterestMeta;
use gstretinaface::{
    face::{Face, Landmarks, TrackingState},
    geometry::Point,
    meta,
};

use super::{CAPS, common, face, frame, ms, parse, tracking, wait_for_end};

fn harness(properties: &str) -> Harness {
    common::init();
    let mut harness = Harness::new_parse(&format!("retinafacetrack {properties}"));
    harness.set_src_caps(CAPS.parse().expect("caps"));
    harness
}

fn push(harness: &mut Harness, number: u64, faces: &[Face]) {
    assert_eq!(harness.push(frame(number, faces)), Ok(gst::FlowSuccess::Ok));
}

/// The frames that have left, by number, with their faces.
fn pull(harness: &mut Harness) -> Vec<(u64, Vec<Face>)> {
    std::iter::from_fn(|| harness.try_pull())
        .map(|buffer| (buffer.offset(), meta::faces(&buffer)))
        .collect()
}

#[test]
fn faces_get_ids_and_are_held() {
    let mut harness = harness("hold=2");
    for number in 0..3 {
        push(&mut harness, number, &[face(40.0 + 2.0 * number as f32, 50.0, 0.9)]);
    }
    (3..6).for_each(|number| push(&mut harness, number, &[]));
    let frames = pull(&mut harness);
    assert_eq!(frames.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    for (number, faces) in &frames[..3] {
        let given = face(40.0 + 2.0 * *number as f32, 50.0, 0.9);
        assert_eq!(Face { tracking: None, ..faces[0] }, given, "a detection stays what it is");
        assert_eq!(tracking(&faces[0]).state, TrackingState::Detected);
    }
    for (number, faces) in &frames[3..5] {
        let held = tracking(&faces[0]);
        assert_eq!((held.id, held.age, held.state), (1, *number, TrackingState::Held));
        assert!(faces[0].bounds.middle().x > 44.0, "it moves on: {:?}", faces[0]);
        assert!(faces[0].landmarks.is_some());
    }
    assert_eq!(frames[5].1, []);
}

#[test]
fn metas_are_as_documented() {
    let mut harness = harness("");
    push(&mut harness, 0, &[face(50.0, 50.0, 0.9)]);
    push(&mut harness, 1, &[]);
    for state in ["detected", "held"] {
        let buffer = harness.pull().expect("a frame");
        let metas: Vec<_> = buffer.iter_meta::<VideoRegionOfInterestMeta>().collect();
        assert_eq!(metas.len(), 1);
        assert_eq!((metas[0].roi_type(), metas[0].rect()), ("face", (40, 40, 20, 20)));
        let params: Vec<_> = metas[0].params().map(|param| param.name().to_string()).collect();
        assert_eq!(params, ["detection", "bounds", "landmarks", "tracking"]);
        let tracking = metas[0].param("tracking").expect("a param");
        assert_eq!(tracking.get::<u64>("id"), Ok(1));
        assert_eq!(tracking.get::<u64>("age"), Ok(u64::from(state == "held")));
        assert_eq!(tracking.get::<&str>("state"), Ok(state));
    }
}

#[test]
fn weak_detections_and_those_too_few_are_removed() {
    let mut harness = harness("min-hits=2 hold=0");
    push(&mut harness, 0, &[face(50.0, 50.0, 0.9), face(100.0, 50.0, 0.3)]);
    push(&mut harness, 1, &[face(50.0, 50.0, 0.3), face(100.0, 50.0, 0.3)]);
    push(&mut harness, 2, &[face(50.0, 50.0, 0.1)]);
    let faces = pull(&mut harness).into_iter().map(|(_, faces)| faces).collect::<Vec<_>>();
    assert_eq!(faces[0], []);
    assert_eq!(faces[1].len(), 1, "the second detection, which is weak: {:?}", faces[1]);
    assert_eq!(faces[1][0].bounds.middle(), Point { x: 50.0, y: 50.0 });
    assert_eq!(faces[2], []);
}

/// As GStreamer's `facedetect` and others attach them.
#[test]
fn faces_of_other_elements_are_followed_by_their_rectangles() {
    let mut harness = harness("");
    for number in 0..3 {
        let mut buffer = frame(number, &[]);
        let with_meta = buffer.make_mut();
        VideoRegionOfInterestMeta::add(with_meta, "car", (1, 2, 3, 4));
        if number < 2 {
            VideoRegionOfInterestMeta::add(with_meta, "face", (50, 40, 20, 30));
        }
        assert_eq!(harness.push(buffer), Ok(gst::FlowSuccess::Ok));
    }
    for number in 0..3 {
        let buffer = harness.pull().expect("a frame");
        let metas: Vec<_> = buffer.iter_meta::<VideoRegionOfInterestMeta>().collect();
        let mut rects: Vec<_> = metas.iter().map(|meta| (meta.roi_type(), meta.rect())).collect();
        // GStreamer 1.14 gives the newest first.
        rects.sort_unstable();
        assert_eq!(rects, [("car", (1, 2, 3, 4)), ("face", (50, 40, 20, 30))], "{number}");
        let face = meta::faces(&buffer)[0];
        assert_eq!((tracking(&face).id, tracking(&face).age), (1, number));
        assert_eq!((face.landmarks, face.confidence), (None, None));
    }
}

/// What is hidden must not show because a number is wrong.
#[test]
fn faces_with_numbers_that_are_none_stay() {
    let wrong = Landmarks([Point { x: f32::NAN, y: 0.0 }; 5]);
    let certain = face(50.0, 50.0, f32::NAN);
    let without_landmarks = Face { landmarks: Some(wrong), ..face(50.0, 50.0, 0.9) };
    for wrong in [certain, without_landmarks] {
        let mut harness = harness("");
        push(&mut harness, 0, &[wrong]);
        push(&mut harness, 1, &[]);
        for (_, faces) in pull(&mut harness) {
            assert_eq!(faces.len(), 1, "{wrong:?}");
            assert_eq!(faces[0].bounds, wrong.bounds);
            assert!(faces[0].is_finite());
        }
    }
}

/// Upstream would wait for ever for one of the frames that are kept back.
#[test]
fn frames_of_a_pool_that_is_too_small_are_copied() {
    let elsewhere = CAPS.replace("x-raw", "x-raw(memory:Elsewhere)");
    for (caps, look_ahead, copied) in
        [(CAPS, 2, false), (CAPS, 3, true), (CAPS, 200, true), (elsewhere.as_str(), 3, false)]
    {
        common::init();
        let mut harness = Harness::new_parse(&format!("retinafacetrack look-ahead={look_ahead}"));
        let bus = gst::Bus::new();
        harness.element().expect("an element").set_bus(Some(&bus));
        harness.set_src_caps(caps.parse().expect("caps"));
        let pool = gst::BufferPool::new();
        let mut config = pool.config();
        config.set_params(None, 160 * 120, 1, 7);
        pool.set_config(config).expect("a size");
        pool.set_active(true).expect("memory");
        let mut memories = HashSet::new();
        let at_once =
            gst::BufferPoolAcquireParams::with_flags(gst::BufferPoolAcquireFlags::DONTWAIT);
        for number in 0..300 {
            let mut buffer = pool.acquire_buffer(Some(&at_once)).expect("a buffer is left");
            memories.insert(buffer.peek_memory(0).as_ptr());
            let with_face = buffer.make_mut();
            with_face.set_pts(ms(40 * number));
            meta::attach(with_face, &face(50.0, 50.0, 0.9), 160, 120);
            assert_eq!(harness.push(buffer), Ok(gst::FlowSuccess::Ok));
            if let Some(number) = number.checked_sub(look_ahead) {
                let buffer = harness.pull().expect("a frame");
                assert_eq!(buffer.pts(), Some(ms(40 * number)));
                assert_eq!(tracking(&meta::faces(&buffer)[0]).age, number);
                let is_copy = !memories.contains(&buffer.peek_memory(0).as_ptr());
                assert_eq!(is_copy, copied, "{caps}, {look_ahead}");
            }
        }
        let warnings = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Warning]));
        assert_eq!(warnings.count(), usize::from(caps != CAPS), "{caps}, {look_ahead}");
        assert!(harness.push_event(gst::event::Eos::new()));
    }
}

#[test]
fn pixels_stay_where_they_are_in_any_memory() {
    for caps in [
        "video/x-raw(memory:Elsewhere),format=DMA_DRM,width=160,height=120",
        "video/x-raw,format=NV12_10LE40,width=160,height=120,framerate=0/1",
        CAPS,
    ] {
        for look_ahead in [0, 2] {
            common::init();
            let mut harness =
                Harness::new_parse(&format!("retinafacetrack look-ahead={look_ahead}"));
            harness.set_src_caps(caps.parse().expect("caps"));
            for number in 0..4 {
                let buffer = frame(number, &[face(50.0, 50.0, 0.9)]);
                let memory = buffer.peek_memory(0).as_ptr();
                assert_eq!(harness.push(buffer), Ok(gst::FlowSuccess::Ok), "{caps}");
                if let Some(number) = number.checked_sub(look_ahead) {
                    let buffer = harness.pull().expect("a frame");
                    assert_eq!((buffer.n_memory(), buffer.offset()), (1, number));
                    if look_ahead == 0 {
                        assert_eq!(buffer.peek_memory(0).as_ptr(), memory);
                    }
                }
            }
        }
    }
}

#[test]
fn look_ahead_keeps_frames_back_and_puts_faces_on_them() {
    let mut harness = harness("look-ahead=3");
    for number in 0..10 {
        let faces = if number >= 5 { vec![face(50.0, 50.0, 0.9)] } else { vec![] };
        push(&mut harness, number, &faces);
        assert_eq!(harness.buffers_in_queue(), (number as u32 + 1).saturating_sub(3));
    }
    assert!(harness.push_event(gst::event::Eos::new()));
    let frames = pull(&mut harness);
    assert_eq!(frames.len(), 10, "the end of the stream is the end of waiting");
    for (number, faces) in frames {
        assert_eq!(faces.len(), usize::from(number >= 2), "{number}");
        for face in &faces {
            let state = if number >= 5 { TrackingState::Detected } else { TrackingState::Held };
            assert_eq!((tracking(face).age, tracking(face).state), (number - 2, state));
        }
    }
}

/// What a pad sees go by: frames by number, other things by name.
fn record(pad: &gst::Pad) -> Arc<Mutex<Vec<String>>> {
    let items = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&items);
    let kinds =
        gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::PUSH;
    pad.add_probe(kinds, move |_, info| {
        let item = match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => {
                let discont = buffer.flags().contains(gst::BufferFlags::DISCONT);
                format!("{}{}", buffer.offset(), if discont { "!" } else { "" })
            }
            Some(gst::PadProbeData::Event(event)) => format!("{:?}", event.type_()),
            _ => return gst::PadProbeReturn::Ok,
        };
        recorded.lock().expect("a list").push(item);
        gst::PadProbeReturn::Ok
    });
    items
}

#[test]
fn frames_events_and_flags_keep_their_order() {
    let mut harness = harness("look-ahead=2");
    let items = record(&harness.element().expect("an element").static_pad("src").expect("a pad"));
    let tag = || gst::event::Tag::new(gst::TagList::new());
    let custom = || gst::event::CustomDownstream::new(gst::Structure::new_empty("marker"));
    for number in 0..9 {
        let mut buffer = frame(number, &[]);
        if number == 4 {
            buffer.make_mut().set_flags(gst::BufferFlags::DISCONT);
        }
        assert_eq!(harness.push(buffer), Ok(gst::FlowSuccess::Ok));
        match number {
            1 => assert!(harness.push_event(tag())),
            2 => assert!(harness.push_event(custom())),
            5 => assert!(harness.push_event(gst::event::Gap::new(ms(240), ms(40)))),
            _ => (),
        }
    }
    assert!(harness.push_event(tag()));
    assert!(harness.push_event(gst::event::Eos::new()));
    let items = items.lock().expect("a list").clone();
    let first = items.iter().position(|item| item.starts_with('0')).expect("a frame");
    // A first frame is a discontinuity, whatever it says.
    let items: Vec<_> = items[first + 1..].iter().map(String::as_str).collect();
    assert_eq!(
        items,
        ["1", "Tag", "2", "CustomDownstream", "3", "4!", "5", "Gap", "6", "7", "8", "Tag", "Eos"]
    );
}

/// Network cameras have a gap wherever a packet was lost.
#[test]
fn a_gap_is_as_long_as_the_frames_in_its_place() {
    let gap = |number: u64, frames: u64| {
        gst::event::Gap::builder(ms(40 * number)).duration(ms(40 * frames)).build()
    };
    let mut harness = harness("look-ahead=3");
    (0..4).for_each(|number| push(&mut harness, number, &[]));
    assert!(harness.push_event(gap(4, 1)));
    push(&mut harness, 5, &[face(50.0, 50.0, 0.9)]);
    let frames = pull(&mut harness);
    let faces: Vec<_> = frames.iter().map(|(number, faces)| (*number, faces.len())).collect();
    assert_eq!(faces, [(0, 0), (1, 0), (2, 1)], "it is on the three frames before");
    // A stream of gaps alone keeps nobody waiting.
    assert!(harness.push_event(gap(6, 2)));
    assert_eq!(harness.buffers_in_queue(), 1);
    assert!(harness.push_event(gst::event::Gap::new(ms(320), None)));
    assert_eq!(pull(&mut harness).len(), 2);
    assert!(harness.push_event(gst::event::Eos::new()));
    assert_eq!(pull(&mut harness), []);
}

#[test]
fn a_flush_forgets_frames_and_faces_but_not_ids() {
    let mut harness = harness("look-ahead=2");
    for number in 0..4 {
        push(&mut harness, number, &[face(50.0, 50.0, 0.9)]);
    }
    assert_eq!(pull(&mut harness).len(), 2);
    assert!(harness.push_event(gst::event::FlushStart::new()));
    assert!(harness.push_event(gst::event::FlushStop::new(true)));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(harness.push_event(gst::event::Segment::new(&segment)));
    push(&mut harness, 10, &[]);
    push(&mut harness, 11, &[face(50.0, 50.0, 0.9)]);
    assert!(harness.push_event(gst::event::Eos::new()));
    let frames = pull(&mut harness);
    let ids: Vec<_> = frames
        .iter()
        .map(|(number, faces)| (*number, faces.iter().map(|face| tracking(face).id).collect()))
        .collect();
    assert_eq!(ids, [(10, vec![2]), (11, vec![2])]);
}

#[test]
fn new_segments_streams_and_sizes_begin_anew() {
    common::init();
    let segment = || {
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        gst::event::Segment::new(&segment)
    };
    let size = |width: u32| {
        let caps = CAPS.replace("width=160", &format!("width={width}"));
        gst::event::Caps::new(&caps.parse().expect("caps"))
    };
    let rate = gst::event::Caps::new(&CAPS.replace("25/1", "50/1").parse().expect("caps"));
    for (event, held) in [(segment(), 0), (size(170), 0), (size(160), 1), (rate, 1)] {
        let mut harness = harness("look-ahead=1");
        push(&mut harness, 0, &[face(50.0, 50.0, 0.9)]);
        assert_eq!(harness.buffers_in_queue(), 0);
        assert!(harness.push_event(event.clone()));
        assert_eq!(harness.buffers_in_queue(), 1, "nothing waits for what comes after {event:?}");
        push(&mut harness, 1, &[]);
        assert!(harness.push_event(gst::event::Eos::new()));
        let frames = pull(&mut harness);
        assert_eq!((frames[0].1.len(), frames[1].1.len()), (1, held), "{event:?}");
    }
}

/// As `videorate drop-only` or a leaky queue loses them.
#[test]
fn frames_that_were_lost_on_the_way_count() {
    for (number, id) in [(31, 1), (32, 2)] {
        let mut harness = harness("");
        for number in [0, 1, number] {
            push(&mut harness, number, &[face(50.0, 50.0, 0.9)]);
        }
        assert_eq!(tracking(&pull(&mut harness)[2].1[0]).id, id);
    }
}

/// As H.264 of network cameras and other files have it: a frame rate that is none, or none.
#[test]
fn faces_are_held_whatever_frame_rate_the_caps_promise() {
    for rate in ["90000/1", "1000/1", "50/1", "25/1", "0/1"] {
        common::init();
        let mut harness = Harness::new_parse("retinafacetrack hold=2");
        harness.set_src_caps(CAPS.replace("25/1", rate).parse().expect("caps"));
        for number in 0..12 {
            let faces = if number % 3 == 0 { vec![face(50.0, 50.0, 0.9)] } else { Vec::new() };
            push(&mut harness, number, &faces);
        }
        for (number, faces) in pull(&mut harness) {
            let ids: Vec<_> = faces.iter().map(|face| tracking(face).id).collect();
            assert_eq!(ids, [1], "frame {number} at {rate}");
        }
    }
}

/// Cameras send fewer frames in the dark than they promise.
#[test]
fn the_latency_is_that_of_the_frames_as_they_come() {
    for (rate, before) in [("25/1", 200), ("0/1", 200), ("90000/1", 0)] {
        common::init();
        let mut harness = Harness::new_parse("retinafacetrack look-ahead=5");
        let bus = gst::Bus::new();
        harness.element().expect("an element").set_bus(Some(&bus));
        harness.set_src_caps(CAPS.replace("25/1", rate).parse().expect("caps"));
        harness.set_upstream_latency(ms(0));
        let asked_again = || bus.pop_filtered(&[gst::MessageType::Latency]).is_some();
        while asked_again() {}
        let latency = |harness: &Harness| harness.query_latency().expect("a latency").mseconds();
        assert_eq!(latency(&harness), before, "{rate}");
        // Every second frame.
        (0..6).for_each(|number| push(&mut harness, 2 * number, &[]));
        assert!(asked_again() && !asked_again(), "once, at {rate}");
        assert_eq!(latency(&harness), 400, "{rate}");
    }
}

#[test]
fn a_face_that_leaves_the_frame_is_not_held_at_its_edge() {
    let mut harness = harness("");
    for number in 0..6 {
        push(&mut harness, number, &[face(100.0 + 11.0 * number as f32, 50.0, 0.9)]);
    }
    (6..12).for_each(|number| push(&mut harness, number, &[]));
    let frames = pull(&mut harness);
    assert_eq!(frames[6].1.len(), 1, "half of it is inside: {:?}", frames[6]);
    assert_eq!(frames[11].1, []);
}

#[test]
fn latency_and_buffers_are_those_of_the_frames_kept_back() {
    for (look_ahead, latency) in [(0, 0), (5, 200)] {
        let mut harness = harness(&format!("look-ahead={look_ahead}"));
        harness.set_upstream_latency(ms(10));
        assert_eq!(harness.query_latency(), Some(ms(10 + latency)));
        let mut query = gst::query::Allocation::new(Some(&CAPS.parse().expect("caps")), true);
        let sink = harness.element().expect("an element").static_pad("sink").expect("a pad");
        assert!(sink.query(&mut query));
        let min = query.allocation_pools().map(|(_, _, min, _)| min).max().unwrap_or(0);
        assert_eq!(min, look_ahead);
    }
}

#[test]
fn frame_rates_beyond_all_measure_are_taken() {
    for rate in ["2147483647/1", "1/2147483647", "0/1"] {
        common::init();
        let mut harness = Harness::new_parse("retinafacetrack look-ahead=250");
        harness.set_src_caps(CAPS.replace("25/1", rate).parse().expect("caps"));
        harness.set_upstream_latency(ms(10));
        for number in [0, 1, 1 << 35] {
            push(&mut harness, number, &[face(50.0, 50.0, 0.9)]);
        }
        assert!(harness.query_latency() >= Some(ms(10)), "{rate}");
        assert!(harness.push_event(gst::event::Eos::new()));
        assert_eq!(pull(&mut harness).len(), 3, "{rate}");
    }
}

#[test]
fn caps_without_a_size_are_an_error() {
    common::init();
    let mut harness = Harness::new("retinafacetrack");
    harness.set_src_caps("video/x-raw,format=BGR".parse().expect("caps"));
    assert!(harness.push(frame(0, &[])).is_err());
}

/// The timestamps and ids of the frames that come to a sink; taken when asked for.
fn watch(pipeline: &gst::Pipeline) -> impl Fn() -> Vec<(Option<gst::ClockTime>, Vec<u64>)> {
    let sink = pipeline.by_name("sink").and_then(|sink| sink.static_pad("sink")).expect("a pad");
    let frames = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&frames);
    sink.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(gst::PadProbeData::Buffer(buffer)) = &info.data {
            let ids = meta::faces(buffer).iter().map(|face| tracking(face).id).collect();
            seen.lock().expect("a list").push((buffer.pts(), ids));
        }
        gst::PadProbeReturn::Ok
    });
    move || std::mem::take(&mut *frames.lock().expect("a list"))
}

#[test]
fn after_a_seek_everything_is_there_with_new_ids() {
    let pipeline = parse(&format!(
        "filesrc location=\"{}\" ! decodebin ! retinafacedetect inference-interval=3 ! \
         retinafacetrack look-ahead=4 ! fakesink name=sink sync=false",
        common::media("carphone_pristine.mp4").display()
    ));
    let frames = watch(&pipeline);
    pipeline.set_state(gst::State::Playing).expect("it plays");
    wait_for_end(&pipeline);
    let whole = frames();
    assert!(whole.len() > 100, "{} frames", whole.len());
    assert!(whole.windows(2).all(|pair| pair[0].0 < pair[1].0), "in their order, each once");
    let most = whole.iter().flat_map(|(_, ids)| ids).max().copied().expect("faces");

    let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT;
    pipeline.seek_simple(flags, gst::ClockTime::ZERO).expect("it seeks");
    wait_for_end(&pipeline);
    let again = frames();
    assert_eq!(again.len(), whole.len());
    let least = again.iter().flat_map(|(_, ids)| ids).min().copied().expect("faces");
    assert!(least > most, "ids are not used again: {least}, {most}");
    pipeline.set_state(gst::State::Null).expect("it stops");
}

#[test]
fn a_pipeline_that_starts_again_gives_the_same() {
    let pipeline = parse(&format!(
        "{} ! videoconvert ! video/x-raw,format=NV12 ! retinafacedetect inference-interval=3 scale=0.5 ! \
         retinafacetrack look-ahead=4 ! fakesink name=sink sync=false",
        common::astronauts(9)
    ));
    let frames = watch(&pipeline);
    for _ in 0..3 {
        pipeline.set_state(gst::State::Playing).expect("it plays");
        wait_for_end(&pipeline);
        let frames = frames();
        assert_eq!(frames.len(), 9);
        assert!(frames.iter().all(|(_, ids)| *ids == [1]), "{frames:?}");
        pipeline.set_state(gst::State::Null).expect("it stops");
    }
}
