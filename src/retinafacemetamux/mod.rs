// SPDX-License-Identifier: MIT OR Apache-2.0

//! The element `retinafacemetamux`.

use gst::prelude::*;

mod analysis;
mod imp;

glib::wrapper! {
    /// Puts the faces of an analysis branch on the frames of the main branch; see
    /// `gst-inspect-1.0 retinafacemetamux`.
    pub struct RetinaFaceMetaMux(ObjectSubclass<imp::RetinaFaceMetaMux>)
        @extends gst::Element, gst::Object;
}

pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "retinafacemetamux",
        gst::Rank::NONE,
        RetinaFaceMetaMux::static_type(),
    )
}
