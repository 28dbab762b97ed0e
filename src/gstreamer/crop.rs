// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where a picture that `retinafacecrop` has cut out comes from.
//!
//! A param of the picture's only region of interest meta, a structure `source`: `frame` (uint64),
//! `pts` (uint64, nanoseconds; missing where the frame has none), `width`, `height` (uints), `x_min`
//! … `y_max` (doubles), `quality`, `sharpness`, `frontality`, `size` (doubles; `frontality` is missing
//! where the face has no landmarks).

use gst_video::VideoRegionOfInterestMeta;

use super::{fields, roi};
use crate::{alignment::Quality, face::Face, geometry::Rect};

/// What a picture of a face was cut out of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Source {
    /// Frames of the stream before it.
    pub frame: u64,
    pub pts: Option<gst::ClockTime>,
    /// The frame's width and height in pixels.
    pub size: (u32, u32),
    /// The face's box in the frame, in pixels; may reach beyond it.
    pub bounds: Rect,
    pub quality: Quality,
}

/// Attaches to a picture of `size` × `size` pixels the face that is all of it, and where it comes from.
pub fn attach_crop(buffer: &mut gst::BufferRef, face: &Face, size: u32, source: &Source) {
    roi::attach(buffer, face, size, size);
    if let Some(mut meta) = buffer.meta_mut::<VideoRegionOfInterestMeta>() {
        meta.add_param(to_structure(source));
    }
}

/// Where the picture of a face in `buffer` comes from; `None` unless `retinafacecrop` has cut it out.
pub fn source(buffer: &gst::BufferRef) -> Option<Source> {
    roi::first_param(buffer, c"source", from_structure)
}

fn to_structure(source: &Source) -> gst::Structure {
    let Quality { sharpness, frontality, size } = source.quality;
    let mut structure = gst::Structure::builder("source")
        .field("frame", source.frame)
        .field_if_some("pts", source.pts.map(gst::ClockTime::nseconds))
        .field("width", source.size.0)
        .field("height", source.size.1)
        .field("quality", f64::from(source.quality.value()))
        .field("sharpness", f64::from(sharpness))
        .field_if_some("frontality", frontality.map(f64::from))
        .field("size", f64::from(size))
        .build();
    fields::set_bounds(&mut structure, &source.bounds);
    structure
}

fn from_structure(structure: &gst::StructureRef) -> Option<Source> {
    Some(Source {
        frame: structure.get("frame").ok()?,
        pts: structure.get("pts").ok().map(gst::ClockTime::from_nseconds),
        size: (structure.get("width").ok()?, structure.get("height").ok()?),
        bounds: fields::bounds(structure)?,
        quality: Quality {
            sharpness: fields::number(structure, "sharpness")?,
            frontality: fields::number(structure, "frontality"),
            size: fields::number(structure, "size")?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_read_as_they_were_attached() {
        gst::init().unwrap();
        let quality = Quality { sharpness: 0.5, frontality: Some(0.25), size: 1.0 };
        let source_of_all = Source {
            frame: 1 << 40,
            pts: Some(gst::ClockTime::from_mseconds(1500)),
            size: (1920, 1080),
            bounds: Rect::new(-1.5, 2.0, 30.5, 40.0),
            quality,
        };
        let quality = Quality { frontality: None, ..quality };
        let least = Source { pts: None, quality, ..source_of_all };
        for expected in [source_of_all, least] {
            let face = Face { bounds: Rect::new(0.0, 0.0, 112.0, 112.0), ..Face::default() };
            let mut buffer = gst::Buffer::new();
            assert_eq!(source(&buffer), None);
            attach_crop(buffer.make_mut(), &face, 112, &expected);
            assert_eq!(source(&buffer), Some(expected));
            assert_eq!(roi::faces(&buffer), [face]);
        }
    }

    #[test]
    fn the_quality_is_the_product() {
        gst::init().unwrap();
        let quality = Quality { sharpness: 0.5, frontality: Some(0.25), size: 0.5 };
        let source = Source { frame: 0, pts: None, size: (4, 3), bounds: Rect::default(), quality };
        let structure = to_structure(&source);
        assert_eq!(structure.get::<f64>("quality"), Ok(0.0625));
        assert_eq!(structure.get::<u32>("width"), Ok(4));
        assert!(!structure.has_field("pts"));
    }
}
