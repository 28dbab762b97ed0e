// SPDX-License-Identifier: MIT OR Apache-2.0

//! Hearing of a pad's activation, for which GstBaseTransform has no virtual method.

use glib::translate::{IntoGlib, ToGlibPtr};
use gst::prelude::*;

/// Calls `heard` whenever `pad` of a new element is activated or deactivated, with its element and
/// whether it is active, before what the pad did until now. When it is deactivated, this is the
/// moment to end what holds its stream lock, as GStreamer takes the lock next.
pub fn on_activation(
    pad: &gst::Pad,
    heard: impl Fn(&gst::Object, bool) -> Result<(), glib::BoolError> + Send + Sync + 'static,
) {
    let raw: *mut gst::ffi::GstPad = pad.to_glib_none().0;
    // SAFETY: the pad is alive, and nobody else knows an element that is under construction.
    let inherited = unsafe { (*raw).activatemodefunc };
    let activate = move |pad: &gst::Pad, parent: Option<&gst::Object>, mode, active: bool| {
        if let Some(parent) = parent {
            heard(parent, active)?;
        }
        let Some(inherited) = inherited else { return Ok(()) };
        let (pad, parent) = (pad.to_glib_none(), parent.to_glib_none());
        let mode: gst::PadMode = mode;
        // SAFETY: the arguments are those that GStreamer has called with. GstBaseTransform's function,
        // which this was, uses no data of its own.
        let done = unsafe { inherited(pad.0, parent.0, mode.into_glib(), active.into_glib()) };
        let refused = || gst::loggable_error!(gst::CAT_RUST, "The pad refuses {mode:?}");
        (done != glib::ffi::GFALSE).then_some(()).ok_or_else(refused)
    };
    // SAFETY: the pad is not active yet, so nothing calls the function that is replaced.
    unsafe { pad.set_activatemode_function(activate) };
}
