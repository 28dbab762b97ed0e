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
    /// Which face of the frames before it is; `None` where nobody follows faces.
    pub tracking: Option<Tracking>,
}

/// What somebody who follows faces from frame to frame knows of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracking {
    /// The same for all frames in which the face is, and for no other face of the stream.
    pub id: u64,
    /// Frames since the first one with the face, which has 0.
    pub age: u64,
    pub state: TrackingState,
}

/// How a followed face's place in a frame is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackingState {
    /// It was detected in this frame.
    Detected,
    /// It was not; the place follows from other frames.
    Held,
}

impl TrackingState {
    pub const ALL: [Self; 2] = [Self::Detected, Self::Held];

    /// Its name in metas and messages.
    pub const fn nick(self) -> &'static str {
        match self {
            Self::Detected => "detected",
            Self::Held => "held",
        }
    }
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
