// SPDX-License-Identifier: MIT OR Apache-2.0

//! Elements by themselves.

use gst::prelude::*;
use gst_check::Harness;
use gst_video::{VideoFormat, VideoInfo};

use crate::common;

pub fn info(format: VideoFormat, width: u32, height: u32) -> VideoInfo {
    common::init();
    let info = VideoInfo::builder(format, width, height);
    info.fps(gst::Fraction::new(25, 1)).build().expect("a frame")
}

pub fn harness_of(element: &str, properties: &[(&str, &str)], info: &VideoInfo) -> Harness {
    common::init();
    let mut harness = Harness::new(element);
    let element = harness.element().expect("an element");
    for (name, value) in properties {
        element.set_property_from_str(name, value);
    }
    harness.set_src_caps(info.to_caps().expect("caps"));
    harness
}

pub fn bytes(buffer: &gst::BufferRef) -> Vec<u8> {
    buffer.map_readable().expect("memory").to_vec()
}

/// A bus for what the element posts from now on.
pub fn with_bus(harness: &Harness) -> gst::Bus {
    let bus = gst::Bus::new();
    harness.element().expect("an element").set_bus(Some(&bus));
    bus
}

/// The texts of the errors or warnings on a bus.
pub fn messages(bus: &gst::Bus, kind: gst::MessageType) -> Vec<String> {
    let messages = std::iter::from_fn(|| bus.pop_filtered(&[kind]));
    let text = |message: gst::Message| match message.view() {
        gst::MessageView::Error(err) => err.error().to_string(),
        gst::MessageView::Warning(warning) => warning.error().to_string(),
        other => format!("{other:?}"),
    };
    messages.map(text).collect()
}
