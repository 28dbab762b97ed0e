// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a detector finds.

use crate::geometry::{Point, Rect};

/// Five points of a face, in the order of [`Landmarks::NAMES`]. Left and right are those of the
/// upright picture, not the person's: in a frame that is stored turned or mirrored, the left eye is
/// the one that is on the left when the picture is shown as it should be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Landmarks(pub [Point; 5]);

impl Landmarks {
    pub const NAMES: [&str; 5] = ["left_eye", "right_eye", "nose", "mouth_left", "mouth_right"];
}

/// A face in a frame, in the frame's pixels. Nothing is clipped: a face cut off by the frame's edge
/// reaches beyond it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Face {
    pub bounds: Rect,
    /// `None` where the network, or whoever attached the meta, gives none.
    pub landmarks: Option<Landmarks>,
    /// From 0 to 1; `None` where whoever attached the meta gives none. Always there for faces
    /// that `retinafacedetect` found.
    pub confidence: Option<f32>,
}

impl Face {
    /// Whether every number of it is finite.
    pub fn is_finite(&self) -> bool {
        let points = self.landmarks.iter().flat_map(|landmarks| &landmarks.0);
        self.bounds.is_finite()
            && self.confidence.is_none_or(f32::is_finite)
            && points.into_iter().all(|point| point.x.is_finite() && point.y.is_finite())
    }
}
