// SPDX-License-Identifier: MIT OR Apache-2.0

//! The element `retinafacedetect`.

use gst::prelude::*;

mod imp;
mod mode;
mod settings;
mod stats;
mod worker;

pub use settings::{Messages, ScaleMethod, Strides};

glib::wrapper! {
    /// Finds faces in raw video; see `gst-inspect-1.0 retinafacedetect`.
    pub struct RetinaFaceDetect(ObjectSubclass<imp::RetinaFaceDetect>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    #[cfg(feature = "doc")]
    {
        ScaleMethod::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
        Strides::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
        Messages::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    }
    gst::Element::register(
        Some(plugin),
        "retinafacedetect",
        gst::Rank::NONE,
        RetinaFaceDetect::static_type(),
    )
}
