// SPDX-License-Identifier: MIT OR Apache-2.0

//! GStreamer plugin that finds faces in video with RetinaFace networks.

pub mod alignment;
pub mod face;
pub mod families;
pub mod frame;
pub mod geometry;
pub mod gstreamer;
pub mod hiding;
pub mod inference;
pub mod json;
pub mod model;
pub mod native;
pub mod onnx;
pub mod ordered_pool;
pub mod orientation;
pub mod preprocess;
pub mod retinaface;
pub mod retinafaceblur;
pub mod retinafacecrop;
pub mod retinafacedetect;
pub mod retinafacemetamux;
pub mod retinafaceoverlay;
pub mod retinafacepublish;
pub mod retinafacetrack;
pub mod tracking;

/// The name by which applications read faces: `gstretinaface::meta::faces(&buffer)`.
pub use gstreamer as meta;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    retinafaceblur::register(plugin)?;
    retinafacecrop::register(plugin)?;
    retinafacedetect::register(plugin)?;
    retinafaceoverlay::register(plugin)?;
    retinafacepublish::register(plugin)?;
    retinafacetrack::register(plugin)?;
    retinafacemetamux::register(plugin)
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
