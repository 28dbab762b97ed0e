// SPDX-License-Identifier: MIT OR Apache-2.0

//! The element `retinafacepublish`.

use glib::prelude::*;

mod destination;
mod imp;
mod location;
mod output;
mod sigpipe;
mod turns;
mod waker;

/// Values of the property `frames`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRetinaFacePublishFrames")]
#[non_exhaustive]
pub enum Frames {
    #[enum_value(name = "Every frame", nick = "all")]
    All,
    #[enum_value(name = "Frames with at least one face", nick = "with-faces")]
    WithFaces,
}

glib::wrapper! {
    /// Writes the faces that are attached to video frames as lines of JSON; see
    /// `gst-inspect-1.0 retinafacepublish` and docs/json.md.
    pub struct RetinaFacePublish(ObjectSubclass<imp::RetinaFacePublish>)
        @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    #[cfg(feature = "doc")]
    gst::prelude::PluginApiExt::mark_as_plugin_api(
        Frames::static_type(),
        gst::PluginAPIFlags::empty(),
    );
    gst::Element::register(
        Some(plugin),
        "retinafacepublish",
        gst::Rank::NONE,
        RetinaFacePublish::static_type(),
    )
}
