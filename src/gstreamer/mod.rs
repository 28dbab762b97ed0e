// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faces on buffers and on the bus, and GStreamer's frames as ours.

#[cfg(feature = "analytics")]
mod analytics;
mod fields;
mod frame;
mod message;
mod roi;

pub use frame::{MapError, UnsupportedFormat, with_frame};
pub use message::{Detections, NoDetections};
pub use roi::{attach, faces};
