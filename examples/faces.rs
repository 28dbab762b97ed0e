// SPDX-License-Identifier: MIT OR Apache-2.0

//! Prints the faces in images and videos, one JSON line a frame:
//!
//!     cargo run --release --example faces -- PATH… [--set property=value]… [--json]
//!
//! Frames reach the detector as the file's decoder gives them, without conversion. Faces are where they
//! are in these frames, also where a phone's video or photograph is stored turned.

mod common;

use std::{collections::VecDeque, path::Path, process::ExitCode};

use common::Error;
use gst::prelude::*;
use gst_app::{AppSink, app_sink::AppSinkCallbacks};
use gstretinaface::meta;
use serde_json::json;

const USAGE: &str = "usage: faces PATH… [--set property=value]… [--json]";

/// What the command line asks for.
#[derive(Default)]
struct Arguments {
    paths: Vec<String>,
    /// Properties of the detector and their values.
    properties: Vec<(String, String)>,
    json: bool,
}

impl Arguments {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, Error> {
        let mut parsed = Self::default();
        let mut arguments: VecDeque<_> = arguments.collect();
        while let Some(argument) = arguments.pop_front() {
            match argument.as_str() {
                "--json" => parsed.json = true,
                "--set" => {
                    let assignment = arguments.pop_front().ok_or(USAGE)?;
                    parsed.properties.push(common::assignment(&assignment).ok_or(USAGE)?);
                }
                option if option.starts_with('-') => return Err(USAGE.into()),
                _ => parsed.paths.push(argument),
            }
        }
        if parsed.paths.is_empty() { Err(USAGE.into()) } else { Ok(parsed) }
    }
}

fn main() -> ExitCode {
    match Arguments::parse(std::env::args().skip(1)).and_then(|arguments| run_all(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("faces: {err}");
            ExitCode::FAILURE
        }
    }
}

fn run_all(arguments: &Arguments) -> Result<(), Error> {
    common::init()?;
    // How a photograph has to be turned is in its EXIF data, which only this parser reads.
    if let Some(parser) = gst::ElementFactory::find("jpegparse") {
        parser.set_rank(gst::Rank::PRIMARY + 1);
    }
    for path in &arguments.paths {
        run(path, arguments).map_err(|err| format!("{path}: {err}"))?;
    }
    Ok(())
}

/// Decodes one file to its end.
fn run(path: &str, arguments: &Arguments) -> Result<(), Error> {
    let location = glib::filename_to_uri(Path::new(path).canonicalize()?, None)?;
    let pipeline = gst::Pipeline::new();
    let source = gst::ElementFactory::make("uridecodebin").property("uri", &location).build()?;
    let detector = common::detector(&arguments.properties)?;
    let sink = AppSink::builder().sync(false).build();
    pipeline.add_many([&source, &detector, sink.upcast_ref()])?;
    detector.link(&sink)?;

    let detector_pad = detector.static_pad("sink").ok_or("retinafacedetect has no sink pad")?;
    source.connect_pad_added(move |_, pad| {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let video = caps.structure(0).is_some_and(|s| s.name().starts_with("video/"));
        if video && !detector_pad.is_linked() {
            // Refused only for frames that no format of the detector's fits; not linked, the
            // decoder stops with an error of its own.
            let _ = pad.link(&detector_pad);
        }
    });
    let (path, json) = (path.to_owned(), arguments.json);
    let mut frame = 0;
    sink.set_callbacks(
        AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                print(&path, frame, &sample, json).ok_or(gst::FlowError::Error)?;
                frame += 1;
                Ok(gst::FlowSuccess::Ok)
            })
            .build(),
    );

    common::play(&pipeline)?;
    let bus = pipeline.bus().ok_or("a pipeline has a bus")?;
    let end = bus.timed_pop_filtered(
        gst::ClockTime::NONE,
        &[gst::MessageType::Eos, gst::MessageType::Error],
    );
    pipeline.set_state(gst::State::Null)?;
    match end.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Error(err)) => Err(common::text(err).into()),
        _ => Ok(()),
    }
}

/// Prints the faces of one frame.
fn print(source: &str, frame: u64, sample: &gst::Sample, as_json: bool) -> Option<()> {
    let buffer = sample.buffer()?;
    let info = gst_video::VideoInfo::from_caps(sample.caps()?).ok()?;
    let faces = meta::faces(buffer);
    if !as_json {
        println!("{source}, frame {frame}: {} faces", faces.len());
        for face in &faces {
            let bounds = &face.bounds;
            println!(
                "  {:.2} at {:.0}, {:.0}, {:.0} × {:.0} pixels",
                face.confidence.unwrap_or_default(),
                bounds.x_min,
                bounds.y_min,
                bounds.width(),
                bounds.height()
            );
        }
        return Some(());
    }
    let faces: Vec<_> = faces
        .iter()
        .map(|face| {
            let bounds = &face.bounds;
            json!({
                "box": [bounds.x_min, bounds.y_min, bounds.x_max, bounds.y_max],
                "score": face.confidence,
                "landmarks": face.landmarks.map(|l| l.0.map(|point| [point.x, point.y])),
            })
        })
        .collect();
    let line = json!({
        "source": source,
        "frame": frame,
        "pts": buffer.pts().map(gst::ClockTime::nseconds),
        "width": info.width(),
        "height": info.height(),
        "faces": faces,
    });
    println!("{line}");
    Some(())
}
