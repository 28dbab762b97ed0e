// SPDX-License-Identifier: MIT OR Apache-2.0

//! The element `retinafaceblur`.

use gst::prelude::*;

mod imp;
mod settings;

pub use settings::{Mode, Shape};

glib::wrapper! {
    /// Makes faces in raw video unrecognisable; see `gst-inspect-1.0 retinafaceblur`.
    pub struct RetinaFaceBlur(ObjectSubclass<imp::RetinaFaceBlur>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    #[cfg(feature = "doc")]
    for kind in [Mode::static_type(), Shape::static_type()] {
        kind.mark_as_plugin_api(gst::PluginAPIFlags::empty());
    }
    gst::Element::register(
        Some(plugin),
        "retinafaceblur",
        gst::Rank::NONE,
        RetinaFaceBlur::static_type(),
    )
}
