// SPDX-License-Identifier: MIT OR Apache-2.0

//! Prints the faces of a picture or video, from a pad probe: `cargo run --example probe -- FILE`

use std::{env, error::Error, path::Path};

use gst::{glib, prelude::*};
use gstretinaface::{face::Landmarks, meta};

fn print_faces(buffer: &gst::BufferRef) {
    for face in meta::faces(buffer) {
        let (bounds, score) = (face.bounds, face.confidence.unwrap_or_default());
        println!("face at ({:.1}, {:.1}), score {score:.3}", bounds.x_min, bounds.y_min);
        let points = face.landmarks.into_iter().flat_map(|landmarks| landmarks.0);
        for (name, point) in Landmarks::NAMES.iter().zip(points) {
            println!("    {name} at {:.1}, {:.1}", point.x, point.y);
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    gst::init()?;
    // The plugin is part of the program: nothing has to be installed for it.
    gstretinaface::plugin_register_static()?;
    let file = env::args().nth(1).ok_or("Usage: probe FILE")?;
    let uri = glib::filename_to_uri(Path::new(&file).canonicalize()?, None)?;
    let pipeline = gst::parse::launch(&format!(
        "uridecodebin uri={uri} ! videoconvert ! retinafacedetect name=detect ! fakesink"
    ))?;
    let pipeline = pipeline.downcast::<gst::Pipeline>().map_err(|_| "one element")?;
    let detect = pipeline.by_name("detect").ok_or("an element")?;
    let pad = detect.static_pad("src").ok_or("a pad")?;
    pad.add_probe(gst::PadProbeType::BUFFER, |_, info| {
        if let Some(buffer) = info.buffer() {
            print_faces(buffer);
        }
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing)?;
    let bus = pipeline.bus().ok_or("a bus")?;
    let end = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = bus.timed_pop_filtered(gst::ClockTime::NONE, &end);
    pipeline.set_state(gst::State::Null)?;
    match message.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Error(err)) => Err(err.error().into()),
        _ => Ok(()),
    }
}
