// SPDX-License-Identifier: MIT OR Apache-2.0

//! Caps of frames whose pixels nobody reads: of any format, in any memory.

use gst::prelude::*;
use gst_video::VideoCropMeta;

/// What raw video caps say of the frames, whatever they are made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Video {
    /// In pixels.
    pub size: (u32, u32),
    /// `None` where the frame rate is variable or unknown.
    pub frame_duration: Option<gst::ClockTime>,
    /// Width divided by height of the picture as it is shown.
    pub aspect: f64,
    /// Whether the frames are in memory that any element can read.
    pub in_system_memory: bool,
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
        let size = (side("width")?, side("height")?);
        let rate = structure.get::<gst::Fraction>("framerate").ok();
        let pixel = structure.get::<gst::Fraction>("pixel-aspect-ratio").ok();
        let pixel = pixel.filter(|pixel| pixel.numer() > 0 && pixel.denom() > 0);
        let pixel = pixel.map_or(1.0, |pixel| f64::from(pixel.numer()) / f64::from(pixel.denom()));
        Ok(Self {
            size,
            frame_duration: rate.and_then(|rate| duration(rate.numer(), rate.denom())),
            aspect: pixel * f64::from(size.0) / f64::from(size.1),
            in_system_memory: caps.features(0).is_none_or(is_system_memory),
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

fn is_system_memory(features: &gst::CapsFeaturesRef) -> bool {
    let mut memories = features.iter().filter(|feature| feature.starts_with("memory:"));
    memories.all(|memory| memory == gst::CAPS_FEATURE_MEMORY_SYSTEM_MEMORY)
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
        let ms = gst::ClockTime::from_mseconds;
        for (caps, frame_duration) in [
            ("video/x-raw,format=BGR,width=320,height=240,framerate=25/1", Some(ms(40))),
            ("video/x-raw(memory:X),format=DMA_DRM,width=320,height=240", None),
            ("video/x-raw,width=320,height=240,framerate=0/1", None),
            ("video/x-raw,width=320,height=240,framerate=1/2", Some(ms(2000))),
            // No time at all.
            ("video/x-raw,width=320,height=240,framerate=2147483647/1", None),
        ] {
            let video = video(caps).unwrap();
            assert_eq!((video.size, video.frame_duration), ((320, 240), frame_duration), "{caps}");
        }
    }

    #[test]
    fn pixels_need_not_be_square() {
        for (pixel, aspect) in [("1/1", 2.0), ("3/2", 3.0), ("0/1", 2.0)] {
            let caps = format!("video/x-raw,width=320,height=160,pixel-aspect-ratio={pixel}");
            assert_eq!(video(&caps).unwrap().aspect, aspect, "{pixel}");
        }
    }

    #[test]
    fn other_features_than_memory_say_nothing_about_it() {
        for (features, expected) in [
            ("", true),
            ("(memory:SystemMemory)", true),
            ("(meta:VideoOverlayComposition)", true),
            ("(memory:SystemMemory, meta:X)", true),
            ("(memory:NVMM)", false),
            ("(memory:GLMemory, meta:X)", false),
        ] {
            let video = video(&format!("video/x-raw{features},width=320,height=240")).unwrap();
            assert_eq!(video.in_system_memory, expected, "{features}");
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
