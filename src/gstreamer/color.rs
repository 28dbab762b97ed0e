// SPDX-License-Identifier: MIT OR Apache-2.0

//! Colours as video formats write them.

use gst_video::VideoInfo;

use super::frame::luma_weights;

/// The value of each component for 0xAARRGGBB, as in the properties of GStreamer's text overlays; not
/// of its opacity.
pub fn samples(argb: u32, info: &VideoInfo) -> [u32; 3] {
    let [_, rgb @ ..] = argb.to_be_bytes();
    let [r, g, b] = rgb.map(|value| f64::from(value) / 255.0);
    let parts = if info.is_rgb() {
        [r, g, b]
    } else {
        let (kr, kb) = luma_weights(info);
        let y = kr * r + (1.0 - kr - kb) * g + kb * b;
        [y, (b - y) / (2.0 * (1.0 - kb)), (r - y) / (2.0 * (1.0 - kr))]
    };
    let format = info.format_info();
    let most = (1u32 << format.depth()[0]) - 1;
    let (offset, scale) = format.range_offsets(info.colorimetry().range());
    let mut samples = [0; 3];
    for (index, part) in parts.into_iter().enumerate() {
        let value = f64::from(offset[index]) + f64::from(scale[index]) * part;
        samples[index] = (value.round() as u32).min(most);
    }
    samples
}
