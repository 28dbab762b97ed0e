// SPDX-License-Identifier: MIT OR Apache-2.0

//! A detector with properties from a command line. The examples use this file too.

use std::error::Error;

use gst::prelude::*;

/// A `retinafacedetect` with these properties; what is wrong with them says what would be right.
pub fn detector(properties: &[(String, String)]) -> Result<gst::Element, Box<dyn Error>> {
    let detector = gst::ElementFactory::make("retinafacedetect").build()?;
    for (name, text) in properties {
        let Some(property) = detector.find_property(name) else {
            return Err(format!(
                "retinafacedetect has no property {name}: gst-inspect-1.0 retinafacedetect lists them"
            )
            .into());
        };
        if !property.flags().contains(glib::ParamFlags::WRITABLE) {
            return Err(format!("the property {name} can only be read").into());
        }
        let value = parse(&property, text).map_err(|expected| {
            format!("the property {name} must be {expected}, but is \"{text}\"")
        })?;
        detector.set_property_from_value(name, &value);
    }
    Ok(detector)
}

/// Reads a value, or says what was expected.
fn parse(property: &glib::ParamSpec, text: &str) -> Result<glib::Value, String> {
    macro_rules! numbers {
        ($($spec:ident $number:ty, $kind:literal;)*) => {$(
            if let Some(spec) = property.downcast_ref::<glib::$spec>() {
                let (minimum, maximum) = (spec.minimum(), spec.maximum());
                let number = text.parse().ok().filter(|n: &$number| (minimum..=maximum).contains(n));
                let number = number.map(|number| number.to_value());
                return number.ok_or_else(|| format!("{} from {minimum} to {maximum}", $kind));
            }
        )*};
    }
    numbers! {
        ParamSpecInt i32, "a whole number";
        ParamSpecUInt u32, "a whole number";
        ParamSpecInt64 i64, "a whole number";
        ParamSpecUInt64 u64, "a whole number";
        ParamSpecFloat f32, "a number";
        ParamSpecDouble f64, "a number";
    }
    let kind = property.value_type();
    if let Some(values) = glib::EnumClass::with_type(kind) {
        let names: Vec<_> = values.values().iter().map(|value| value.nick()).collect();
        return values.to_value_by_nick(text).ok_or_else(|| format!("one of {}", names.join(", ")));
    }
    if let Some(values) = glib::FlagsClass::with_type(kind) {
        let value = text.split('+').fold(values.builder(), |value, name| value.set_by_nick(name));
        let names: Vec<_> = values.values().iter().map(|value| value.nick()).collect();
        return value
            .build()
            .ok_or_else(|| format!("some of {}, with + between them", names.join(", ")));
    }
    glib::Value::deserialize(text, kind).map_err(|_| match kind {
        glib::Type::BOOL => "true or false".to_owned(),
        kind => format!("a {kind}"),
    })
}
