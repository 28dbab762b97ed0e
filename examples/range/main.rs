// SPDX-License-Identifier: MIT OR Apache-2.0

//! Measures which sizes of faces settings find, and what they cost, with the pictures in some folders:
//!
//!     cargo run --release --example range -- FOLDER…
//!     cargo run --release --example range -- FOLDER… --write OUT
//!
//! The first cuts out a face of each picture and pastes it into a gray frame, once for each size. It
//! prints the table of docs/performance.md: how many of a hundred faces are found, each as one and with
//! nothing else in the frame. The second writes two sets of pictures with annotations for the example
//! accuracy: close-ups, and large frames of tiny faces.

#[path = "../common/mod.rs"]
mod common;
mod cut_outs;
mod detector;
mod sets;

use std::{env, path::PathBuf, process::ExitCode};

use common::Error;
use cut_outs::{CutOut, cut_outs, moved};
use detector::Detector;
use gstretinaface::geometry::Rect;
use image::{RgbImage, imageops};

/// Width and height of the large frames.
const FRAME: (u32, u32) = (3840, 2160);

/// What they have where there is no picture.
const GRAY: image::Rgb<u8> = image::Rgb([123, 117, 104]);

/// With which properties the pictures are annotated.
const NATIVE: &str = "max-size=0 score-threshold=0.3";

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

/// A face's height, as a part of the height of what is cut out with it.
const FILL: f32 = 0.6;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("range: {err}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let mut folders: Vec<_> = env::args_os().skip(1).map(PathBuf::from).collect();
    let write = folders.iter().position(|argument| argument.as_os_str() == "--write");
    let rest = write.map(|at| folders.split_off(at)).unwrap_or_default();
    let out = rest.get(1);
    if folders.is_empty() || rest.len() > 2 || write.is_some() && out.is_none() {
        return Err("usage: range FOLDER… [--write OUT]".into());
    }
    gst::init()?;
    gstretinaface::plugin_register_static()?;
    let pictures = cut_outs::pictures(&folders)?;
    match out {
        Some(out) => sets::write(&pictures, out),
        None => print_table(&pictures),
    }
}

fn print_table(pictures: &[RgbImage]) -> Result<(), Error> {
    let detector = Detector::new(NATIVE)?;
    let mut faces = Vec::new();
    for picture in pictures {
        // No picture counts more than others.
        faces.extend(cut_outs(picture, &detector.faces(picture)?, FILL).into_iter().next());
    }
    let detectors = SETTINGS.map(Detector::new).into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut good = [[0; SIZES.len()]; SETTINGS.len()];
    for (column, size) in SIZES.into_iter().enumerate() {
        for (number, face) in faces.iter().enumerate() {
            let (frame, bounds) = composed(face, size, number as u32);
            for (detector, good) in detectors.iter().zip(&mut good) {
                let found = detector.faces(&frame)?;
                let is_one = found.len() == 1 && found[0].bounds.iou(&bounds) > 0.5;
                good[column] += usize::from(is_one);
            }
        }
    }
    println!("{} faces, frames of {}×{} pixels\n", faces.len(), FRAME.0, FRAME.1);
    println!("| settings |{} cost |", SIZES.map(|size| format!(" {size} px |")).concat());
    println!("|---|{}---|", "---|".repeat(SIZES.len()));
    let first = detectors[0].cost()?;
    for ((properties, detector), good) in SETTINGS.iter().zip(&detectors).zip(good) {
        let percent = good.map(|good| format!(" {} |", 100 * good / faces.len().max(1))).concat();
        let name = if properties.is_empty() { "the defaults" } else { properties };
        println!("| {name} |{percent} {:.1} |", detector.cost()? / first);
    }
    Ok(())
}

/// A frame with one face of this height, in another place for each number.
fn composed(face: &CutOut, size: u32, number: u32) -> (RgbImage, Rect) {
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
    let mut frame = RgbImage::from_pixel(FRAME.0, FRAME.1, GRAY);
    imageops::replace(&mut frame, &picture, x, y);
    (frame, moved(&face.bounds.scale(scale, scale), x as f32, y as f32))
}
