// SPDX-License-Identifier: MIT OR Apache-2.0

//! Shared by the examples: the detector with properties from the command line, and what pipelines say
//! where they fail.

#![allow(dead_code)]

use gst::prelude::*;

#[path = "../../src/bin/retinaface-faces/properties.rs"]
pub mod properties;

pub type Error = Box<dyn std::error::Error>;

/// Starts GStreamer with the plugin of this build.
pub fn init() -> Result<(), Error> {
    gst::init()?;
    gstretinaface::plugin_register_static()?;
    Ok(())
}

/// Lets a pipeline play; where it cannot, fails with what it says, and stops it.
pub fn play(pipeline: &gst::Pipeline) -> Result<(), Error> {
    let Err(err) = pipeline.set_state(gst::State::Playing) else { return Ok(()) };
    let said = error(pipeline);
    pipeline.set_state(gst::State::Null)?;
    Err(said.unwrap_or_else(|| err.into()))
}

/// The first error on the bus.
pub fn error(pipeline: &gst::Pipeline) -> Option<Error> {
    let message = pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
    match message.view() {
        gst::MessageView::Error(err) => Some(text(err).into()),
        _ => None,
    }
}

/// All that an element says about an error: many of GStreamer's say in the second line what is wrong.
pub fn text(err: &gst::message::Error) -> String {
    match err.debug() {
        Some(debug) => format!("{}\n{debug}", err.error()),
        None => err.error().to_string(),
    }
}

/// `NAME=VALUE`: a property of the detector and its value.
pub fn assignment(argument: &str) -> Option<(String, String)> {
    let (name, value) = argument.split_once('=')?;
    Some((name.to_owned(), value.to_owned()))
}
