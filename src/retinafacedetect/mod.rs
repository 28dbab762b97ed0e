// SPDX-License-Identifier: MIT OR Apache-2.0

//! The element `retinafacedetect`.

use gst::prelude::*;

mod activation;
mod imp;
mod mode;
mod pace;
mod settings;
mod stats;
mod worker;

pub use settings::{
    ChannelOrder, ExecutionProvider, Messages, ModelFamily, Orientation, Precision, ScaleMethod,
    Strides, Tiles,
};

glib::wrapper! {
    /// Detects faces in raw video; see `gst-inspect-1.0 retinafacedetect`.
    pub struct RetinaFaceDetect(ObjectSubclass<imp::RetinaFaceDetect>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    #[cfg(feature = "doc")]
    for kind in [
        ChannelOrder::static_type(),
        ExecutionProvider::static_type(),
        Messages::static_type(),
        ModelFamily::static_type(),
        Orientation::static_type(),
        Precision::static_type(),
        ScaleMethod::static_type(),
        Strides::static_type(),
        Tiles::static_type(),
    ] {
        kind.mark_as_plugin_api(gst::PluginAPIFlags::empty());
    }
    gst::Element::register(
        Some(plugin),
        "retinafacedetect",
        gst::Rank::NONE,
        RetinaFaceDetect::static_type(),
    )
}
