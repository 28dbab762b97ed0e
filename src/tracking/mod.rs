// SPDX-License-Identifier: MIT OR Apache-2.0

//! Follows faces from frame to frame: which detection is which face of the frames before, and where
//! the faces are that were not detected.
//!
//! Detections are assigned as ByteTrack (Zhang et al., arXiv:2110.06864) does it: first those with
//! good scores to the faces that are followed, by the overlap (IoU) of their boxes with where a Kalman
//! filter expects these; then weak ones, which may continue a face but not start one, to what is left. Good
//! ones that are left may still be faces that moved faster than expected, and are compared again with
//! boxes that are grown, as in C-BIoU (Yang et al., arXiv:2211.14317). The rest start new faces.

mod motion;
mod track;
mod tracker;

#[cfg(test)]
mod tests;

pub use tracker::{Placed, Settings, Tracker};
