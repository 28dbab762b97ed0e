// SPDX-License-Identifier: MIT OR Apache-2.0

//! Frames a second and latency of whole pipelines, for scripts/bench, which reads the line of JSON
//! that each configuration gives.
//!
//!     cargo bench --bench pipeline -- FRAMES WIDTH HEIGHT SECONDS MODEL [PROPERTIES]
//!
//! FRAMES is a file of raw BGR frames, WIDTH×HEIGHT, held in memory and sent again and again. With
//! PROPERTIES, of retinafacedetect, that alone is measured, with one frame in flight a core.

use std::{
    env, fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use gst::prelude::*;
use gstretinaface::{
    inference::{Loader, Provider, Request, SessionEngine},
    model::{InputSpec, Known, Model},
    orientation::Orientation,
    preprocess::{InputSizes, ScaleMethod},
    retinaface::detector::Engine,
};
use serde_json::json;

const SCALES: [f64; 4] = [0.1, 0.4, 1.0, 2.0];
const STRIDES: [(&str, &[u32]); 2] = [("16+32", &[16, 32]), ("8+16+32", &[8, 16, 32])];

struct Clip {
    frames: Vec<gst::Buffer>,
    caps: gst::Caps,
    size: (u32, u32),
    time: Duration,
}

/// Frames a second of `element`, and its statistics where it has any.
fn run(clip: &Clip, element: &str) -> (f64, Option<gst::Structure>) {
    let pipeline = gst::parse::launch(&format!(
        "appsrc name=source format=time ! {element} ! \
         fakesink name=sink sync=false enable-last-sample=false"
    ))
    .expect("a pipeline")
    .downcast::<gst::Pipeline>()
    .expect("a pipeline");
    let bus = pipeline.bus().expect("a bus");
    let source = pipeline.by_name("source").and_downcast::<gst_app::AppSrc>().expect("appsrc");
    source.set_caps(Some(&clip.caps));
    // Frames come from the streaming thread, as those of a decoder do.
    let pushed = Arc::new(AtomicU64::new(0));
    let ended = Arc::new(AtomicBool::new(false));
    let (count, end, frames) = (Arc::clone(&pushed), Arc::clone(&ended), clip.frames.clone());
    let need_data = move |source: &gst_app::AppSrc, _| {
        // Refused where the pipeline stops, which the bus tells.
        let _ = if end.load(Ordering::Relaxed) {
            source.end_of_stream()
        } else {
            let number = count.fetch_add(1, Ordering::Relaxed) as usize;
            source.push_buffer(frames[number % frames.len()].clone())
        };
    };
    source.set_callbacks(gst_app::AppSrcCallbacks::builder().need_data(need_data).build());
    pipeline.set_state(gst::State::Playing).expect("it starts");
    let wait = |time| {
        let (start, before) = (Instant::now(), pushed.load(Ordering::Relaxed));
        thread::sleep(time);
        // A source that has stopped does not say so.
        let error = bus.pop_filtered(&[gst::MessageType::Error]);
        assert!(error.is_none(), "{error:?}");
        (pushed.load(Ordering::Relaxed) - before) as f64 / start.elapsed().as_secs_f64()
    };
    wait(Duration::from_millis(300));
    // Both times the frames that wait are as many.
    let rate = wait(clip.time);
    ended.store(true, Ordering::Relaxed);
    let end = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = bus.timed_pop_filtered(gst::ClockTime::NONE, &end).expect("it ends");
    assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
    let stats = pipeline.by_name("detect").map(|detect| detect.property("stats"));
    pipeline.set_state(gst::State::Null).expect("it stops");
    (rate, stats)
}

/// Frames a second and latency of the element with these properties, added to what `row` says.
fn detect(clip: &Clip, properties: &str, mut row: serde_json::Value) -> serde_json::Value {
    let (fps, stats) = run(clip, &format!("retinafacedetect name=detect max-size=0 {properties}"));
    let stats = stats.expect("statistics");
    let time = |name: &str| stats.get::<f64>(name).expect("a time");
    row["fps"] = fps.into();
    row["p50"] = time("latency-p50-ms").into();
    row["p99"] = time("latency-p99-ms").into();
    row
}

/// What runs the rewritten network on a CPU, as a row names its sessions.
const SESSIONS: [(&str, Provider); 2] =
    [("native session", Provider::Native), ("session", Provider::Cpu)];

/// Median milliseconds of a bare session such as the element runs.
fn bare(
    model: &Arc<Model>,
    provider: Provider,
    size: (u32, u32),
    strides: &[u32],
    threads: usize,
    time: Duration,
) -> f64 {
    let loader = Loader::new(|_, _| (), Arc::clone(model), Box::new(|_| ()));
    let config = Request { threads, ..Request::default() }.resolve(provider);
    let config = config.expect("the default precision");
    let session = loader.specialised(&InputSpec::new(size, strides), &config);
    let mut engine = SessionEngine::new(Arc::new(session.expect("it loads"))).expect("it runs");
    let start = Instant::now();
    let mut times = Vec::new();
    while start.elapsed() < time || times.len() < 5 {
        let start = Instant::now();
        engine.run().expect("it runs");
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

fn main() {
    let arguments: Vec<_> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let [frames, width, height, seconds, model, properties @ ..] = arguments.as_slice() else {
        println!("scripts/bench runs this: FRAMES WIDTH HEIGHT SECONDS MODEL [PROPERTIES]");
        return;
    };
    gst::init().expect("GStreamer");
    gstretinaface::plugin_register_static().expect("the plugin registers");
    let size: (u32, u32) = (width.parse().expect("a width"), height.parse().expect("a height"));
    let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::Bgr, size.0, size.1);
    let clip = Clip {
        frames: fs::read(frames)
            .expect("the frames")
            .chunks_exact((3 * size.0 * size.1) as usize)
            .map(|frame| gst::Buffer::from_slice(frame.to_vec()))
            .collect(),
        caps: info.build().expect("valid").to_caps().expect("caps"),
        size,
        time: Duration::from_secs_f64(seconds.parse().expect("seconds")),
    };
    let model = Model::shared(&fs::read(model).expect("the network"), &Known::default())
        .expect("a RetinaFace network");
    let cores = thread::available_parallelism().map_or(1, usize::from);

    let line = |row: serde_json::Value| println!("{row}");
    if let [properties] = properties {
        for (scale, (name, _)) in [0.4, 1.0].into_iter().flat_map(|s| STRIDES.map(|n| (s, n))) {
            let row = json!({
                "what": "provider", "scale": scale, "strides": name, "properties": properties,
            });
            let properties = format!(
                "scale={scale} strides={name} threads=1 in-flight={cores} scale-method=nearest \
                 {properties}"
            );
            line(detect(&clip, &properties, row));
        }
        return;
    }
    for scale in SCALES {
        let input = InputSizes::ANY
            .place(clip.size, Orientation::Identity, scale, 0, ScaleMethod::Bilinear)
            .input;
        for (name, strides) in STRIDES {
            let sessions = |threads: usize| {
                for (what, provider) in SESSIONS {
                    let ms = bare(&model, provider, input, strides, threads, clip.time / 2);
                    line(
                        json!({ "what": what, "scale": scale, "strides": name, "threads": threads, "ms": ms }),
                    );
                }
            };
            sessions(1);
            let mut configurations = vec![(1, 1, "nearest"), (cores, 1, "nearest")];
            if scale == 1.0 {
                sessions(cores);
                configurations.push((1, cores, "nearest"));
            }
            if scale == 0.4 {
                configurations.push((cores, 1, "bilinear"));
            }
            for (in_flight, threads, method) in configurations {
                let row = json!({
                    "what": "retinafacedetect", "scale": scale, "strides": name,
                    "in_flight": in_flight, "threads": threads, "method": method,
                });
                let properties = format!(
                    "scale={scale} strides={name} in-flight={in_flight} threads={threads} \
                     scale-method={method}"
                );
                line(detect(&clip, &properties, row));
            }
        }
    }
    // Without its cascade it passes frames as they are.
    let cascade = gst::ElementFactory::make("facedetect").build().ok();
    let cascade = cascade.and_then(|facedetect| facedetect.property::<Option<String>>("profile"));
    if cascade.is_some_and(|file| Path::new(&file).is_file()) {
        let (fps, _) = run(&clip, "videoconvert ! facedetect display=false");
        line(json!({ "what": "facedetect", "scale": 1.0, "fps": fps }));
    }
}
