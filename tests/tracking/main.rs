// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faces over time: `retinafacetrack` on real streams, and `retinafacemetamux`.

#[path = "../common/mod.rs"]
mod common;
mod hidden;
mod mux;
mod scene;
mod track;
mod video;

use gst::prelude::*;
use gstretinaface::{
    face::{Face, Landmarks, Tracking},
    geometry::{Point, Rect},
    meta,
};

fn ms(ms: u64) -> gst::ClockTime {
    gst::ClockTime::from_mseconds(ms)
}

/// 20×20 pixels around a middle.
fn face(x: f32, y: f32, confidence: f32) -> Face {
    let offsets = [(-5.0, -4.0), (5.0, -4.0), (0.0, 1.0), (-3.0, 6.0), (4.0, 6.0)];
    Face {
        bounds: Rect::around(Point { x, y }, 10.0, 10.0),
        landmarks: Some(Landmarks(offsets.map(|(dx, dy)| Point { x: x + dx, y: y + dy }))),
        confidence: Some(confidence),
        tracking: None,
    }
}

/// A frame of 160×120 pixels and 40 ms with these faces.
fn frame(number: u64, faces: &[Face]) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_slice(vec![128; 160 * 120]);
    let frame = buffer.make_mut();
    frame.set_pts(ms(40 * number));
    frame.set_duration(ms(40));
    frame.set_offset(number);
    for face in faces {
        meta::attach(frame, face, 160, 120);
    }
    buffer
}

const CAPS: &str = "video/x-raw,format=GRAY8,width=160,height=120,framerate=25/1";

fn tracking(face: &Face) -> Tracking {
    face.tracking.expect("a followed face")
}

fn parse(description: &str) -> gst::Pipeline {
    common::init();
    let pipeline = gst::parse::launch(description).expect("a pipeline");
    pipeline.downcast().expect("a pipeline")
}

/// Waits for the end of a pipeline, which must be no error.
fn wait_for_end(pipeline: &gst::Pipeline) {
    let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
    let bus = pipeline.bus().expect("a bus");
    let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(120), &wanted);
    let end = end.expect("it ends");
    assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
}
