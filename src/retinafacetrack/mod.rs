// SPDX-License-Identifier: MIT OR Apache-2.0

//! The element `retinafacetrack`.

use gst::prelude::*;

mod imp;
mod queue;
mod spacing;

glib::wrapper! {
    /// Follows faces from frame to frame; see `gst-inspect-1.0 retinafacetrack`.
    pub struct RetinaFaceTrack(ObjectSubclass<imp::RetinaFaceTrack>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(
        Some(plugin),
        "retinafacetrack",
        gst::Rank::NONE,
        RetinaFaceTrack::static_type(),
    )
}
