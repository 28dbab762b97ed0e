// SPDX-License-Identifier: MIT OR Apache-2.0

//! Mapped video frames, and faces as buffer metas and bus messages, read and written.

mod allocation;
mod analytics;
mod bad_frames;
mod color;
mod crop;
mod fields;
mod followed;
mod formats;
mod frame;
mod message;
mod orientation;
mod refusal;
mod roi;
mod time;
mod video;

pub use allocation::{UpstreamPool, add_understood_metas, keep_understood_metas};
pub use analytics::{attach_tracking, other_key_points};
pub use bad_frames::{BadFrame, BadFrames};
pub use color::samples;
pub use crop::{Source, attach_crop, source};
pub use followed::set_followed;
pub use formats::{pad_templates, video_caps};
pub use frame::{
    MapError, UnsupportedVideo, luma_weights, parse_caps, visible_size, with_frame, with_frame_mut,
};
pub use message::{Detections, InvalidMessage};
pub use orientation::OrientationTags;
pub use refusal::explain_refusals;
pub use roi::{attach, attach_all, faces};
pub use time::{live_utc, reference_utc, upstream_latency};
pub use video::{NoSize, Video};
