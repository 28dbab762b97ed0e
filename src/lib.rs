// SPDX-License-Identifier: MIT OR Apache-2.0

//! GStreamer plugin that finds faces in video with RetinaFace on ONNX Runtime.

pub mod face;
pub mod frame;
pub mod geometry;
pub mod inference;
pub mod meta;
pub mod model;
pub mod retinaface;
mod retinafaceoverlay;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    retinafaceoverlay::register(plugin)
}

gst::plugin_define!(
    retinaface,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "MIT/X11",
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    env!("BUILD_REL_DATE")
);
