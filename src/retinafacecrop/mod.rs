// SPDX-License-Identifier: MIT OR Apache-2.0

//! The element `retinafacecrop`.

use gst::prelude::*;

mod best;
mod imp;
mod settings;

pub use settings::{Align, Select};

glib::wrapper! {
    /// Cuts faces out of raw video; see `gst-inspect-1.0 retinafacecrop`.
    pub struct RetinaFaceCrop(ObjectSubclass<imp::RetinaFaceCrop>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    #[cfg(feature = "doc")]
    for kind in [Align::static_type(), Select::static_type()] {
        kind.mark_as_plugin_api(gst::PluginAPIFlags::empty());
    }
    gst::Element::register(
        Some(plugin),
        "retinafacecrop",
        gst::Rank::NONE,
        RetinaFaceCrop::static_type(),
    )
}
