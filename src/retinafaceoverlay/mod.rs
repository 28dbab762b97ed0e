// SPDX-License-Identifier: MIT OR Apache-2.0

//! The element `retinafaceoverlay`.

use glib::prelude::*;

mod canvas;
mod drawing;
mod imp;
mod lettering;
mod marks;
mod settings;

glib::wrapper! {
    /// Draws boxes, landmarks, confidences and ids of the faces that are attached to video frames, in
    /// place; see `gst-inspect-1.0 retinafaceoverlay`.
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
