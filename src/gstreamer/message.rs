// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faces as an element message on the bus.
//!
//! The structure is that of GStreamer's own `facedetect`, so applications that read its messages
//! read ours: name `facedetect`, `timestamp`, `stream-time`, `running-time` and `duration` (clock
//! times), and `faces`, a list of structures `face`: `x`, `y`, `width`, `height` (uints, whole
//! pixels inside the frame). Ours add `confidence`, `x_min` … `y_max` and `left_eye_x` …
//! `mouth_right_y` (doubles, pixels, may lie outside the frame).

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
    pub faces: Vec<Face>,
}

/// The structure tells of no faces.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a message of a face detector: {0}")]
pub struct NoDetections(String);

impl Detections {
    /// For faces in a frame of `width` × `height` pixels.
    pub fn to_structure(&self, width: u32, height: u32) -> gst::Structure {
        gst::Structure::builder(NAME)
            .field("timestamp", self.timestamp)
            .field("stream-time", self.stream_time)
            .field("running-time", self.running_time)
            .field("duration", self.duration)
            .field("faces", gst::List::new(self.faces.iter().map(|f| face(f, width, height))))
            .build()
    }
}

impl TryFrom<&gst::StructureRef> for Detections {
    type Error = NoDetections;

    fn try_from(structure: &gst::StructureRef) -> Result<Self, NoDetections> {
        if structure.name() != NAME {
            return Err(NoDetections(format!("its name is {}", structure.name())));
        }
        let time = |field| {
            structure
                .get::<Option<gst::ClockTime>>(field)
                .map_err(|err| NoDetections(format!("{field}: {err}")))
        };
        let faces = structure
            .get::<gst::List>("faces")
            .map_err(|err| NoDetections(format!("faces: {err}")))?;
        let faces: Result<_, _> = faces.iter().map(parse_face).collect();
        Ok(Self {
            timestamp: time("timestamp")?,
            stream_time: time("stream-time")?,
            running_time: time("running-time")?,
            duration: time("duration")?,
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

fn parse_face(value: &glib::SendValue) -> Result<Face, NoDetections> {
    let structure = value
        .get::<gst::Structure>()
        .map_err(|err| NoDetections(format!("an entry of faces is no structure: {err}")))?;
    Ok(Face {
        bounds: fields::bounds(&structure)
            .ok_or_else(|| NoDetections(format!("a face has no bounds: {structure}")))?,
        landmarks: fields::landmarks(&structure),
        confidence: fields::double(&structure, "confidence"),
    })
}
