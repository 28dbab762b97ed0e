// SPDX-License-Identifier: MIT OR Apache-2.0

//! The raw video that elements of this plugin take.

use gst_video::{VideoCapsBuilder, VideoFormat};

/// Width and height are at most this.
pub const MAX_SIZE: i32 = 8192;

/// Formats by their names, as the GStreamer that runs may be older than some. What they have in common
/// is that each sample is a byte or a word of two, which is read in place. Left to videoconvert are
/// formats in which bits of several samples share a byte (v210, RGB16, Y410), with a palette or in tiles,
/// and those of which GStreamer does not say where samples are (Y210), or says it wrongly (VYUY has U
/// and V the other way round).
const FORMATS: &[&str] = &[
    // RGB.
    "BGR",
    "RGB",
    "BGRx",
    "RGBx",
    "xBGR",
    "xRGB",
    "BGRA",
    "RGBA",
    "ABGR",
    "ARGB",
    "GBR",
    "GBRA",
    "RGBP",
    "BGRP",
    // Gray.
    "GRAY8",
    // A quarter of the chroma.
    "NV12",
    "NV21",
    "I420",
    "YV12",
    "A420",
    "AV12",
    // Half of it.
    "YUY2",
    "UYVY",
    "YVYU",
    "Y42B",
    "NV16",
    "NV61",
    "A422",
    // A quarter, in one direction.
    "Y41B",
    // All of it.
    "Y444",
    "NV24",
    "A444",
    "AYUV",
    "VUYA",
    "v308",
    "IYU2",
    // 10 bits.
    "P010_10LE",
    "I420_10LE",
    "A420_10LE",
    "I422_10LE",
    "A422_10LE",
    "Y444_10LE",
    "A444_10LE",
    "GBR_10LE",
    "GBRA_10LE",
    "GRAY10_LE16",
    // 12 bits.
    "P012_LE",
    "I420_12LE",
    "I422_12LE",
    "Y444_12LE",
    "GBR_12LE",
    "GBRA_12LE",
    // 16 bits.
    "P016_LE",
    "Y444_16LE",
    "GRAY16_LE",
    "GRAY16_BE",
    "ARGB64",
    "AYUV64",
    "RGBA64_LE",
];

/// The caps of pad templates: raw video in system memory, in all formats that can be read and drawn on
/// in place and that the GStreamer that runs knows.
pub fn video_caps() -> gst::Caps {
    VideoCapsBuilder::new()
        .format_list(known())
        .width_range(1..=MAX_SIZE)
        .height_range(1..=MAX_SIZE)
        .build()
}

/// A sink and a source pad that are always there, with these caps.
pub fn pad_templates(sink: &gst::Caps, src: &gst::Caps) -> Vec<gst::PadTemplate> {
    [("sink", gst::PadDirection::Sink, sink), ("src", gst::PadDirection::Src, src)]
        .into_iter()
        .filter_map(|(name, direction, caps)| {
            gst::PadTemplate::new(name, direction, gst::PadPresence::Always, caps).ok()
        })
        .collect()
}

fn known() -> impl Iterator<Item = VideoFormat> {
    let formats = FORMATS.iter().map(|name| VideoFormat::from_string(name));
    formats.filter(|format| *format != VideoFormat::Unknown)
}

#[cfg(test)]
mod tests {
    use gst_video::VideoInfo;

    use super::*;
    use crate::frame::Layout;

    #[test]
    fn every_format_can_be_read_in_place() {
        gst::init().unwrap();
        for format in known() {
            let info = VideoInfo::builder(format, 64, 48).build().unwrap();
            assert!(Layout::try_from(&info).is_ok(), "{format}");
        }
        // Those of GStreamer 1.14.
        assert!(known().count() >= 48);
    }

    #[test]
    fn formats_are_named_once() {
        for (index, name) in FORMATS.iter().enumerate() {
            assert!(!FORMATS[..index].contains(name), "{name}");
        }
    }
}
