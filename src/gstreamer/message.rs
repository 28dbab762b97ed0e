// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faces as element messages on the bus.
//!
//! The structure is that of GStreamer's own `facedetect`, so applications that read its messages
//! read ours: name `facedetect`, `timestamp`, `stream-time`, `running-time` and `duration` (clock
//! times), and `faces`, a list of structures `face`: `x`, `y`, `width`, `height` (uints, whole
//! pixels inside the frame). Ours add to each face `confidence`, `x_min` … `y_max` and `left_eye_x` …
//! `mouth_right_y` (doubles, pixels, may lie outside the frame), and to the message `width` and
//! `height` (uints, the frame's pixels) and `count` (uint, how many faces there are).

use crate::face::Face;

use super::fields;

const NAME: &str = "facedetect";

/// The faces of one frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Detections {
    pub timestamp: Option<gst::ClockTime>,
    pub stream_time: Option<gst::ClockTime>,
    pub running_time: Option<gst::ClockTime>,
    pub duration: Option<gst::ClockTime>,
    /// Of the frame, in pixels.
    pub width: u32,
    pub height: u32,
    pub faces: Vec<Face>,
}

/// The structure does not describe faces.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a facedetect message: {0}")]
pub struct InvalidMessage(String);

impl Detections {
    pub fn to_structure(&self) -> gst::Structure {
        let faces = self.faces.iter().map(|it| face(it, self.width, self.height));
        gst::Structure::builder(NAME)
            .field("timestamp", self.timestamp)
            .field("stream-time", self.stream_time)
            .field("running-time", self.running_time)
            .field("duration", self.duration)
            .field("width", self.width)
            .field("height", self.height)
            .field("count", u32::try_from(self.faces.len()).unwrap_or(u32::MAX))
            .field("faces", gst::List::new(faces))
            .build()
    }
}

impl TryFrom<&gst::StructureRef> for Detections {
    type Error = InvalidMessage;

    fn try_from(structure: &gst::StructureRef) -> Result<Self, InvalidMessage> {
        if !structure.has_name(NAME) {
            // From C it may be no UTF-8.
            let name = String::from_utf8_lossy(structure.name().as_bytes());
            return Err(InvalidMessage(format!("its name is {name}")));
        }
        let time = |field| {
            structure
                .get::<Option<gst::ClockTime>>(field)
                .map_err(|err| InvalidMessage(format!("{field}: {err}")))
        };
        let pixels = |field| {
            structure.get::<u32>(field).map_err(|err| InvalidMessage(format!("{field}: {err}")))
        };
        let faces = structure
            .get::<gst::List>("faces")
            .map_err(|err| InvalidMessage(format!("faces: {err}")))?;
        let faces: Result<_, _> = faces.iter().map(parse_face).collect();
        Ok(Self {
            timestamp: time("timestamp")?,
            stream_time: time("stream-time")?,
            running_time: time("running-time")?,
            duration: time("duration")?,
            width: pixels("width")?,
            height: pixels("height")?,
            faces: faces?,
        })
    }
}

fn face(face: &Face, width: u32, height: u32) -> gst::Structure {
    let (x, y, w, h) = fields::whole_pixels(&face.bounds, width, height);
    let mut structure = gst::Structure::builder("face")
        .field("x", x)
        .field("y", y)
        .field("width", w)
        .field("height", h)
        .field_if_some("confidence", face.confidence.map(f64::from))
        .build();
    fields::set_bounds(&mut structure, &face.bounds);
    if let Some(landmarks) = &face.landmarks {
        fields::set_landmarks(&mut structure, landmarks);
    }
    structure
}

fn parse_face(value: &glib::SendValue) -> Result<Face, InvalidMessage> {
    let structure = value
        .get::<gst::Structure>()
        .map_err(|err| InvalidMessage(format!("an entry of faces is not a structure: {err}")))?;
    Ok(Face {
        bounds: fields::bounds(&structure)
            .ok_or_else(|| InvalidMessage("a face has no bounds".to_owned()))?,
        landmarks: fields::landmarks(&structure),
        confidence: fields::number(&structure, "confidence"),
        tracking: None,
    })
}

#[cfg(test)]
mod tests {
    use glib::prelude::*;

    use super::*;
    use crate::{
        face::Landmarks,
        geometry::{Point, Rect},
    };

    fn detections() -> Detections {
        let face = Face {
            bounds: Rect::new(-1.5, 2.25, 30.5, 40.0),
            landmarks: Some(Landmarks([Point { x: 3.5, y: -4.0 }; 5])),
            confidence: Some(0.75),
            tracking: None,
        };
        let plain = Face { landmarks: None, confidence: None, ..face };
        Detections {
            timestamp: Some(gst::ClockTime::from_seconds(1)),
            stream_time: Some(gst::ClockTime::from_seconds(2)),
            running_time: Some(gst::ClockTime::from_seconds(3)),
            duration: None,
            width: 20,
            height: 50,
            faces: vec![face, plain],
        }
    }

    #[test]
    fn messages_are_those_of_facedetect() {
        gst::init().unwrap();
        let structure = detections().to_structure();
        assert_eq!(structure.name(), "facedetect");
        for (name, seconds) in
            [("timestamp", Some(1)), ("stream-time", Some(2)), ("running-time", Some(3))]
        {
            let time = structure.get::<Option<gst::ClockTime>>(name);
            assert_eq!(time, Ok(seconds.map(gst::ClockTime::from_seconds)), "{name}");
        }
        assert_eq!(structure.get::<Option<gst::ClockTime>>("duration"), Ok(None));
        for (name, value) in [("width", 20u32), ("height", 50), ("count", 2)] {
            assert_eq!(structure.get::<u32>(name), Ok(value), "{name}");
        }
        let faces = structure.get::<gst::List>("faces").unwrap();
        let faces: Vec<_> =
            faces.iter().map(|face| face.get::<gst::Structure>().unwrap()).collect();
        assert_eq!(faces.len(), 2);
        // The box clipped to 20×50: from 0 to 20, from 2 to 40.
        for (name, value) in [("x", 0u32), ("y", 2), ("width", 20), ("height", 38)] {
            assert_eq!(faces[0].get::<u32>(name), Ok(value), "{name}");
        }
        for (name, value) in [
            ("confidence", 0.75),
            ("x_min", -1.5),
            ("y_max", 40.0),
            ("nose_x", 3.5),
            ("nose_y", -4.0),
        ] {
            assert_eq!(faces[0].get::<f64>(name), Ok(value), "{name}");
        }
        assert!(!faces[1].has_field("confidence") && !faces[1].has_field("nose_x"));
    }

    #[test]
    fn messages_read_as_they_were_written() {
        gst::init().unwrap();
        let structure = detections().to_structure();
        assert_eq!(Detections::try_from(structure.as_ref()), Ok(detections()));
    }

    #[test]
    fn other_messages_are_errors() {
        gst::init().unwrap();
        for (name, expected) in [("level", "its name is level"), ("facedetect", "faces: ")] {
            let structure = gst::Structure::new_empty(name);
            let error = Detections::try_from(structure.as_ref()).unwrap_err().to_string();
            assert!(error.starts_with("not a facedetect message: "), "{error}");
            assert!(error.contains(expected), "{error}");
        }
        let mut structure = detections().to_structure();
        // As the stock facedetect has them, without our bounds.
        let face = gst::Structure::builder("face").field("x", 1u32).field("y", 2u32).build();
        for (entry, expected) in
            [(face.to_send_value(), "no bounds"), (5i32.to_send_value(), "not a structure")]
        {
            structure.set("faces", gst::List::new([entry]));
            let error = Detections::try_from(structure.as_ref()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
