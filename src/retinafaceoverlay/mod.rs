// SPDX-License-Identifier: MIT OR Apache-2.0

//! `retinafaceoverlay` draws the faces that a frame's metas tell of.

use glib::prelude::*;

mod canvas;
mod imp;

glib::wrapper! {
    /// Draws boxes, landmarks and confidences of faces onto video frames, in place.
    pub struct RetinaFaceOverlay(ObjectSubclass<imp::RetinaFaceOverlay>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "retinafaceoverlay",
        gst::Rank::NONE,
        RetinaFaceOverlay::static_type(),
    )
}
