// SPDX-License-Identifier: MIT OR Apache-2.0

//! What GStreamer says it lacks.

/// Names of plugins that would be needed, in the words of decoders and sources.
#[derive(Default)]
pub struct Missing(Vec<String>);

impl Missing {
    /// Takes note of an element's message, if it is one of those.
    pub fn note(&mut self, message: &gst::StructureRef) {
        if message.name() == "missing-plugin"
            && let Ok(name) = message.get::<&str>("name")
            && !self.0.iter().any(|known| known == name)
        {
            self.0.push(name.to_owned());
        }
    }

    /// What to do about it.
    pub fn advice(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| {
            format!(
                "GStreamer lacks a plugin for it: {}. On Debian and Ubuntu, gstreamer1.0-plugins-good, \
                 -bad and -ugly and gstreamer1.0-libav have most",
                self.0.join(", ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_plugin_is_named_once() {
        gst::init().unwrap();
        let mut missing = Missing::default();
        assert_eq!(missing.advice(), None);
        for (message, name) in [
            ("missing-plugin", "H.265 decoder"),
            ("missing-plugin", "H.265 decoder"),
            ("missing-plugin", "RTSP protocol source"),
            ("progress", "nothing"),
        ] {
            missing.note(&gst::Structure::builder(message).field("name", name).build());
        }
        missing.note(&gst::Structure::new_empty("missing-plugin"));
        let advice = missing.advice().unwrap();
        assert!(advice.contains(": H.265 decoder, RTSP protocol source. "), "{advice}");
    }
}
