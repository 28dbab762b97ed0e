// SPDX-License-Identifier: MIT OR Apache-2.0

//! Caps of frames whose pixels nobody reads: of any format, in any memory.

use gst::prelude::*;
use gst_video::VideoCropMeta;

/// What raw video caps say of the frames, whatever they are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Video {
    /// In pixels.
    pub size: (u32, u32),
    /// `None` where the frame rate is variable or unknown.
    pub frame_duration: Option<gst::ClockTime>,
}

/// The caps do not say how large frames are.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("Video without a size cannot be used: its caps are {0}")]
pub struct NoSize(String);

impl Video {
    pub fn from_caps(caps: &gst::CapsRef) -> Result<Self, NoSize> {
        let structure = caps.structure(0).ok_or_else(|| NoSize(caps.to_string()))?;
        let side = |name| {
            let side = structure.get::<i32>(name).ok().and_then(|side| u32::try_from(side).ok());
            side.filter(|side| *side > 0).ok_or_else(|| NoSize(caps.to_string()))
        };
        let rate = structure.get::<gst::Fraction>("framerate").ok();
        Ok(Self {
            size: (side("width")?, side("height")?),
            frame_duration: rate.and_then(|rate| duration(rate.numer(), rate.denom())),
        })
    }

    /// Width and height of the frame in `buffer`, which its `GstVideoCropMeta` may have cut out of a
    /// larger picture.
    pub fn visible_size(&self, buffer: &gst::BufferRef) -> (u32, u32) {
        let crop = buffer.meta::<VideoCropMeta>().map(|meta| meta.rect());
        let visible = crop.map(|(_, _, width, height)| (width, height));
        visible.filter(|(width, height)| *width > 0 && *height > 0).unwrap_or(self.size)
    }
}

/// Of one of `frames` in `seconds`; 0/1 is a variable frame rate.
fn duration(frames: i32, seconds: i32) -> Option<gst::ClockTime> {
    let (frames, seconds) = (u64::try_from(frames).ok()?, u64::try_from(seconds).ok()?);
    let duration = gst::ClockTime::SECOND.mul_div_round(seconds, (frames > 0).then_some(frames)?);
    duration.filter(|duration| !duration.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video(caps: &str) -> Result<Video, NoSize> {
        gst::init().unwrap();
        Video::from_caps(&caps.parse::<gst::Caps>().unwrap())
    }

    #[test]
    fn caps_of_any_format_and_memory() {
        let (size, ms) = ((320, 240), gst::ClockTime::from_mseconds);
        for (caps, frame_duration) in [
            ("video/x-raw,format=BGR,width=320,height=240,framerate=25/1", Some(ms(40))),
            ("video/x-raw(memory:X),format=DMA_DRM,width=320,height=240", None),
            ("video/x-raw,width=320,height=240,framerate=0/1", None),
            ("video/x-raw,width=320,height=240,framerate=1/2", Some(ms(2000))),
            // No time at all.
            ("video/x-raw,width=320,height=240,framerate=2147483647/1", None),
        ] {
            assert_eq!(video(caps), Ok(Video { size, frame_duration }), "{caps}");
        }
    }

    #[test]
    fn caps_without_a_size_are_an_error() {
        for caps in ["video/x-raw,width=320", "video/x-raw,width=0,height=240", "EMPTY"] {
            assert!(video(caps).is_err(), "{caps}");
        }
    }

    #[test]
    fn a_crop_is_what_is_visible() {
        let video = video("video/x-raw,width=320,height=240").unwrap();
        let mut buffer = gst::Buffer::new();
        assert_eq!(video.visible_size(&buffer), (320, 240));
        VideoCropMeta::add(buffer.make_mut(), (10, 20, 100, 50));
        assert_eq!(video.visible_size(&buffer), (100, 50));
    }
}
