// SPDX-License-Identifier: MIT OR Apache-2.0

//! Pictures through `retinafacedetect`: each is decoded once and may go through several times, at
//! other scales and mirrored.

use std::{ops::RangeInclusive, path::Path};

use gst::prelude::*;
use gst_app::{AppSink, AppSrc};
use gstretinaface::{face, geometry::Point, meta};

use crate::{
    common::{self, Error},
    dataset::{Bounds, Detection},
    merge,
};

/// What is set unless the user sets it: what published test scripts use.
const PROPERTIES: [(&str, &str); 5] = [
    ("max-size", "0"),
    ("score-threshold", "0.02"),
    ("iou-threshold", "0.4"),
    ("max-detections", "750"),
    // Annotations are of the pictures as they are stored.
    ("orientation", "identity"),
];

/// The property's range.
pub const SCALES: RangeInclusive<f64> = 0.05..=4.0;

/// How large a picture becomes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// By the property's value.
    AsSet,
    By(f64),
    /// Its shorter side this long, or less so that its longer one is at most that long.
    To {
        shorter: f64,
        longer: f64,
    },
}

impl Scale {
    /// Of a picture of these sides; `None`: as the property is set.
    fn factor(self, sides: [f64; 2]) -> Option<f64> {
        let [width, height] = sides;
        match self {
            Self::AsSet => None,
            Self::By(factor) => Some(factor),
            Self::To { shorter, longer } => {
                Some((shorter / width.min(height)).min(longer / width.max(height)))
            }
        }
    }
}

/// Each picture is looked at with each of these.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Look {
    scale: Scale,
    mirrored: bool,
}

/// A pipeline around the element, for one picture after the other.
pub struct Detector {
    pipeline: gst::Pipeline,
    source: AppSrc,
    element: gst::Element,
    sink: AppSink,
    looks: Vec<Look>,
    /// The IoU from which several looks' boxes are one; `None` for one look, where the element
    /// suppresses boxes.
    vote: Option<f64>,
}

impl Detector {
    /// With no `scales`, there is one look at the scale that is set.
    pub fn new(
        properties: &[(String, String)],
        scales: &[Scale],
        flip: bool,
    ) -> Result<Self, Error> {
        let set = |wanted: &str| properties.iter().any(|(name, _)| name == wanted);
        for (option, property) in [(!scales.is_empty(), "scale"), (flip, "orientation")] {
            if option && set(property) {
                return Err(format!(
                    "{property} is set by the options --scales, --sides and --flip"
                )
                .into());
            }
        }
        let defaults = PROPERTIES.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let element = common::properties::detector(&[&defaults, properties].concat())?;

        let scales = if scales.is_empty() { &[Scale::AsSet][..] } else { scales };
        let mirrored: &[bool] = if flip { &[false, true] } else { &[false] };
        let look = |&scale| mirrored.iter().map(move |&mirrored| Look { scale, mirrored });
        let looks: Vec<_> = scales.iter().flat_map(look).collect();
        let vote = (looks.len() > 1).then(|| element.property("iou-threshold"));
        if vote.is_some() {
            // All boxes vote.
            element.set_property("iou-threshold", 1.0);
            element.set_property("max-detections", 100_000u32);
        }

        let pipeline = gst::Pipeline::new();
        let source = AppSrc::builder().format(gst::Format::Time).build();
        let sink = AppSink::builder().sync(false).build();
        pipeline.add_many([source.upcast_ref(), &element, sink.upcast_ref()])?;
        gst::Element::link_many([source.upcast_ref(), &element, sink.upcast_ref()])?;
        common::play(&pipeline)?;
        Ok(Self { pipeline, source, element, sink, looks, vote })
    }

    /// The faces in a picture, by falling score.
    pub fn faces(&self, picture: &Path) -> Result<Vec<Detection>, Error> {
        let place = |err: Error| -> Error { format!("{}: {err}", picture.display()).into() };
        let sample = decode(picture).map_err(place)?;
        let mut found = Vec::new();
        for look in &self.looks {
            found.append(&mut self.look(&sample, *look).map_err(place)?);
        }
        if let Some(iou) = self.vote {
            found = merge::vote(found, iou);
        }
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        Ok(found)
    }

    fn look(&self, sample: &gst::Sample, look: Look) -> Result<Vec<Detection>, Error> {
        let info = gst_video::VideoInfo::from_caps(sample.caps().ok_or("a frame without caps")?)?;
        let sides = [info.width(), info.height()].map(f64::from);
        if let Some(scale) = look.scale.factor(sides) {
            if !SCALES.contains(&scale) {
                let (least, most) = (SCALES.start(), SCALES.end());
                return Err(format!(
                    "would be scaled by {scale:.2}, but the property scale is from {least} to {most}"
                )
                .into());
            }
            self.element.set_property("scale", scale);
        }
        if self.looks.iter().any(|look| look.mirrored) {
            // What the network sees; boxes come back as they are in the picture.
            let orientation = if look.mirrored { "horiz" } else { "identity" };
            self.element.set_property_from_str("orientation", orientation);
        }
        // Where it is not taken, there is an error on the bus.
        let _ = self.source.push_sample(sample);
        let result = next_frame(&self.pipeline, &self.sink)?;
        let buffer = result.buffer().ok_or("no frame")?;
        let last = sides.map(|side| side - 1.0);
        let detection = |face: &face::Face| {
            let mut found = detection(face, look.mirrored);
            if self.vote.is_some() {
                clip(&mut found.bounds, last);
            }
            found
        };
        Ok(meta::faces(buffer).iter().map(detection).collect())
    }
}

impl Drop for Detector {
    fn drop(&mut self) {
        // Nothing to do about it if it fails.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// To the first and last pixels, as InsightFace does before it merges.
fn clip(bounds: &mut Bounds, last: [f64; 2]) {
    for edge in [&mut bounds.x_min, &mut bounds.x_max] {
        *edge = edge.clamp(0.0, last[0]);
    }
    for edge in [&mut bounds.y_min, &mut bounds.y_max] {
        *edge = edge.clamp(0.0, last[1]);
    }
}

fn detection(face: &face::Face, mirrored: bool) -> Detection {
    let bounds = &face.bounds;
    let edges = [bounds.x_min, bounds.y_min, bounds.x_max, bounds.y_max].map(f64::from);
    let points = face.landmarks.map(|landmarks| {
        // The element's left is that of the picture as the network sees it.
        let order = if mirrored { [1, 0, 2, 4, 3] } else { [0, 1, 2, 3, 4] };
        order.map(|index| landmarks.0[index]).map(|Point { x, y }| [f64::from(x), f64::from(y)])
    });
    Detection {
        bounds: Bounds::new(edges[0], edges[1], edges[2], edges[3]),
        score: face.confidence.map_or(1.0, f64::from),
        points,
    }
}

/// A picture's first frame, as BGR, which is what networks were trained on.
fn decode(path: &Path) -> Result<gst::Sample, Error> {
    let uri = glib::filename_to_uri(path.canonicalize()?, None)?;
    let pipeline = gst::Pipeline::new();
    let source = gst::ElementFactory::make("uridecodebin").property("uri", &uri).build()?;
    let convert = gst::ElementFactory::make("videoconvert").build()?;
    let caps = gst_video::VideoCapsBuilder::new().format(gst_video::VideoFormat::Bgr).build();
    let sink = AppSink::builder().caps(&caps).sync(false).build();
    pipeline.add_many([&source, &convert, sink.upcast_ref()])?;
    convert.link(&sink)?;
    let input = convert.static_pad("sink").ok_or("videoconvert has no sink pad")?;
    source.connect_pad_added(move |_, pad| {
        if !input.is_linked() {
            // Where it cannot be linked, the decoder posts an error.
            let _ = pad.link(&input);
        }
    });
    // Where it does not start, there is an error on the bus.
    let _ = pipeline.set_state(gst::State::Playing);
    let sample = next_frame(&pipeline, &sink);
    pipeline.set_state(gst::State::Null)?;
    sample
}

/// Waits for a frame, an error or the end.
fn next_frame(pipeline: &gst::Pipeline, sink: &AppSink) -> Result<gst::Sample, Error> {
    loop {
        if let Some(sample) = sink.try_pull_sample(gst::ClockTime::from_mseconds(100)) {
            return Ok(sample);
        }
        if let Some(err) = common::error(pipeline) {
            return Err(err);
        }
        if sink.is_eos() {
            return Err("no frame comes".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Corners;

    fn astronaut() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/media/astronaut.png")
    }

    fn properties(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// A mirrored look gives the picture's own coordinates: the same box, each point where it was.
    #[test]
    fn a_mirrored_look_finds_the_same_face() {
        common::init().unwrap();
        let scales = [Scale::By(0.5), Scale::AsSet];
        let detector =
            Detector::new(&properties(&[("score-threshold", "0.9")]), &scales, true).unwrap();
        let looks = [(0, false), (0, true), (1, false), (1, true)];
        let looks = looks.map(|(scale, mirrored)| Look { scale: scales[scale], mirrored });
        assert_eq!(detector.looks, looks);
        let sample = decode(&astronaut()).unwrap();
        let found = looks.map(|look| {
            let mut found = detector.look(&sample, look).unwrap();
            // Nothing is suppressed.
            assert!(found.len() > 1, "{found:?}");
            found.sort_by(|a, b| b.score.total_cmp(&a.score));
            found[0]
        });
        let side = found[2].bounds.width();
        for other in &found {
            assert!(Corners::Edges.iou(&found[2].bounds, &other.bounds) > 0.8, "{found:?}");
            for (a, b) in found[2].points.unwrap().iter().zip(other.points.unwrap()) {
                assert!((a[0] - b[0]).hypot(a[1] - b[1]) < 0.1 * side, "{found:?}");
            }
        }
        assert!(found[0] != found[1] && found[2] != found[3]);
        // One face in all of them.
        assert_eq!(detector.faces(&astronaut()).unwrap().len(), 1);
    }

    #[test]
    fn sides_limit_each_other() {
        let to = Scale::To { shorter: 800.0, longer: 1200.0 };
        for (sides, factor) in [([400.0, 500.0], 2.0), ([500.0, 400.0], 2.0), ([400.0, 800.0], 1.5)]
        {
            assert_eq!(to.factor(sides), Some(factor));
        }
        assert_eq!(Scale::AsSet.factor([1.0, 1.0]), None);
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        common::init().unwrap();
        let new = |list: &[(&str, &str)], scales: &[Scale], flip| {
            Detector::new(&properties(list), scales, flip).map(|_| ()).unwrap_err().to_string()
        };
        assert!(new(&[("scale", "2")], &[Scale::By(1.0)], false).starts_with("scale is set by"));
        assert!(new(&[("orientation", "180")], &[], true).starts_with("orientation is set by"));
        let unknown = new(&[("scales", "2")], &[], false);
        assert!(unknown.starts_with("retinafacedetect has no property scales"), "{unknown}");
        assert!(new(&[("model-file", "/missing.onnx")], &[], false).contains("/missing.onnx"));

        let large = [Scale::To { shorter: 5000.0, longer: 5000.0 }];
        let err = Detector::new(&[], &large, false).unwrap().faces(&astronaut()).unwrap_err();
        assert!(
            err.to_string().ends_with("by 9.77, but the property scale is from 0.05 to 4"),
            "{err}"
        );

        let detector = Detector::new(&[], &[], false).unwrap();
        let err = detector.faces(Path::new("missing.png")).unwrap_err().to_string();
        assert!(err.starts_with("missing.png: No such file"), "{err}");
        let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let err = detector.faces(&text).unwrap_err().to_string();
        assert!(err.starts_with(&format!("{}: ", text.display())), "{err}");
        // And goes on.
        assert!(!detector.faces(&astronaut()).unwrap().is_empty());
    }
}
