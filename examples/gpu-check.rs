// SPDX-License-Identifier: MIT OR Apache-2.0

//! Compares native kernels and each execution provider of the installed ONNX Runtime with its CPU, and
//! measures them; run by scripts/gpu-check.
//!
//!     gpu-check [--seconds S] PICTURE...
//!
//! The element is driven by hand, so that nothing of GStreamer but its libraries is needed.

use std::{
    env,
    error::Error,
    process::ExitCode,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use gst::prelude::*;
use gstretinaface::{face::Face, meta};
use image::imageops::FilterType;

const SIZE: (u32, u32) = (640, 480);
const SCALES: [f64; 3] = [0.4, 1.0, 2.0];
const BATCHES: [u32; 4] = [1, 4, 8, 16];
/// What is compared with the CPU: execution-provider, precision, lowest IoU and largest difference of
/// scores to pass.
const PROVIDERS: [(&str, &str, f32, f32); 7] = [
    ("native", "auto", 0.98, 0.02),
    ("openvino", "auto", 0.98, 0.02),
    ("openvino", "bf16", 0.7, 0.2),
    ("cuda", "fp32", 0.98, 0.02),
    ("cuda", "tf32", 0.9, 0.02),
    ("tensorrt", "fp32", 0.98, 0.02),
    ("tensorrt", "auto", 0.9, 0.05),
];
/// Those that run on a GPU.
const ON_GPU: [&str; 2] = ["cuda", "tensorrt"];

/// The element, linked between two pads.
struct Detector {
    element: gst::Element,
    bus: gst::Bus,
    source: gst::Pad,
    /// Kept alive here, as nobody else does.
    _sink: gst::Pad,
}

impl Detector {
    /// Frames that come out go to `output`.
    fn new(
        properties: &[(&str, String)],
        output: impl Fn(gst::Buffer) + Send + Sync + 'static,
    ) -> Result<Self, Box<dyn Error>> {
        let mut builder = gst::ElementFactory::make("retinafacedetect").property("max-size", 0u32);
        for (name, value) in properties {
            builder = builder.property_from_str(name, value);
        }
        let element = builder.build()?;
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));

        let source = gst::Pad::builder(gst::PadDirection::Src).build();
        let sink = gst::Pad::builder(gst::PadDirection::Sink);
        let sink = sink.chain_function(move |_, _, buffer| {
            output(buffer);
            Ok(gst::FlowSuccess::Ok)
        });
        let sink = sink.event_function(|_, _, _| true).build();
        let pad = |name| element.static_pad(name).ok_or("no pad");
        source.link(&pad("sink")?)?;
        pad("src")?.link(&sink)?;
        for pad in [&source, &sink] {
            pad.set_active(true)?;
        }
        let detector = Self { element, bus, source, _sink: sink };
        if let Err(err) = detector.element.set_state(gst::State::Playing) {
            return Err(detector.progress().unwrap_or_else(|| err.to_string()).into());
        }
        let caps = gst_video::VideoInfo::builder(gst_video::VideoFormat::Bgr, SIZE.0, SIZE.1);
        let caps = caps.fps(gst::Fraction::new(30, 1)).build()?.to_caps()?;
        detector.source.push_event(gst::event::StreamStart::new("gpu-check"));
        detector.source.push_event(gst::event::Caps::new(&caps));
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        detector.source.push_event(gst::event::Segment::new(&segment));
        match detector.progress() {
            Some(err) => Err(err.into()),
            None => Ok(detector),
        }
    }

    /// Prints what the bus has; returns an error from it.
    fn progress(&self) -> Option<String> {
        let mut error = None;
        while let Some(message) = self.bus.pop() {
            match message.view() {
                gst::MessageView::Progress(progress) => eprintln!("  {}", progress.get().2),
                gst::MessageView::Warning(warning) => eprintln!("  {}", warning.error()),
                gst::MessageView::Error(err) => {
                    error.get_or_insert(err.error().to_string());
                }
                _ => (),
            }
        }
        error
    }

    fn push(&self, frame: &gst::Buffer) -> Result<(), Box<dyn Error>> {
        match self.source.push(frame.clone()) {
            Ok(_) => Ok(()),
            Err(err) => Err(self.progress().unwrap_or_else(|| err.to_string()).into()),
        }
    }

    /// Waits for the frames in flight.
    fn drain(&self) -> Result<(), Box<dyn Error>> {
        self.source.push_event(gst::event::Eos::new());
        self.progress().map_or(Ok(()), |err| Err(err.into()))
    }
}

impl Drop for Detector {
    fn drop(&mut self) {
        // Going to NULL does not fail.
        let _ = self.element.set_state(gst::State::Null);
    }
}

fn properties(provider: &str, precision: &str, scale: f64) -> Vec<(&'static str, String)> {
    vec![
        ("execution-provider", provider.to_owned()),
        ("precision", precision.to_owned()),
        ("scale", scale.to_string()),
    ]
}

/// The faces in each of the pictures.
fn faces(
    provider: &str,
    precision: &str,
    pictures: &[gst::Buffer],
) -> Result<Vec<Vec<Face>>, Box<dyn Error>> {
    let (sender, found) = mpsc::channel();
    let output = move |frame: gst::Buffer| {
        // Nobody receives after a picture before it has failed.
        let _ = sender.send(meta::faces(&frame));
    };
    let detector = Detector::new(&properties(provider, precision, 1.0), output)?;
    for picture in pictures {
        detector.push(picture)?;
    }
    detector.drain()?;
    Ok(found.try_iter().collect())
}

/// The lowest IoU and the largest difference of scores between faces of which one list or the other
/// is sure.
fn compare(found: &[Face], expected: &[Face]) -> (f32, f32) {
    const THRESHOLD: f32 = 0.7;
    let (mut lowest, mut largest) = (1.0f32, 0.0f32);
    for (these, those) in [(found, expected), (expected, found)] {
        for face in these.iter().filter(|face| face.confidence > Some(THRESHOLD)) {
            let iou = |other: &&Face| other.bounds.iou(&face.bounds);
            let best = those.iter().max_by(|a, b| iou(a).total_cmp(&iou(b)));
            lowest = lowest.min(best.as_ref().map_or(0.0, iou));
            let score = |face: &Face| face.confidence.unwrap_or_default();
            let difference = best.map_or(1.0, |best| (score(best) - score(face)).abs());
            largest = largest.max(difference);
        }
    }
    (lowest, largest)
}

/// What was measured of one configuration.
struct Measured {
    /// Seconds until it is ready for frames.
    start: f64,
    /// Frames a second.
    rate: f64,
    /// Milliseconds a frame: median, 99th percentile.
    latency: (f64, f64),
}

fn measure(
    properties: &[(&str, String)],
    pictures: &[gst::Buffer],
    time: Duration,
) -> Result<Measured, Box<dyn Error>> {
    let start = Instant::now();
    let detector = Detector::new(properties, drop)?;
    let start = start.elapsed().as_secs_f64();
    let mut frames = pictures.iter().cycle();
    let mut push = |time| -> Result<_, Box<dyn Error>> {
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed() < time {
            detector.push(frames.next().ok_or("no pictures")?)?;
            count += 1;
        }
        Ok(f64::from(count) / start.elapsed().as_secs_f64())
    };
    push(time / 4)?;
    // Before and after, as many frames are in flight.
    let rate = push(time)?;
    detector.drain()?;
    let stats = detector.element.property::<gst::Structure>("stats");
    let latency = (stats.get("latency-p50-ms")?, stats.get("latency-p99-ms")?);
    Ok(Measured { start, rate, latency })
}

/// A picture as a BGR frame of [`SIZE`], with nothing cut off.
fn frame(path: &str) -> Result<gst::Buffer, Box<dyn Error>> {
    let picture = image::open(path).map_err(|err| format!("{path}: {err}"))?;
    let picture = picture.resize(SIZE.0, SIZE.1, FilterType::Triangle).to_rgb8();
    let mut whole = image::RgbImage::new(SIZE.0, SIZE.1);
    image::imageops::replace(&mut whole, &picture, 0, 0);
    let mut bytes = whole.into_raw();
    bytes.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| pixel.reverse());
    Ok(gst::Buffer::from_slice(bytes))
}

/// Fails where a provider gives other faces than the CPU, or no GPU works.
fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let (seconds, paths) = match arguments {
        [option, seconds, paths @ ..] if option == "--seconds" => (seconds.parse()?, paths),
        paths => (2.0, paths),
    };
    if paths.is_empty() {
        return Err("no pictures given; usage: gpu-check [--seconds S] PICTURE...".into());
    }
    gst::init()?;
    gstretinaface::plugin_register_static()?;
    let pictures = paths.iter().map(|path| frame(path)).collect::<Result<Vec<_>, _>>()?;

    let expected = faces("cpu", "auto", &pictures)?;
    let count: usize = expected.iter().map(Vec::len).sum();
    println!("{} pictures, {count} faces detected with CPU\n", pictures.len());
    println!("| execution-provider | precision | lowest IoU | largest score difference | |");
    println!("|---|---|---|---|---|");
    let (mut sound, mut working) = (true, vec![("cpu", "auto")]);
    for (provider, precision, iou, score) in PROVIDERS {
        let found = match faces(provider, precision, &pictures) {
            Ok(found) => found,
            Err(err) => {
                println!("| {provider} | {precision} | | | {err} |");
                continue;
            }
        };
        let differences =
            found.iter().zip(&expected).map(|(found, expected)| compare(found, expected));
        let (lowest, largest) = differences
            .fold((1.0f32, 0.0f32), |(lowest, largest), (iou, score)| {
                (lowest.min(iou), largest.max(score))
            });
        let right = found.len() == expected.len() && lowest >= iou && largest <= score;
        let verdict = if right { "as the CPU" } else { "**wrong**" };
        println!("| {provider} | {precision} | {lowest:.4} | {largest:.4} | {verdict} |");
        sound &= right;
        if right {
            working.push((provider, precision));
        }
    }

    let gpu_works = working.iter().any(|(provider, _)| ON_GPU.contains(provider));
    let (width, height) = SIZE;
    println!("\n{width}×{height} BGR frames, all strides. Latency: one frame in flight.\n");
    println!(
        "| execution-provider | precision | scale | batch-size | in-flight | cuda-graphs | \
         start, s | frames/s | ms a frame, p50 / p99 |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let time = Duration::from_secs_f64(seconds);
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    for (provider, precision) in working {
        let gpu = ON_GPU.contains(&provider);
        // Frames in one run and in flight.
        let loads: Vec<(u32, u32)> = if gpu {
            [(1, 1)].into_iter().chain(BATCHES.map(|batch| (batch, 4 * batch))).collect()
        } else {
            vec![(1, 1), (1, cores)]
        };
        let graphs: &[bool] = if gpu { &[true, false] } else { &[false] };
        for (scale, graphs) in SCALES.into_iter().flat_map(|s| graphs.iter().map(move |g| (s, *g)))
        {
            for &(batch, in_flight) in &loads {
                let mut properties = properties(provider, precision, scale);
                properties.extend([
                    ("batch-size", batch.to_string()),
                    ("in-flight", in_flight.to_string()),
                    ("cuda-graphs", graphs.to_string()),
                ]);
                let Measured { start, rate, latency: (p50, p99) } =
                    measure(&properties, &pictures, time)?;
                let graphs = if graphs { "yes" } else { "no" };
                println!(
                    "| {provider} | {precision} | {scale} | {batch} | {in_flight} | {graphs} | {start:.2} | \
                     {rate:.0} | {p50:.2} / {p99:.2} |"
                );
            }
        }
    }
    if !sound {
        return Err("a provider detects other faces than the CPU".into());
    }
    if !gpu_works {
        return Err("neither CUDA nor TensorRT works here; the first table says why".into());
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("gpu-check: {err}");
            ExitCode::FAILURE
        }
    }
}
