// SPDX-License-Identifier: MIT OR Apache-2.0

//! What becomes of a stream where not all goes well: downstream refuses frames for a moment, frames
//! are not what their caps promise, or come faster than faces are found.

mod common;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use glib::translate::IntoGlib;
use gst::prelude::*;
use gst_check::Harness;
use gstretinaface::meta;

/// Long enough for anything to happen on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const MODES: [u32; 3] = [1, 2, 4];
/// For small frames, so that a test is over soon.
const SMALL: &str = "video/x-raw,format=GRAY8,width=32,height=32,framerate=30/1";

fn parse(description: &str) -> gst::Pipeline {
    common::init();
    let pipeline = gst::parse::launch(description).expect("a pipeline");
    pipeline.downcast().expect("a pipeline")
}

/// A harness around the element, ready for [`small_frame`]s.
fn harness(properties: &str) -> Harness {
    common::init();
    let mut harness = Harness::new_parse(&format!("retinafacedetect {properties}"));
    harness.set_src_caps(SMALL.parse().expect("caps"));
    harness
}

fn small_frame() -> gst::Buffer {
    gst::Buffer::from_slice([128; 32 * 32])
}

/// Counts the frames that `pad` lets through.
fn count(pad: &gst::Pad) -> Arc<AtomicU64> {
    let frames = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&frames);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        gst::PadProbeReturn::Ok
    });
    frames
}

/// Waits for so many frames more.
fn wait_for(frames: &AtomicU64, more: u64, what: &str) {
    let (start, wanted) = (Instant::now(), frames.load(Ordering::SeqCst) + more);
    while frames.load(Ordering::SeqCst) < wanted {
        assert!(start.elapsed() < PATIENCE, "no frames: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Fails where `work` does not come to an end.
fn in_time(work: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let thread = thread::spawn(move || {
        work();
        let _ = done.send(());
    });
    match wait.recv_timeout(PATIENCE) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        _ => thread.join().expect("no assertion failed"),
    }
}

#[test]
fn a_branch_that_is_linked_again_goes_on() {
    for in_flight in MODES {
        let pipeline = parse(&format!(
            "videotestsrc ! {SMALL} ! tee name=t allow-not-linked=true \
             t. ! retinafacedetect name=detect in-flight={in_flight} ! fakesink name=sink async=false"
        ));
        let [detect, sink] = ["detect", "sink"].map(|name| pipeline.by_name(name).expect(name));
        let pad = |element: &gst::Element, name| element.static_pad(name).expect("a pad");
        let arrived = count(&pad(&detect, "sink"));
        let left = count(&pad(&sink, "sink"));
        pipeline.set_state(gst::State::Playing).expect("it plays");
        for _ in 0..3 {
            wait_for(&left, 5, &format!("in-flight={in_flight}"));
            detect.unlink(&sink);
            wait_for(&arrived, 20, "while unlinked");
            detect.link(&sink).expect("they link");
        }
        wait_for(&left, 5, &format!("in-flight={in_flight}, linked again"));
        let error = pipeline.bus().expect("a bus").pop_filtered(&[gst::MessageType::Error]);
        assert!(error.is_none(), "{error:?}");
        pipeline.set_state(gst::State::Null).expect("it stops");
    }
}

/// Whether what a probe answers in the place of the next element is taken. GStreamer 1.14 wants the frame back from
/// a probe that has handled it, which a probe in Rust does not do.
fn probes_may_answer(test: &str) -> bool {
    common::init();
    if gst::version() >= (1, 16, 0, 0) {
        return true;
    }
    eprintln!("SKIPPED: {test}: needs GStreamer 1.16");
    false
}

/// The queue stops at the first frame that is refused, and goes on when it is told to.
#[test]
fn a_queue_before_a_branch_that_is_linked_again_goes_on() {
    if !probes_may_answer("a_queue_before_a_branch_that_is_linked_again_goes_on") {
        return;
    }
    for in_flight in MODES {
        let pipeline = parse(&format!(
            "videotestsrc ! {SMALL} ! tee name=t allow-not-linked=true ! queue name=queue ! \
             retinafacedetect name=detect in-flight={in_flight} ! fakesink name=sink async=false"
        ));
        let [queue, detect, sink] =
            ["queue", "detect", "sink"].map(|name| pipeline.by_name(name).expect(name));
        // Where the source asks anew what to allocate while the queue stops, the queue fails (1.22).
        let pad = queue.static_pad("sink").expect("a pad");
        pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, |_, _| gst::PadProbeReturn::Handled);
        let queue = queue.static_pad("src").expect("a pad");
        let left = count(&sink.static_pad("sink").expect("a pad"));
        pipeline.set_state(gst::State::Playing).expect("it plays");
        for _ in 0..10 {
            wait_for(&left, 5, &format!("in-flight={in_flight}"));
            detect.unlink(&sink);
            let start = Instant::now();
            while queue.task_state() != gst::TaskState::Paused {
                assert!(start.elapsed() < PATIENCE, "the queue has not heard of it");
                thread::sleep(Duration::from_millis(1));
            }
            detect.link(&sink).expect("they link");
        }
        wait_for(&left, 5, &format!("in-flight={in_flight}, linked again"));
        pipeline.set_state(gst::State::Null).expect("it stops");
    }
}

/// Waits for the end of a pipeline, which must be no error, and stops it.
fn ends_well(pipeline: &gst::Pipeline, in_flight: u32) {
    let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
    let bus = pipeline.bus().expect("a bus");
    let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &wanted);
    assert_eq!(end.expect("it ends").type_(), gst::MessageType::Eos, "in-flight={in_flight}");
    pipeline.set_state(gst::State::Null).expect("it stops");
}

#[test]
fn a_branch_that_ends_unlinked_is_no_error() {
    for in_flight in MODES {
        let pipeline = parse(&format!(
            "videotestsrc num-buffers=30 ! {SMALL} ! tee name=t allow-not-linked=true \
             t. ! retinafacedetect in-flight={in_flight} t. ! queue ! fakesink"
        ));
        pipeline.set_state(gst::State::Playing).expect("it plays");
        ends_well(&pipeline, in_flight);
    }
}

#[test]
fn a_single_frame_that_nobody_takes_is_an_error() {
    for in_flight in MODES {
        let pipeline = parse(&format!(
            "videotestsrc num-buffers=1 ! {SMALL} ! retinafacedetect in-flight={in_flight}"
        ));
        pipeline.set_state(gst::State::Playing).expect("it plays");
        let wanted = [gst::MessageType::Error];
        let bus = pipeline.bus().expect("a bus");
        let error = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &wanted);
        assert!(error.is_some(), "in-flight={in_flight}");
        pipeline.set_state(gst::State::Null).expect("it stops");
    }
}

/// Whatever downstream answers for a while, upstream hears of it, and afterwards frames pass.
#[test]
fn frames_pass_as_soon_as_downstream_takes_them() {
    use gst::FlowError::{Eos, Error, Flushing, NotLinked, NotNegotiated};

    if !probes_may_answer("frames_pass_as_soon_as_downstream_takes_them") {
        return;
    }
    for in_flight in MODES {
        for answer in [NotLinked, Eos, Flushing, NotNegotiated, Error] {
            let mut harness = harness(&format!("in-flight={in_flight}"));
            let refusing = Arc::new(AtomicBool::new(false));
            let refuse = Arc::clone(&refusing);
            let pad = harness.sinkpad().expect("a pad");
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                if refuse.load(Ordering::SeqCst) {
                    info.flow_res = Err(answer);
                    return gst::PadProbeReturn::Handled;
                }
                gst::PadProbeReturn::Ok
            });
            for round in 0..3 {
                let what = format!("in-flight={in_flight}, {answer:?}, round {round}");
                harness.push_and_pull(small_frame()).expect("a frame");
                refusing.store(true, Ordering::SeqCst);
                let start = Instant::now();
                while harness.push(small_frame()).is_ok() {
                    assert!(start.elapsed() < PATIENCE, "nobody hears of it: {what}");
                }
                for _ in 0..3 {
                    assert_eq!(harness.push(small_frame()), Err(answer), "{what}");
                }
                refusing.store(false, Ordering::SeqCst);
                assert_eq!(harness.push(small_frame()), Ok(gst::FlowSuccess::Ok), "{what}");
                harness.pull().expect("a frame");
            }
        }
    }
}

#[test]
fn the_end_that_downstream_asks_for_comes() {
    if !probes_may_answer("the_end_that_downstream_asks_for_comes") {
        return;
    }
    for in_flight in MODES {
        let pipeline = parse(&format!(
            "videotestsrc ! {SMALL} ! retinafacedetect in-flight={in_flight} ! fakesink name=sink"
        ));
        let pad = pipeline.by_name("sink").and_then(|sink| sink.static_pad("sink"));
        let frames = AtomicU64::new(0);
        pad.expect("a pad").add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if frames.fetch_add(1, Ordering::SeqCst) < 10 {
                return gst::PadProbeReturn::Ok;
            }
            info.flow_res = Err(gst::FlowError::Eos);
            gst::PadProbeReturn::Handled
        });
        pipeline.set_state(gst::State::Playing).expect("it plays");
        ends_well(&pipeline, in_flight);
    }
}

/// As applications do that replace what comes after.
#[test]
fn the_source_pad_may_be_deactivated_while_frames_come() {
    in_time(|| {
        for in_flight in MODES {
            let harness = harness(&format!("in-flight={in_flight}"));
            let bin = harness.element().and_downcast::<gst::Bin>().expect("a bin");
            let pad = bin.children()[0].static_pad("src").expect("a pad");
            let left = count(&harness.sinkpad().expect("a pad"));
            let (stop, refused) = (AtomicBool::new(false), AtomicU64::new(0));
            let harness = Mutex::new(harness);
            thread::scope(|scope| {
                scope.spawn(|| {
                    while !stop.load(Ordering::SeqCst) {
                        let mut harness = harness.lock().expect("a harness");
                        let pushed = harness.push(small_frame());
                        harness.try_pull();
                        drop(harness);
                        if let Err(err) = pushed {
                            assert_eq!(err, gst::FlowError::Flushing);
                            refused.fetch_add(1, Ordering::SeqCst);
                            // The other thread may want the harness.
                            thread::sleep(Duration::from_millis(1));
                        }
                    }
                });
                for round in 0..20 {
                    let what = format!("in-flight={in_flight}, round {round}");
                    wait_for(&left, 3, &what);
                    pad.set_active(false).expect("it is inactive");
                    let before = left.load(Ordering::SeqCst);
                    wait_for(&refused, 3, &what);
                    // A frame that was on its way may still have arrived.
                    let after = left.load(Ordering::SeqCst);
                    assert!(after <= before + 1, "{what}: {} more", after - before);
                    let mut harness = harness.lock().expect("a harness");
                    pad.set_active(true).expect("it is active");
                    // An inactive pad has no events.
                    harness.push_event(gst::event::StreamStart::new("again"));
                    harness.set_src_caps(SMALL.parse().expect("caps"));
                    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
                    harness.push_event(gst::event::Segment::new(&segment));
                }
                wait_for(&left, 10, "after all");
                stop.store(true, Ordering::SeqCst);
            });
        }
    });
}

/// Makes the frames that pass `pad`, counted from 0, shorter than they should be where `is_bad`.
fn shorten(pad: &gst::Pad, is_bad: impl Fn(u64) -> bool + Send + Sync + 'static) {
    let frames = AtomicU64::new(0);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let number = frames.fetch_add(1, Ordering::SeqCst);
        if let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data
            && is_bad(number)
        {
            buffer.make_mut().set_size(1000);
        }
        gst::PadProbeReturn::Ok
    });
}

fn astronaut(frames: u32, elements: &str) -> gst::Pipeline {
    parse(&format!(
        "{} ! videoconvert name=source ! video/x-raw,format=BGR ! {elements} ! \
         appsink name=sink sync=false",
        common::astronauts(frames)
    ))
}

/// Runs `pipeline` to its end: the frames that come out, and the texts of warnings and errors.
fn run(pipeline: &gst::Pipeline) -> (Vec<gst::Sample>, Vec<String>, Vec<String>) {
    let sink = pipeline.by_name("sink").and_downcast::<gst_app::AppSink>().expect("an appsink");
    pipeline.set_state(gst::State::Playing).expect("it plays");
    let patience = gst::ClockTime::from_seconds(60);
    let samples = std::iter::from_fn(|| sink.try_pull_sample(patience)).collect();
    let (mut warnings, mut errors) = (Vec::new(), Vec::new());
    let bus = pipeline.bus().expect("a bus");
    for message in bus.iter_filtered(&[gst::MessageType::Warning, gst::MessageType::Error]) {
        match message.view() {
            gst::MessageView::Warning(warning) => warnings.push(warning.error().to_string()),
            gst::MessageView::Error(err) => errors.push(err.error().to_string()),
            _ => (),
        }
    }
    (samples, warnings, errors)
}

const BATCHES: [&str; 3] = ["in-flight=1", "in-flight=2", "in-flight=6 batch-size=3"];

#[test]
fn a_bad_frame_passes_without_faces_and_disturbs_no_other() {
    for properties in BATCHES {
        let pipeline = astronaut(9, &format!("retinafacedetect name=detect {properties}"));
        let [source, detect] = ["source", "detect"].map(|name| pipeline.by_name(name).expect(name));
        shorten(&source.static_pad("src").expect("a pad"), |number| number == 1 || number == 4);
        let (samples, warnings, errors) = run(&pipeline);
        assert_eq!(errors, [""; 0], "{properties}");
        let faces = |sample: &gst::Sample| meta::faces(sample.buffer().expect("a buffer")).len();
        let faces: Vec<_> = samples.iter().map(faces).collect();
        assert_eq!(faces, [1, 0, 1, 1, 0, 1, 1, 1, 1], "{properties}");
        assert_eq!(warnings.len(), 1, "{properties}: no second one so soon");
        assert!(warnings[0].contains("1000") && warnings[0].contains("1 so far"), "{warnings:?}");
        let stats: gst::Structure = detect.property("stats");
        assert_eq!(stats.get::<u64>("frames").expect("frames"), 7, "{properties}");
        assert_eq!(stats.get::<u64>("bad-frames").expect("bad-frames"), 2, "{properties}");
        pipeline.set_state(gst::State::Null).expect("it stops");
    }
}

#[test]
fn a_stream_of_bad_frames_is_an_error() {
    for properties in BATCHES {
        for (frames, passed) in [(1, 1), (7, 7), (1000, 99)] {
            let pipeline = astronaut(frames, &format!("retinafacedetect {properties}"));
            let source = pipeline.by_name("source").expect("an element");
            shorten(&source.static_pad("src").expect("a pad"), |_| true);
            let (samples, warnings, errors) = run(&pipeline);
            assert_eq!(samples.len(), passed, "{properties}");
            assert_eq!(warnings.len(), 1, "{properties}: {warnings:?}");
            // The source may add its own.
            assert!(errors[0].contains("no frame that matches"), "{properties}: {errors:?}");
            pipeline.set_state(gst::State::Null).expect("it stops");
        }
    }
}

#[test]
fn the_overlay_passes_bad_frames_as_well() {
    for (bad, fails) in [(1, false), (4, true)] {
        let pipeline = astronaut(4, "retinafacedetect ! identity name=late ! retinafaceoverlay");
        let late = pipeline.by_name("late").expect("an element");
        shorten(&late.static_pad("src").expect("a pad"), move |number| number < bad);
        let (samples, warnings, errors) = run(&pipeline);
        assert_eq!((samples.len(), warnings.len()), (4, 1), "{warnings:?}");
        assert_eq!(!errors.is_empty(), fails, "{errors:?}");
        pipeline.set_state(gst::State::Null).expect("it stops");
    }
}

/// Elements in C can attach what they like.
#[test]
fn a_video_meta_that_breaks_the_rules_is_a_bad_frame() {
    for properties in BATCHES {
        let elements =
            format!("retinafacedetect ! retinafacedetect {properties} ! retinafaceoverlay");
        let pipeline = astronaut(7, &elements);
        let source = pipeline.by_name("source").and_then(|source| source.static_pad("src"));
        let number = AtomicU64::new(0);
        source.expect("a pad").add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data else {
                return gst::PadProbeReturn::Ok;
            };
            let (format, n_planes) = match number.fetch_add(1, Ordering::SeqCst) {
                1 => (gst_video::VideoFormat::Bgr, 5),
                2 => (gst_video::VideoFormat::Bgr, u32::MAX),
                3 => (gst_video::VideoFormat::Bgr, 0),
                4 => (gst_video::VideoFormat::__Unknown(9999), 1),
                _ => return gst::PadProbeReturn::Ok,
            };
            // Not the source's own, which comes again.
            let pixels = buffer.map_readable().expect("readable").to_vec();
            *buffer = gst::Buffer::from_mut_slice(pixels);
            let buffer = buffer.make_mut();
            let flags = gst_video::VideoFrameFlags::empty();
            let plain = gst_video::VideoFormat::Bgr;
            gst_video::VideoMeta::add(buffer, flags, plain, 512, 512).expect("a meta");
            // SAFETY: the buffer is writable and has a meta.
            unsafe {
                let meta = gst_video::ffi::gst_buffer_get_video_meta(buffer.as_mut_ptr());
                (*meta).format = format.into_glib();
                (*meta).n_planes = n_planes;
            }
            gst::PadProbeReturn::Ok
        });
        let (samples, _, errors) = run(&pipeline);
        assert_eq!(errors, [""; 0], "{properties}");
        let faces = |sample: &gst::Sample| meta::faces(sample.buffer().expect("a buffer")).len();
        let faces: Vec<_> = samples.iter().map(faces).collect();
        assert_eq!(faces, [2, 0, 0, 0, 0, 2, 2], "{properties}");
        pipeline.set_state(gst::State::Null).expect("it stops");
    }
}

/// Plays a live source of 200 frames per second into an element that takes longer than that for each:
/// how late the last of `frames` frames comes out, in seconds, and the element's statistics.
fn lag(properties: &str, frames: u64) -> (f64, gst::Structure) {
    let pipeline = parse(&format!(
        "videotestsrc is-live=true num-buffers={frames} ! \
         video/x-raw,format=GRAY8,width=320,height=240,framerate=200/1 ! retinafacedetect \
         name=detect threads=1 scale=3 max-size=0 {properties} ! fakesink name=sink sync=false"
    ));
    let [detect, sink] = ["detect", "sink"].map(|name| pipeline.by_name(name).expect(name));
    let pad = sink.static_pad("sink").expect("a pad");
    let passed = count(&pad);
    let latest = Arc::new(Mutex::new(0.0));
    let seen = Arc::clone(&latest);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let Some(gst::PadProbeData::Buffer(buffer)) = &info.data else { unreachable!() };
        let now = sink.clock().expect("a clock").time() - sink.base_time().expect("a time");
        let lag = now.saturating_sub(buffer.pts().expect("a time"));
        *seen.lock().expect("a lag") = lag.nseconds() as f64 / 1e9;
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing).expect("it plays");
    let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
    let bus = pipeline.bus().expect("a bus");
    let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &wanted);
    assert_eq!(end.expect("it ends").type_(), gst::MessageType::Eos, "{properties}");
    assert_eq!(passed.load(Ordering::SeqCst), frames, "none is dropped");
    let stats = detect.property("stats");
    pipeline.set_state(gst::State::Null).expect("it stops");
    let lag = *latest.lock().expect("a lag");
    (lag, stats)
}

#[test]
fn late_frames_are_skipped_where_the_element_does_not_keep_up() {
    let number = |stats: &gst::Structure, name| stats.get::<u64>(name).expect(name);
    let (behind, stats) = lag("in-flight=1", 20);
    assert_eq!((number(&stats, "frames"), number(&stats, "skipped")), (20, 0));
    let each = stats.get::<f64>("inference-mean-ms").expect("a time") / 1000.0;
    assert!(behind > 5.0 * each, "{behind} s, with {each} s for each frame");

    for in_flight in [1, 2] {
        let (behind, stats) = lag(&format!("in-flight={in_flight} max-lag=20000000"), 400);
        let (detected, skipped) = (number(&stats, "frames"), number(&stats, "skipped"));
        assert_eq!(detected + skipped, 400);
        assert!(detected >= 2 && skipped >= 50, "{detected} detected, {skipped} skipped");
        // The frames in flight, and some more where the machine is busy.
        let slowest = stats.get::<f64>("inference-p99-ms").expect("a time") / 1000.0;
        let most = 0.02 + 2.0 * f64::from(in_flight) * slowest + 0.5;
        assert!(behind < most, "{behind} s, with {slowest} s for each frame");
    }
}
