// SPDX-License-Identifier: MIT OR Apache-2.0

//! Shared by the examples: the detector with properties from the command line.

use gst::prelude::*;

pub type Error = Box<dyn std::error::Error>;

/// Starts GStreamer with the plugin of this build.
pub fn init() -> Result<(), Error> {
    gst::init()?;
    gstretinaface::plugin_register_static()?;
    Ok(())
}

/// `NAME=VALUE`: a property of the detector and its value.
pub fn assignment(argument: &str) -> Option<(String, String)> {
    let (name, value) = argument.split_once('=')?;
    Some((name.to_owned(), value.to_owned()))
}

/// A `retinafacedetect` with these properties.
pub fn detector(properties: &[(String, String)]) -> Result<gst::Element, Error> {
    let detector = gst::ElementFactory::make("retinafacedetect").build()?;
    for (name, value) in properties {
        let Some(property) = detector.find_property(name) else {
            return Err(format!("retinafacedetect has no property {name}").into());
        };
        let value = glib::Value::deserialize(value, property.value_type())
            .map_err(|_| format!("{value} is no value for the property {name}"))?;
        detector.set_property_from_value(name, &value);
    }
    Ok(detector)
}
