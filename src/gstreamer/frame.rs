// SPDX-License-Identifier: MIT OR Apache-2.0

//! GStreamer's description of raw video to ours.

use gst_video::{VideoColorMatrix, VideoColorRange, VideoInfo, VideoMeta};

use crate::frame::{Chroma, Colour, Component, Frame, FrameError, Layout, Luma, Plane};

/// The format is not 8 bit RGB, gray or YUV.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("cannot read {0:?} frames: only 8 bit RGB, gray and YUV formats")]
pub struct UnsupportedFormat(gst_video::VideoFormat);

impl TryFrom<&VideoInfo> for Layout {
    type Error = UnsupportedFormat;

    fn try_from(info: &VideoInfo) -> Result<Self, UnsupportedFormat> {
        let format = info.format_info();
        let unsupported = UnsupportedFormat(info.format());
        if format.n_components() == 0 || format.depth().iter().any(|&bits| bits != 8) {
            return Err(unsupported);
        }
        let component = |index: usize| Component {
            plane: format.plane()[index] as usize,
            offset: format.poffset()[index] as usize,
            step: format.pixel_stride()[index] as usize,
            x_shift: format.w_sub()[index],
            y_shift: format.h_sub()[index],
        };
        let colorimetry = info.colorimetry();
        let full_range = colorimetry.range() == VideoColorRange::Range0_255;
        let (components, colour) = if format.is_rgb() {
            ([0, 1, 2].map(component), Colour::Rgb)
        } else if format.is_gray() {
            ([0, 0, 0].map(component), Colour::Gray(Luma::new(full_range)))
        } else if format.is_yuv() {
            let (kr, kb) = luma_weights(colorimetry.matrix());
            let chroma = Chroma::new(kr, kb, full_range);
            ([0, 1, 2].map(component), Colour::Yuv(Luma::new(full_range), chroma))
        } else {
            return Err(unsupported);
        };
        Ok(Self { components, colour })
    }
}

/// Kr and Kb, as gst_video_color_matrix_get_Kr_Kb(); BT.601 for what has none.
fn luma_weights(matrix: VideoColorMatrix) -> (f32, f32) {
    match matrix {
        VideoColorMatrix::Fcc => (0.30, 0.11),
        VideoColorMatrix::Bt709 => (0.2126, 0.0722),
        VideoColorMatrix::Smpte240m => (0.212, 0.087),
        VideoColorMatrix::Bt2020 => (0.2627, 0.0593),
        _ => (0.299, 0.114),
    }
}

/// A buffer does not hold the frame that its caps promise.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MapError {
    #[error("the buffer's memory cannot be read: {0}")]
    Unreadable(#[from] glib::BoolError),
    #[error("plane {plane} has a stride of {stride} bytes; rows must follow from top to bottom")]
    Stride { plane: usize, stride: i32 },
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Calls `read` with the frame in `buffer`, in place: strides and offsets come from its
/// `GstVideoMeta`, or from `info` where it has none.
pub fn with_frame<R>(
    buffer: &gst::BufferRef,
    info: &VideoInfo,
    layout: Layout,
    read: impl FnOnce(&Frame) -> R,
) -> Result<R, MapError> {
    let meta = buffer.meta::<VideoMeta>();
    let (offsets, strides) = match &meta {
        Some(meta) => (meta.offset(), meta.stride()),
        None => (info.offset(), info.stride()),
    };
    let maps = map_planes(buffer, offsets)?;
    let mut planes = [Plane::default(); 3];
    for (index, (&offset, &stride)) in offsets.iter().zip(strides).take(planes.len()).enumerate() {
        let (map, start) = match &maps {
            Maps::Whole(map) => (map.as_slice(), offset),
            Maps::Planes(maps) => match &maps[index] {
                Some((map, start)) => (map.as_slice(), *start),
                None => continue,
            },
        };
        planes[index] = Plane {
            data: map.get(start..).unwrap_or_default(),
            stride: usize::try_from(stride)
                .map_err(|_| MapError::Stride { plane: index, stride })?,
        };
    }
    Ok(read(&Frame::new(layout, info.width(), info.height(), planes)?))
}

#[expect(clippy::large_enum_variant, reason = "lives on the stack for one call")]
enum Maps<'a> {
    Whole(gst::BufferMap<'a, gst::buffer::Readable>),
    /// With where in the memory the plane begins.
    Planes([Option<(gst::MemoryMap<'a, gst::memory::Readable>, usize)>; 3]),
}

/// Mapping a buffer of several memories as a whole would copy them into one, so where each plane
/// has one of its own they are mapped one by one.
fn map_planes<'a>(
    buffer: &'a gst::BufferRef,
    offsets: &[usize],
) -> Result<Maps<'a>, glib::BoolError> {
    if buffer.n_memory() != offsets.len() || offsets.len() < 2 {
        return Ok(Maps::Whole(buffer.map_readable()?));
    }
    let mut maps = [None, None, None];
    for (map, &offset) in maps.iter_mut().zip(offsets) {
        let Some((memories, start)) = buffer.find_memory(offset..) else { continue };
        *map = Some((buffer.peek_memory(memories.start).map_readable()?, start));
    }
    Ok(Maps::Planes(maps))
}
