// SPDX-License-Identifier: MIT OR Apache-2.0

//! Measures which sizes of faces settings find, and what they cost:
//!
//!     cargo run --release --example range
//!
//! Faces are those of the pictures that scripts/setup fetches and, where RETINAFACE_SHARED names a
//! folder with pictures and what is in them, of these. Each is cut out with what is around it and pasted
//! into a gray frame, once for each size. Prints the table of docs/performance.md: how many of a hundred
//! faces are found, each as one and with nothing else in the frame.

use std::{env, fs, path::Path};

use gst::prelude::*;
use gstretinaface::{geometry::Rect, meta};
use image::{RgbImage, imageops};

type Error = Box<dyn std::error::Error>;

const FRAME: (u32, u32) = (3840, 2160);

/// Heights of faces in pixels of the frame.
const SIZES: [u32; 12] = [12, 16, 24, 32, 48, 64, 96, 160, 256, 512, 1024, 2000];

const SETTINGS: [&str; 6] = [
    "",
    "pyramid=true",
    "max-size=0",
    "max-size=0 pyramid=true",
    "tiles=auto",
    "tiles=auto max-size=1280",
];

/// Faces with less height than this in their pictures are left out.
const LEAST: f32 = 64.0;

/// A face's height, as a part of the height of what is cut out with it.
const FILL: f32 = 0.6;

/// A face with what is around it, and where it is in there.
struct Face {
    picture: RgbImage,
    bounds: Rect,
}

/// The detector in a pipeline that stays.
struct Detector {
    pipeline: gst::Pipeline,
    element: gst::Element,
    source: gst_app::AppSrc,
    sink: gst_app::AppSink,
}

impl Detector {
    fn new(properties: &str) -> Result<Self, Error> {
        let pipeline = gst::parse::launch(&format!(
            "appsrc name=source format=time ! retinafacedetect name=detect threads=1 {properties} ! \
             appsink name=sink sync=false"
        ))?;
        let pipeline = pipeline.downcast::<gst::Pipeline>().map_err(|_| "no pipeline")?;
        let element = pipeline.by_name("detect").ok_or("no element")?;
        let source = pipeline.by_name("source").and_downcast().ok_or("no source")?;
        let sink = pipeline.by_name("sink").and_downcast().ok_or("no sink")?;
        pipeline.set_state(gst::State::Playing)?;
        Ok(Self { pipeline, element, source, sink })
    }

    fn faces(&self, frame: &RgbImage) -> Result<Vec<gstretinaface::face::Face>, Error> {
        let (width, height) = frame.dimensions();
        let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, width, height);
        let info = info.build()?;
        let stride = info.stride()[0] as usize;
        let mut data = vec![0; info.size()];
        let row = 3 * width as usize;
        for (to, from) in data.chunks_mut(stride).zip(frame.as_raw().chunks(row)) {
            to[..row].copy_from_slice(from);
        }
        let buffer = gst::Buffer::from_mut_slice(data);
        let caps = info.to_caps()?;
        self.source.push_sample(&gst::Sample::builder().caps(&caps).buffer(&buffer).build())?;
        let sample = self.sink.pull_sample()?;
        Ok(meta::faces(sample.buffer().ok_or("no frame")?))
    }

    /// Milliseconds that the median frame so far took on one thread.
    fn cost(&self) -> Result<f64, Error> {
        let stats: gst::Structure = self.element.property("stats");
        let stages = ["preprocess-p50-ms", "inference-p50-ms", "postprocess-p50-ms"];
        stages.iter().map(|stage| Ok(stats.get::<f64>(*stage)?)).sum()
    }
}

impl Drop for Detector {
    fn drop(&mut self) {
        // Fails for a pipeline that has failed before.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn main() -> Result<(), Error> {
    gst::init()?;
    gstretinaface::plugin_register_static()?;
    let faces = faces()?;
    println!("{} faces, frames of {}×{} pixels\n", faces.len(), FRAME.0, FRAME.1);
    println!("| settings |{} cost |", SIZES.map(|size| format!(" {size} px |")).concat());
    println!("|---|{}---|", "---|".repeat(SIZES.len()));
    let mut first = None;
    for properties in SETTINGS {
        let detector = Detector::new(properties)?;
        let mut line = String::new();
        for size in SIZES {
            let (mut good, mut count) = (0, 0);
            for (number, face) in faces.iter().enumerate() {
                let (frame, bounds) = composed(face, size, number as u32);
                let found = detector.faces(&frame)?;
                count += 1;
                good += u32::from(found.len() == 1 && found[0].bounds.iou(&bounds) > 0.5);
            }
            line += &format!(" {} |", 100 * good / count.max(1));
        }
        let cost = detector.cost()?;
        let ratio = cost / *first.get_or_insert(cost);
        let name = if properties.is_empty() { "the defaults" } else { properties };
        println!("| {name} |{line} {ratio:.1} |");
    }
    Ok(())
}

/// A frame with one face of this height, in another place for each number.
fn composed(face: &Face, size: u32, number: u32) -> (RgbImage, Rect) {
    let scale = size as f32 / face.bounds.height();
    let side = |side: u32| ((side as f32 * scale).round() as u32).max(1);
    let (width, height) = (side(face.picture.width()), side(face.picture.height()));
    let filter = imageops::FilterType::Triangle;
    let picture = imageops::resize(&face.picture, width, height, filter);
    let place = |frame: u32, side: u32, step: u32| {
        let room = i64::from(frame) - i64::from(side);
        if room > 0 { i64::from(number * step) % room } else { room / 2 }
    };
    let (x, y) = (place(FRAME.0, width, 769), place(FRAME.1, height, 433));
    let mut frame = RgbImage::from_pixel(FRAME.0, FRAME.1, image::Rgb([123, 117, 104]));
    imageops::replace(&mut frame, &picture, x, y);
    let Rect { x_min, y_min, x_max, y_max } = face.bounds.scale(scale, scale);
    let (x, y) = (x as f32, y as f32);
    (frame, Rect::new(x_min + x, y_min + y, x_max + x, y_max + y))
}

/// The faces to measure with: those that stand alone, with what is around them.
fn faces() -> Result<Vec<Face>, Error> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec![root.join(".cache/media/astronaut.png")];
    if let Some(shared) = env::var_os("RETINAFACE_SHARED") {
        for entry in fs::read_dir(Path::new(&shared).join("images"))? {
            paths.push(entry?.path());
        }
    }
    paths.sort();
    let detector = Detector::new("max-size=0 score-threshold=0.3")?;
    let mut faces = Vec::new();
    for path in paths {
        let picture = image::open(&path)?.into_rgb8();
        let found = detector.faces(&picture)?;
        for face in &found {
            let side = face.bounds.height() / FILL;
            let middle = face.bounds.middle();
            let cut = Rect::around(middle, side / 2.0, side / 2.0);
            let inside = cut.clip(picture.width() as f32, picture.height() as f32) == cut;
            let alone = found.iter().filter(|other| other.bounds.intersection(&cut).area() > 0.0);
            let sure = face.confidence.is_some_and(|confidence| confidence > 0.95);
            if !inside || !sure || alone.count() > 1 || face.bounds.height() < LEAST {
                continue;
            }
            let (x, y) = (cut.x_min as u32, cut.y_min as u32);
            let moved = Rect::new(
                face.bounds.x_min - x as f32,
                face.bounds.y_min - y as f32,
                face.bounds.x_max - x as f32,
                face.bounds.y_max - y as f32,
            );
            let picture = imageops::crop_imm(&picture, x, y, side as u32, side as u32).to_image();
            faces.push(Face { picture, bounds: moved });
            // No picture counts more than others.
            break;
        }
    }
    Ok(faces)
}
