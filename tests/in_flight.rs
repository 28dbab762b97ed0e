// SPDX-License-Identifier: MIT OR Apache-2.0

//! The element with several frames in flight.

mod common;

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use gst::prelude::*;
use gst_check::Harness;
use gstretinaface::meta;

fn harness(properties: &str, sample: &gst::Sample) -> Harness {
    common::init();
    let mut harness = Harness::new_parse(&format!("retinafacedetect name=detect {properties}"));
    harness.set_src_caps(sample.caps().expect("caps").to_owned());
    harness
}

/// What a pad sees go by, with the frames' numbers.
#[derive(Debug, PartialEq, Eq)]
enum Item {
    Frame { number: u64, faces: usize, discont: bool },
    Event(gst::EventType),
    Query,
}

fn record(pad: &gst::Pad) -> Arc<Mutex<Vec<Item>>> {
    let items = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&items);
    let kinds = gst::PadProbeType::BUFFER
        | gst::PadProbeType::EVENT_DOWNSTREAM
        | gst::PadProbeType::QUERY_DOWNSTREAM
        | gst::PadProbeType::PUSH;
    pad.add_probe(kinds, move |_, info| {
        let item = match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => Some(Item::Frame {
                number: buffer.offset(),
                faces: meta::faces(buffer).len(),
                discont: buffer.flags().contains(gst::BufferFlags::DISCONT),
            }),
            Some(gst::PadProbeData::Event(event)) => Some(Item::Event(event.type_())),
            Some(gst::PadProbeData::Query(query)) if query.type_() == gst::QueryType::Drain => {
                Some(Item::Query)
            }
            _ => None,
        };
        recorded.lock().expect("a list").extend(item);
        gst::PadProbeReturn::Ok
    });
    items
}

fn numbered(sample: &gst::Sample, number: u64) -> gst::Buffer {
    let mut buffer = sample.buffer_owned().expect("a buffer").copy();
    let buffer_ref = buffer.make_mut();
    buffer_ref.set_offset(number);
    buffer_ref.set_pts(gst::ClockTime::from_mseconds(40 * number));
    // The first frame out of a decoder has it.
    buffer_ref.unset_flags(gst::BufferFlags::DISCONT);
    if number % 5 == 3 {
        buffer_ref.set_flags(gst::BufferFlags::DISCONT);
    }
    buffer
}

/// `sample` without its face.
fn blank(sample: &gst::Sample) -> gst::Sample {
    let size = sample.buffer().expect("a buffer").size();
    let buffer = gst::Buffer::from_slice(vec![128; size]);
    gst::Sample::builder().buffer(&buffer).caps(&sample.caps_owned().expect("caps")).build()
}

#[test]
fn frames_events_and_queries_keep_their_order() {
    let face = common::astronaut("BGR");
    let blank = blank(&face);
    for properties in ["in-flight=0", "in-flight=2", "in-flight=5", "in-flight=8 batch-size=3"] {
        let mut harness = harness(&format!("{properties} scale=0.5"), &face);
        let pad = harness.element().expect("a bin").static_pad("src").expect("a pad");
        let items = record(&pad);
        let mut expected = Vec::new();
        for number in 0..30 {
            let with_face = number % 3 == 0;
            let sample = if with_face { &face } else { &blank };
            assert_eq!(harness.push(numbered(sample, number)), Ok(gst::FlowSuccess::Ok));
            let discont = number % 5 == 3;
            expected.push(Item::Frame { number, faces: usize::from(with_face), discont });
            match number % 7 {
                2 => {
                    let gap = gst::event::Gap::builder(gst::ClockTime::SECOND).build();
                    assert!(harness.push_event(gap));
                    expected.push(Item::Event(gst::EventType::Gap));
                }
                4 => {
                    let structure = gst::Structure::new_empty("marker");
                    let custom = gst::event::CustomDownstream::new(structure);
                    assert!(harness.push_event(custom));
                    expected.push(Item::Event(gst::EventType::CustomDownstream));
                }
                6 => {
                    let sink = harness.element().expect("a bin").static_pad("sink");
                    // Nobody answers it; it is where it passes that counts.
                    sink.expect("a pad").query(&mut gst::query::Drain::new());
                    expected.push(Item::Query);
                }
                _ => (),
            }
        }
        assert!(harness.push_event(gst::event::Eos::new()));
        expected.push(Item::Event(gst::EventType::Eos));
        let items = items.lock().expect("a list");
        let start = items.iter().position(|item| matches!(item, Item::Frame { .. }));
        assert_eq!(items[start.expect("frames")..], expected, "{properties}");
    }
}

/// An application that waits for a frame's faces before it sends the next one gets them.
#[test]
fn a_frame_does_not_wait_for_the_next() {
    let sample = common::astronaut("BGR");
    let mut harness = harness("in-flight=3", &sample);
    for number in 0..4 {
        let out = harness.push_and_pull(numbered(&sample, number)).expect("a frame");
        assert_eq!((out.offset(), meta::faces(&out).len()), (number, 1));
    }
}

#[test]
fn caps_change_between_frames() {
    let large = common::astronaut("BGR");
    let gray = common::astronaut("GRAY8");
    let mut harness = harness("in-flight=2", &large);
    for (number, sample) in [&large, &gray, &large, &gray].into_iter().enumerate() {
        harness.set_src_caps(sample.caps_owned().expect("caps"));
        for frame in 0..3 {
            let number = 3 * number as u64 + frame;
            assert_eq!(harness.push(numbered(sample, number)), Ok(gst::FlowSuccess::Ok));
        }
    }
    for number in 0..12 {
        let out = harness.pull().expect("a frame");
        assert_eq!((out.offset(), meta::faces(&out).len()), (number, 1));
    }
}

#[test]
fn a_flush_forgets_the_frames_in_flight() {
    let sample = common::astronaut("BGR");
    let mut harness = harness("in-flight=4", &sample);
    for number in 0..4 {
        assert_eq!(harness.push(numbered(&sample, number)), Ok(gst::FlowSuccess::Ok));
    }
    assert!(harness.push_event(gst::event::FlushStart::new()));
    assert_eq!(harness.push(numbered(&sample, 5)), Err(gst::FlowError::Flushing));
    assert!(harness.push_event(gst::event::FlushStop::new(true)));
    while harness.try_pull().is_some() {}
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(harness.push_event(gst::event::Segment::new(&segment)));
    let out = harness.push_and_pull(numbered(&sample, 6)).expect("a frame");
    assert_eq!((out.offset(), meta::faces(&out).len()), (6, 1));
}

#[test]
fn a_fault_in_every_frame_is_one_error() {
    for properties in ["in-flight=2", "in-flight=6 batch-size=3"] {
        let sample = common::astronaut("BGR");
        let mut harness = harness(properties, &sample);
        let detect = harness.element().and_downcast::<gst::Bin>().expect("a bin");
        let bus = gst::Bus::new();
        detect.by_name("detect").expect("the element").set_bus(Some(&bus));
        let refused = (1..1000).any(|_| {
            let short = gst::Buffer::from_slice(vec![0; 1000]);
            harness.push(short) == Err(gst::FlowError::Error)
        });
        assert!(refused, "upstream hears of it");
        let errors = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Error]));
        assert_eq!(errors.count(), 1, "{properties}");
    }
}

/// Frames that wait together need not have the same settings.
#[test]
fn settings_change_from_frame_to_frame_of_a_batch() {
    let sample = common::astronaut("BGR");
    let mut harness = harness("in-flight=9 batch-size=4 max-size=0", &sample);
    let detect = harness.element().and_downcast::<gst::Bin>().expect("a bin");
    let detect = detect.by_name("detect").expect("the element");
    for number in 0..60 {
        detect.set_property("scale", [0.5, 1.0][number as usize / 3 % 2]);
        detect.set_property("margin", number as f64 / 60.0);
        detect.set_property("score-threshold", if number % 7 == 0 { 1.0 } else { 0.6 });
        assert_eq!(harness.push(numbered(&sample, number)), Ok(gst::FlowSuccess::Ok));
    }
    for number in 0..60 {
        let frame = harness.pull().expect("a frame");
        let faces = meta::faces(&frame);
        assert_eq!((frame.offset(), faces.len()), (number, usize::from(number % 7 != 0)));
        for face in faces {
            // The face is 95 pixels wide.
            let expected = 95.0 * (1.0 + 2.0 * number as f32 / 60.0);
            let width = face.bounds.width();
            assert!((width - expected).abs() < 0.1 * expected, "{number}: {width}, not {expected}");
        }
    }
}

/// The latency that a playing pipeline ending in the element has, and how many frames come through.
fn latency(source: &str, properties: &str) -> (bool, gst::ClockTime) {
    common::init();
    let pipeline = gst::parse::launch(&format!(
        "{source} ! video/x-raw,width=64,height=64,framerate=10/1 ! \
         retinafacedetect name=detect {properties} ! fakesink name=sink sync=false"
    ))
    .expect("a pipeline")
    .downcast::<gst::Pipeline>()
    .expect("a pipeline");
    pipeline.set_state(gst::State::Playing).expect("it starts");
    let bus = pipeline.bus().expect("a bus");
    let wanted = [gst::MessageType::StreamStart, gst::MessageType::Error];
    let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &wanted);
    assert_eq!(message.expect("it runs").type_(), gst::MessageType::StreamStart);
    let (state, ..) = pipeline.state(gst::ClockTime::from_seconds(60));
    state.expect("it plays");
    let mut query = gst::query::Latency::new();
    let pad = pipeline.by_name("detect").and_then(|e| e.static_pad("src")).expect("a pad");
    while pad.current_caps().is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(pad.query(&mut query));
    let (live, minimum, maximum) = query.result();
    assert!(maximum.is_none_or(|maximum| maximum >= minimum));
    pipeline.set_state(gst::State::Null).expect("it stops");
    (live, minimum)
}

#[test]
fn live_pipelines_hear_of_the_latency() {
    let live = "videotestsrc is-live=true";
    let (_, before) = latency(live, "in-flight=1");
    let (is_live, four) = latency(live, "in-flight=4");
    assert!(is_live);
    assert_eq!(four, before + gst::ClockTime::from_mseconds(400));
    assert_eq!(latency(live, "in-flight=0"), (true, before), "0 is 1 in live pipelines");
    assert!(!latency("videotestsrc", "in-flight=1").0);
}

/// Its frames have no time to add.
#[test]
fn a_variable_frame_rate_adds_no_latency() {
    common::init();
    let mut harness = Harness::new_parse("retinafacedetect in-flight=2");
    harness.set_src_caps(
        "video/x-raw,format=GRAY8,width=8,height=8,framerate=0/1".parse().expect("caps"),
    );
    harness.set_upstream_latency(gst::ClockTime::from_mseconds(7));
    harness.push_and_pull(gst::Buffer::from_slice(vec![0; 64])).expect("a frame");
    assert_eq!(harness.query_latency(), Some(gst::ClockTime::from_mseconds(7)));
}

/// Counts how often the network was loaded for an input of this size, in this process.
fn count_loads(size: &str) -> Arc<AtomicUsize> {
    common::init();
    let loads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&loads);
    let line = format!("Loading the network for {size} pixels");
    gst::log::remove_default_log_function();
    gst::log::set_threshold_for_name("retinafacedetect", gst::DebugLevel::Debug);
    gst::log::add_log_function(move |_, _, _, _, _, _, message| {
        if message.get().is_some_and(|message| message.contains(&line)) {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    loads
}

#[test]
fn a_second_element_loads_nothing() {
    let loads = count_loads("123×77");
    let samples = common::run(
        "videotestsrc num-buffers=5 ! video/x-raw,width=123,height=77 ! tee name=t \
         t. ! queue ! retinafacedetect execution-provider=cpu in-flight=2 ! fakesink \
         t. ! queue ! retinafacedetect execution-provider=cpu threads=1 ! appsink name=sink",
    );
    assert_eq!(samples.expect("it runs").len(), 5);
    assert_eq!(loads.load(Ordering::SeqCst), 1);
}

#[test]
fn going_back_to_a_size_loads_nothing() {
    let loads = count_loads("111×99");
    let size = |width, height| {
        let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::Bgr, width, height);
        info.build().expect("valid").to_caps().expect("caps")
    };
    for in_flight in [1, 3] {
        let before = loads.load(Ordering::SeqCst);
        let mut harness = Harness::new_parse(&format!(
            "retinafacedetect execution-provider=cpu in-flight={in_flight}"
        ));
        for _ in 0..3 {
            for (width, height) in [(111, 99), (60, 60)] {
                harness.set_src_caps(size(width, height));
                let buffer = gst::Buffer::from_slice(vec![0; 336 * 99]);
                harness.push_and_pull(buffer).expect("a frame");
            }
        }
        assert_eq!(loads.load(Ordering::SeqCst) - before, 1);
    }
}

/// Whatever an application does, and whenever, frames stay in order and nothing hangs.
#[test]
fn thousands_of_random_flushes_seeks_renegotiations_and_stops() {
    const ROUNDS: usize = 3000;
    let (done, wait) = mpsc::channel();
    let thread = thread::spawn(move || {
        stress(ROUNDS);
        let _ = done.send(());
    });
    match wait.recv_timeout(Duration::from_secs(600)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        _ => thread.join().expect("no assertion failed"),
    }
}

fn stress(rounds: usize) {
    common::init();
    let pipeline = gst::parse::launch(
        "videotestsrc name=source ! capsfilter name=filter caps=video/x-raw,width=64,height=64 ! \
         retinafacedetect name=detect in-flight=3 scale=0.5 ! fakesink name=sink sync=false",
    )
    .expect("a pipeline")
    .downcast::<gst::Pipeline>()
    .expect("a pipeline");
    let bus = pipeline.bus().expect("a bus");
    let [filter, detect] = ["filter", "detect"].map(|name| pipeline.by_name(name).expect(name));
    // Within a segment, timestamps only grow.
    let pad = detect.static_pad("src").expect("a pad");
    let last = Arc::new(Mutex::new(None));
    let frames = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&frames);
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    pad.add_probe(kinds | gst::PadProbeType::EVENT_FLUSH, move |_, info| {
        let mut last = last.lock().expect("a time");
        match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => {
                counted.fetch_add(1, Ordering::Relaxed);
                assert!(*last < buffer.pts(), "{:?} after {last:?}", buffer.pts());
                *last = buffer.pts();
            }
            Some(gst::PadProbeData::Event(event)) if event.type_() == gst::EventType::Segment => {
                *last = None;
            }
            _ => (),
        }
        gst::PadProbeReturn::Ok
    });

    // Flushes and new caps while the source and the capsfilter negotiate can fail them, whatever
    // element comes after. What fails in this element it posts itself.
    let recover = |round| match bus.pop_filtered(&[gst::MessageType::Error]) {
        None => false,
        Some(message) => {
            let by_source = message.src().is_some_and(|element| element.name() == "source");
            let text = format!("{message:?}");
            assert!(by_source && text.contains("streaming stopped"), "round {round}: {text}");
            pipeline.set_state(gst::State::Ready).expect("it stops");
            true
        }
    };

    // No number is the same twice, and which come does not matter.
    let random = RandomState::new();
    for round in 0..rounds {
        // Whatever happened, it plays again. Not without a stop, as a state change of the pipeline's
        // that meets a flush can be lost (GStreamer 1.22; with a queue in this place, too).
        if round % 50 == 0 {
            let before = frames.load(Ordering::Relaxed);
            pipeline.set_state(gst::State::Ready).expect("it stops");
            let mut stopped = true;
            while frames.load(Ordering::Relaxed) < before + 10 {
                if stopped {
                    pipeline.set_state(gst::State::Playing).expect("it plays");
                }
                thread::sleep(Duration::from_millis(1));
                stopped = recover(round);
            }
        }
        let dice = random.hash_one(round);
        let wait = Duration::from_micros(dice >> 8 & 0x7ff);
        match dice % 16 {
            0..4 => {
                let to = gst::ClockTime::from_mseconds(dice >> 32 & 0xffff);
                let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT;
                // Refused where the source has not started yet.
                let _ = pipeline.seek_simple(flags, to);
            }
            4..8 => {
                let side = [32, 48, 64, 96][(dice >> 32 & 3) as usize];
                let caps = gst_video::VideoCapsBuilder::new().width(side).height(side).build();
                filter.set_property("caps", caps);
            }
            8..11 => {
                pipeline.set_state(gst::State::Paused).expect("it pauses");
            }
            11 if dice >> 32 & 3 == 0 => {
                pipeline.set_state(gst::State::Null).expect("it stops");
                detect.set_property("batch-size", (dice >> 34 & 3) as u32);
            }
            11 => {
                pipeline.set_state(gst::State::Ready).expect("it stops");
            }
            12 => {
                detect.set_property("scale", [0.25, 0.5, 1.0][(dice >> 32) as usize % 3]);
            }
            13 => {
                let mut query = gst::query::Latency::new();
                detect.static_pad("src").expect("a pad").query(&mut query);
            }
            _ => {
                // Fails with the source, if that is failing at this moment; see `recover`.
                if pipeline.set_state(gst::State::Playing).is_err() {
                    thread::sleep(Duration::from_millis(10));
                    recover(round);
                    pipeline.set_state(gst::State::Ready).expect("it stops");
                }
            }
        }
        thread::sleep(wait);
        recover(round);
    }
    pipeline.set_state(gst::State::Null).expect("it stops");
}
