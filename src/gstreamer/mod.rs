// SPDX-License-Identifier: MIT OR Apache-2.0

//! Mapped video frames, and faces as buffer metas and bus messages, read and written.

#[cfg(feature = "analytics")]
mod analytics;
mod fields;
mod frame;
mod message;
mod roi;

pub use frame::{MapError, UnsupportedFormat, luma_weights, with_frame, with_frame_mut};
pub use message::{Detections, InvalidMessage};
pub use roi::{attach, faces};
