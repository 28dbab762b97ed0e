// SPDX-License-Identifier: MIT OR Apache-2.0

//! `retinaface-faces`: finds the faces in pictures, videos and streams. `--help` says how.

mod arguments;
mod input;
mod missing;
mod pipeline;
mod progress;
mod properties;
mod sink;
mod text;

use std::{error::Error, process::ExitCode};

use arguments::Arguments;
use gst::prelude::*;
use pipeline::{End, Pipeline};
use sink::Sink;

/// Of the process; all documented in `--help`. That of wrong arguments is clap's.
const FAILED: u8 = 1;
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = arguments::parse();
    if let Err(err) = init() {
        return fail(err.as_ref(), FAILED);
    }
    if let Err(err) = properties::detector(&arguments.properties) {
        return fail(err.as_ref(), USAGE);
    }
    match run_all(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(err) => fail(err.as_ref(), FAILED),
    }
}

fn fail(err: &dyn Error, code: u8) -> ExitCode {
    eprintln!("{}: {err}", arguments::NAME);
    ExitCode::from(code)
}

/// Starts GStreamer with the plugin that is a part of this program.
fn init() -> Result<(), Box<dyn Error>> {
    gst::init()?;
    gstretinaface::plugin_register_static()?;
    // How a photograph has to be turned is in its EXIF data, which only this parser reads.
    if let Some(parser) = gst::ElementFactory::find("jpegparse") {
        parser.set_rank(gst::Rank::PRIMARY + 1);
    }
    Ok(())
}

/// Whether all inputs were read to their ends. One that fails is no reason to leave out those after it.
fn run_all(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let sink = Sink::open(arguments)?;
    let mut all_fine = true;
    for input in &arguments.inputs {
        let end = Pipeline::new(input, arguments, &sink).and_then(|pipeline| pipeline.run(&sink));
        match end {
            Ok(End::Stream) => (),
            // As `head` does once it has its lines.
            Ok(End::ReaderGone) => break,
            Err(err) => {
                eprintln!("{}: {}: {err}", arguments::NAME, input.to_string_lossy());
                all_fine = false;
            }
        }
    }
    Ok(all_fine)
}
