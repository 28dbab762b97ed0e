// SPDX-License-Identifier: MIT OR Apache-2.0

//! Long campaigns against the elements, run by scripts/stress: each for a time, from a seed. Nothing is
//! compared with expected faces here; what must hold is that frames come out, whole and in order,
//! that nothing panics, blocks or grows.

mod common;
mod damage;

use std::{
    env, fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use damage::{change, damage};
use gst::prelude::*;
use gst_check::Harness;
use gst_video::{VideoCropMeta, VideoFormat, VideoFrameFlags, VideoInfo, VideoMeta};
use gstretinaface::{face::Face, geometry::Rect, meta, onnx::messages::ModelProto};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};
use prost::Message;

/// The time that each campaign has, RETINAFACE_STRESS_SECONDS.
fn budget() -> Duration {
    let seconds = env::var("RETINAFACE_STRESS_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(5))
}

/// Numbers without a pattern, the same from one seed: xorshift, Marsaglia 2003.
struct Random(u64);

impl Random {
    /// From RETINAFACE_STRESS_SEED, for one campaign.
    fn new(campaign: &str) -> Self {
        let seed: u64 =
            env::var("RETINAFACE_STRESS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        eprintln!("{campaign}: seed {seed}");
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number from 0 up to but without `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
}

/// Repeats `round` until the time is over, and prints the line of docs/reliability.md. A round that
/// takes more than a minute blocks, which ends the process.
fn campaign(name: &str, unit: &str, mut round: impl FnMut(&mut Random, u64) -> u64) {
    common::init();
    let mut random = Random::new(name);
    let beat = Arc::new(AtomicU64::new(0));
    let (done, ended) = mpsc::channel::<()>();
    let watched = Arc::clone(&beat);
    let what = name.to_owned();
    let watchdog = thread::spawn(move || {
        let mut last = u64::MAX;
        while ended.recv_timeout(Duration::from_secs(60)) == Err(mpsc::RecvTimeoutError::Timeout) {
            let now = watched.load(Ordering::Relaxed);
            if now == last {
                eprintln!("{what}: round {now} blocks");
                std::process::abort();
            }
            last = now;
        }
    });
    let (start, time) = (Instant::now(), budget());
    let (mut rounds, mut count) = (0, 0);
    while start.elapsed() < time {
        count += round(&mut random, rounds);
        rounds += 1;
        beat.store(rounds, Ordering::Relaxed);
    }
    drop(done);
    watchdog.join().expect("the watchdog ends");
    println!("STRESS: | {name} | {count} {unit} | {} s |", start.elapsed().as_secs());
}

/// Damaged networks in the element: each is refused, or runs.
#[test]
#[ignore = "run by scripts/stress"]
fn networks() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/retinaface_mv1_0.25.onnx");
    let whole = fs::read(path).expect("scripts/setup has fetched the network");
    let network = ModelProto::decode(whole.as_slice()).expect("an ONNX file");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("network.onnx");
    let mut ran = 0;
    campaign("damaged networks", "networks", |random, round| {
        let seed: Vec<u8> = (0..16).map(|_| random.below(256) as u8).collect();
        let mut runner = TestRunner::new_with_rng(
            ProptestConfig::default(),
            TestRng::from_seed(RngAlgorithm::XorShift, &seed),
        );
        let count = 1 + random.below(4);
        let bytes = if round % 3 == 0 {
            let mut bytes = whole.clone();
            for _ in 0..count {
                damage().new_tree(&mut runner).expect("a change").current().apply(&mut bytes);
            }
            bytes
        } else {
            let mut network = network.clone();
            for _ in 0..count {
                // What there is nothing of stays as it is.
                let _ =
                    change().new_tree(&mut runner).expect("a change").current().apply(&mut network);
            }
            network.encode_to_vec()
        };
        fs::write(&path, bytes).expect("a file");
        let size = random.pick(&[(64, 64), (33, 57), (160, 96)]);
        let pipeline = launch(&format!(
            "videotestsrc num-buffers=1 ! video/x-raw,width={},height={} ! retinafacedetect \
             threads=1 model-file={} ! fakesink",
            size.0,
            size.1,
            path.display()
        ));
        let bus = pipeline.bus().expect("a bus");
        let _ = pipeline.set_state(gst::State::Playing);
        let end = [gst::MessageType::Eos, gst::MessageType::Error];
        let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(50), &end);
        ran += u64::from(end.expect("it ends").type_() == gst::MessageType::Eos);
        pipeline.set_state(gst::State::Null).expect("it stops");
        1
    });
    println!("STRESS: | … of them used | {ran} networks | |");
    assert!(ran > 0, "none was left whole enough");
}

const FORMATS: [VideoFormat; 15] = [
    VideoFormat::Bgr,
    VideoFormat::Rgbx,
    VideoFormat::Argb,
    VideoFormat::Gray8,
    VideoFormat::Nv12,
    VideoFormat::I420,
    VideoFormat::Yv12,
    VideoFormat::Yuy2,
    VideoFormat::Uyvy,
    VideoFormat::Y42b,
    VideoFormat::A420,
    VideoFormat::P01010le,
    VideoFormat::I42210le,
    VideoFormat::Gray16Be,
    VideoFormat::Argb64,
];

fn launch(description: &str) -> gst::Pipeline {
    let pipeline = gst::parse::launch(description).expect("a pipeline");
    pipeline.downcast().expect("a pipeline")
}

/// Values for the properties that may change at any time.
fn set_something(detect: &gst::Element, random: &mut Random) {
    match random.below(9) {
        0 => detect.set_property("scale", random.pick(&[0.1, 0.5, 1.0, 2.0])),
        1 => detect.set_property("max-size", random.pick(&[16u32, 64, 320])),
        2 => detect.set_property("score-threshold", random.pick(&[0.0, 0.1, 0.6, 1.0])),
        3 => detect.set_property_from_str("scale-method", random.pick(&["nearest", "bilinear"])),
        4 => detect.set_property("inference-interval", random.pick(&[1u32, 2, 7])),
        5 => detect.set_property_from_str("messages", random.pick(&["never", "every-frame"])),
        6 => detect.set_property("max-detections", random.pick(&[1u32, 750])),
        7 => detect.set_property("largest-only", random.below(2) == 0),
        _ => {
            let orientations = ["identity", "90r", "180", "90l", "horiz", "ur-ll", "auto"];
            detect.set_property_from_str("orientation", random.pick(&orientations));
        }
    }
}

/// Flushes, seeks, caps, states, properties, probes and pads change while frames pass.
#[test]
#[ignore = "run by scripts/stress"]
fn changes() {
    campaign(
        "flush, seek, caps, state, property, probe and pad changes",
        "changes",
        |random, _| {
            let in_flight = random.pick(&[0, 1, 2, 3, 8, 64]);
            let pipeline = launch(&format!(
                "videotestsrc name=source ! capsfilter name=caps ! retinafacedetect name=detect \
             threads=1 max-size=64 in-flight={in_flight} ! retinafaceoverlay ! \
             fakesink name=sink sync=false"
            ));
            let [detect, caps, sink] =
                ["detect", "caps", "sink"].map(|name| pipeline.by_name(name).expect("an element"));
            let bus = pipeline.bus().expect("a bus");
            let changes = 2 + random.below(30);
            pipeline.set_state(gst::State::Playing).expect("it starts");
            for _ in 0..changes {
                match random.below(10) {
                    0 => {
                        pipeline.send_event(gst::event::FlushStart::new());
                        pipeline.send_event(gst::event::FlushStop::new(true));
                    }
                    1 | 2 => {
                        // Without a flush it would wait for a frame that a paused sink holds.
                        let to = gst::ClockTime::from_mseconds(random.below(5000));
                        let _ = pipeline.seek_simple(gst::SeekFlags::FLUSH, to);
                    }
                    3 => {
                        let format = random.pick(&[VideoFormat::Bgr, VideoFormat::Nv12]);
                        let (width, height) = (8 + random.below(200), 8 + random.below(200));
                        let info = VideoInfo::builder(format, width as u32, height as u32);
                        let info = info.build().expect("a format");
                        caps.set_property("caps", info.to_caps().expect("caps"));
                    }
                    4 => {
                        let states = [gst::State::Paused, gst::State::Ready, gst::State::Null];
                        let _ = pipeline.set_state(random.pick(&states));
                        let _ = pipeline.set_state(gst::State::Playing);
                    }
                    5 => {
                        let pad = detect.static_pad(random.pick(&["sink", "src"])).expect("a pad");
                        let id = pad.add_probe(gst::PadProbeType::BLOCK_DOWNSTREAM, |_, _| {
                            gst::PadProbeReturn::Ok
                        });
                        thread::sleep(Duration::from_millis(random.below(3)));
                        if let Some(id) = id {
                            pad.remove_probe(id);
                        }
                    }
                    6 => {
                        // Like a queue's, the task can't be stopped while a paused sink holds its frame.
                        let (_, state, pending) = pipeline.state(gst::ClockTime::from_seconds(10));
                        let playing =
                            state == gst::State::Playing && pending == gst::State::VoidPending;
                        let pad = detect.static_pad("src").expect("a pad");
                        if playing {
                            let _ = pad.set_active(false);
                            let _ = pad.set_active(true);
                        }
                    }
                    7 => {
                        let pad = sink.static_pad("sink").expect("a pad");
                        pad.push_event(gst::event::Reconfigure::new());
                    }
                    _ => set_something(&detect, random),
                }
                thread::sleep(Duration::from_micros(random.below(3000)));
                while let Some(message) = bus.pop() {
                    // Deactivated pads make upstream's task stop with an error of its own; a fault of the
                    // element would have its name.
                    if let gst::MessageView::Error(error) = message.view() {
                        let own = error.src().is_some_and(|source| source.name() == "detect");
                        assert!(!own, "{}", error.error());
                    }
                }
            }
            pipeline.set_state(gst::State::Null).expect("it stops");
            changes
        },
    );
}

/// Memory whose last byte is followed, and whose first is preceded, by a page that nobody may touch.
struct Guarded {
    pages: *mut libc::c_void,
    len: usize,
    size: usize,
    /// Whether the bytes end where the guard begins, or begin where it ends.
    at_end: bool,
}

// SAFETY: it owns its pages.
unsafe impl Send for Guarded {}

impl Guarded {
    const PAGE: usize = 4096;

    fn new(size: usize, at_end: bool) -> Self {
        let inner = size.next_multiple_of(Self::PAGE).max(Self::PAGE);
        let len = inner + 2 * Self::PAGE;
        // SAFETY: new pages, of which the first and the last become inaccessible.
        unsafe {
            let (protection, flags) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let pages = libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0);
            assert_ne!(pages, libc::MAP_FAILED, "out of memory");
            assert_eq!(libc::mprotect(pages, Self::PAGE, libc::PROT_NONE), 0);
            let last = pages.byte_add(len - Self::PAGE);
            assert_eq!(libc::mprotect(last, Self::PAGE, libc::PROT_NONE), 0);
            Self { pages, len, size, at_end }
        }
    }

    fn start(&self) -> *mut u8 {
        let offset = if self.at_end { self.len - Self::PAGE - self.size } else { Self::PAGE };
        // SAFETY: within the pages.
        unsafe { self.pages.byte_add(offset).cast() }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nothing borrows from it any more.
        unsafe { libc::munmap(self.pages, self.len) };
    }
}

impl AsRef<[u8]> for Guarded {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: accessible pages of this length.
        unsafe { std::slice::from_raw_parts(self.start(), self.size) }
    }
}

impl AsMut<[u8]> for Guarded {
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: accessible pages of this length, borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.size) }
    }
}

/// Buffers with any memories, metas, strides and offsets, right ones and wrong ones.
#[test]
#[ignore = "run by scripts/stress"]
fn buffers() {
    campaign("odd buffers between guard pages", "buffers", |random, _| {
        let in_flight = random.pick(&[1, 1, 2, 4]);
        let mut harness = Harness::new_parse(&format!(
            "retinafacedetect name=detect threads=1 max-size=48 score-threshold=0.05 \
             in-flight={in_flight} ! retinafaceoverlay"
        ));
        harness.set_time(gst::ClockTime::ZERO).unwrap_or_default();
        let format = random.pick(&FORMATS);
        let (width, height) = (1 + random.below(97) as u32, 1 + random.below(97) as u32);
        let info = VideoInfo::builder(format, width, height).build().expect("a format");
        harness.set_src_caps(info.to_caps().expect("caps"));
        let count = 20;
        for _ in 0..count {
            let planes = info.n_planes() as usize;
            let extra = random.pick(&[0, 0, 1, 3, 64, 1000]);
            let mut offsets: Vec<usize> = info.offset()[..planes].to_vec();
            let mut strides: Vec<i32> = info.stride()[..planes].to_vec();
            let mut size = info.size();
            if random.below(2) == 0 {
                // Larger strides and gaps, the last row without its padding.
                size = 0;
                let rows = |plane: usize| {
                    (height as usize).div_ceil(1 << info.format_info().h_sub()[plane])
                };
                for plane in 0..planes {
                    strides[plane] += random.below(70) as i32;
                    offsets[plane] = size + random.below(9) as usize;
                    size = offsets[plane] + strides[plane] as usize * rows(plane);
                }
            }
            match random.below(8) {
                0 => size = random.below(size as u64 + 1) as usize,
                1 => strides[0] = random.pick(&[0, -1, i32::MIN, i32::MAX, 1]),
                2 => offsets[planes - 1] = random.pick(&[0, 7, size, usize::MAX, 1 << 40]),
                _ => size += extra,
            }
            let mut buffer = gst::Buffer::new();
            let buffer_ref = buffer.get_mut().expect("ours");
            let memories = 1 + random.below(4) as usize;
            for part in 0..memories {
                let len = size * (part + 1) / memories - size * part / memories;
                if len > 0 {
                    let memory = Guarded::new(len, random.below(3) > 0);
                    buffer_ref.append_memory(gst::Memory::from_mut_slice(memory));
                }
            }
            if random.below(4) > 0 {
                let (meta_width, meta_height) = match random.below(6) {
                    0 => (width + 1 + random.below(9) as u32, height),
                    1 => (width, random.below(u64::from(height) + 9) as u32 + 1),
                    _ => (width, height),
                };
                let _ = VideoMeta::add_full(
                    buffer_ref,
                    VideoFrameFlags::empty(),
                    if random.below(20) == 0 { VideoFormat::Bgr } else { format },
                    meta_width,
                    meta_height,
                    &offsets,
                    &strides,
                );
            }
            if random.below(5) == 0 {
                let mut side = |size: u32| random.below(u64::from(size) + 3) as u32;
                let rect = (side(width), side(height), side(width), side(height));
                VideoCropMeta::add(buffer_ref, rect);
            }
            for _ in 0..random.below(3) {
                let mut number =
                    || random.pick(&[-1e9f32, -5.0, 0.0, 10.5, 40.0, 1e9, f32::NAN, f32::INFINITY]);
                let bounds = Rect::new(number(), number(), number(), number());
                let face =
                    Face { bounds, landmarks: None, confidence: Some(number()), tracking: None };
                meta::attach(buffer_ref, &face, width, height);
            }
            // Errors are for wrong buffers; nothing is read outside of either.
            if harness.push(buffer).is_err() {
                break;
            }
        }
        drop(harness);
        count
    });
}

/// Every frame comes out, once, in order.
#[test]
#[ignore = "run by scripts/stress"]
fn numbered_frames() {
    campaign("numbered frames, in-flight 1 to 64", "frames", |random, _| {
        let in_flight = 1 + random.below(64);
        let batch = random.pick(&[0, 1, 3, 64]);
        let frames = 1 + random.below(300);
        let interval = random.pick(&[1, 1, 3]);
        let pipeline = launch(&format!(
            "videotestsrc num-buffers={frames} ! video/x-raw,format=BGR,width=32,height=32 ! \
             retinafacedetect threads=1 in-flight={in_flight} batch-size={batch} \
             inference-interval={interval} ! fakesink name=sink sync=false"
        ));
        let sink = pipeline.by_name("sink").expect("the sink");
        let (sender, numbers) = mpsc::channel();
        sink.static_pad("sink").expect("a pad").add_probe(
            gst::PadProbeType::BUFFER,
            move |_, info| {
                if let Some(buffer) = info.buffer() {
                    // The receiver lives as long as the pipeline.
                    let _ = sender.send(buffer.offset());
                }
                gst::PadProbeReturn::Ok
            },
        );
        let bus = pipeline.bus().expect("a bus");
        pipeline.set_state(gst::State::Playing).expect("it starts");
        let end = [gst::MessageType::Eos, gst::MessageType::Error];
        let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(50), &end);
        assert_eq!(end.expect("it ends").type_(), gst::MessageType::Eos);
        pipeline.set_state(gst::State::Null).expect("it stops");
        assert!(numbers.try_iter().eq(0..frames), "in-flight={in_flight} batch-size={batch}");
        frames
    });
}

/// One long stream after the other; memory may grow at first, and not after that.
#[test]
#[ignore = "run by scripts/stress"]
fn flat_memory() {
    let mut after_warm_up = None;
    campaign("frames with flat memory", "frames", |_, round| {
        let frames = 10_000;
        let pipeline = launch(&format!(
            "videotestsrc num-buffers={frames} pattern=ball ! \
             video/x-raw,format=NV12,width=64,height=48 ! retinafacedetect threads=1 in-flight=2 \
             score-threshold=0.02 messages=every-frame ! retinafaceoverlay ! fakesink sync=false"
        ));
        let bus = pipeline.bus().expect("a bus");
        pipeline.set_state(gst::State::Playing).expect("it starts");
        loop {
            let message = bus.timed_pop(gst::ClockTime::from_seconds(50)).expect("it goes on");
            match message.type_() {
                gst::MessageType::Eos => break,
                gst::MessageType::Error => panic!("{message:?}"),
                _ => (),
            }
        }
        pipeline.set_state(gst::State::Null).expect("it stops");
        if round == 1 {
            after_warm_up = Some(common::resident());
        }
        frames
    });
    let before = after_warm_up.expect("time for two streams: raise RETINAFACE_STRESS_SECONDS");
    let grown = common::resident().saturating_sub(before);
    println!(
        "STRESS: | … resident memory at the end, after the second 10,000 frames | {grown} KiB more | |"
    );
    assert!(grown < 8 * 1024, "{grown} KiB more");
}

/// Frames of one size after the other, each of which is a network of its own; memory may grow at first.
#[test]
#[ignore = "run by scripts/stress"]
fn flat_memory_of_sizes() {
    common::init();
    let mut warm = None;
    let pipeline = launch(
        "appsrc name=source format=time ! retinafacedetect threads=1 score-threshold=0.02 ! \
         retinafaceoverlay ! appsink name=sink sync=false",
    );
    let source: gst_app::AppSrc = pipeline.by_name("source").and_downcast().expect("a source");
    let sink: gst_app::AppSink = pipeline.by_name("sink").and_downcast().expect("a sink");
    pipeline.set_state(gst::State::Playing).expect("it starts");
    campaign("frames of changing sizes with flat memory", "frames", |random, round| {
        let (width, height) = (1 + random.below(160), 1 + random.below(160));
        let info = VideoInfo::builder(VideoFormat::Bgr, width as u32, height as u32);
        let info = info.build().expect("a format");
        let caps = info.to_caps().expect("caps");
        let frames = 1 + random.below(20);
        for _ in 0..frames {
            let data: Vec<u8> = (0..info.size()).map(|_| random.below(256) as u8).collect();
            let buffer = gst::Buffer::from_mut_slice(data);
            let sample = gst::Sample::builder().caps(&caps).buffer(&buffer).build();
            source.push_sample(&sample).expect("it is taken");
            let sample = sink.pull_sample().expect("a frame");
            assert_eq!(sample.buffer().map(|buffer| buffer.size()), Some(info.size()));
        }
        if round == 1000 {
            warm = Some(common::resident());
        }
        frames
    });
    pipeline.set_state(gst::State::Null).expect("it stops");
    let warm = warm.expect("time for 1000 sizes: raise RETINAFACE_STRESS_SECONDS");
    let grown = common::resident().saturating_sub(warm);
    println!(
        "STRESS: | … resident memory at the end, after the first 1000 sizes | {grown} KiB more | |"
    );
    assert!(grown < 8 * 1024, "{grown} KiB more");
}

#[test]
#[ignore = "run by scripts/stress"]
fn creations() {
    campaign("elements created, started and dropped", "creations", |random, _| {
        let states = [gst::State::Null, gst::State::Ready, gst::State::Paused];
        for factory in ["retinafacedetect", "retinafaceoverlay"] {
            let element = gst::ElementFactory::make(factory).build().expect("an element");
            element.set_state(random.pick(&states)).expect("it starts");
            element.set_state(gst::State::Null).expect("it stops");
        }
        2
    });
}
