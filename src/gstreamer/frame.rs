// SPDX-License-Identifier: MIT OR Apache-2.0

//! Mapped video buffers as frames, to read or to draw on.

use std::array;

use gst::prelude::*;
use gst_video::{
    VideoColorRange, VideoCropMeta, VideoFormat, VideoFormatFlags, VideoFormatInfo, VideoInfo,
    VideoInterlaceMode, VideoMeta,
};

use crate::frame::{
    Chroma, Colour, Component, Frame, FrameError, FrameMut, Layout, Luma, PLANES, Plane, PlaneMut,
    Storage, Window,
};

/// Kr and Kb of ITU-R BT.601, for caps that leave the matrix open.
const BT601: (f64, f64) = (0.299, 0.114);

/// Video whose frames cannot be read as one picture of samples that are bytes or words of two.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnsupportedVideo {
    #[error(
        "frames of the format {0} cannot be read in place: put videoconvert before this element"
    )]
    Format(VideoFormat),
    #[error("not raw video: {0}")]
    Caps(gst::Caps),
    #[error(
        "the video has several views in planes of their own (multiview-mode=separated), of which only \
         the first would be seen: put glviewconvert before this element"
    )]
    Views,
    #[error(
        "a buffer of the video holds the lines of single fields (interlace-mode={0}): put deinterlace \
         before this element"
    )]
    Fields(&'static glib::GStr),
}

/// What caps say about frames.
pub fn parse_caps(caps: &gst::CapsRef) -> Result<(VideoInfo, Layout), UnsupportedVideo> {
    let info = VideoInfo::from_caps(caps).map_err(|_| UnsupportedVideo::Caps(caps.to_owned()))?;
    let views = caps.structure(0).and_then(|caps| caps.value("multiview-mode").ok());
    // Escaped, so that it is text whatever bytes are in it.
    let views = views.and_then(|views| views.serialize().ok());
    if views.is_some_and(|views| views == "separated") {
        return Err(UnsupportedVideo::Views);
    }
    match info.interlace_mode() {
        VideoInterlaceMode::Progressive
        | VideoInterlaceMode::Interleaved
        | VideoInterlaceMode::Mixed => (),
        fields => return Err(UnsupportedVideo::Fields(fields.to_str())),
    }
    let layout = Layout::try_from(&info)?;
    Ok((info, layout))
}

impl TryFrom<&VideoInfo> for Layout {
    type Error = UnsupportedVideo;

    fn try_from(info: &VideoInfo) -> Result<Self, UnsupportedVideo> {
        let format = info.format_info();
        let unsupported = UnsupportedVideo::Format(info.format());
        let count = format.n_components() as usize;
        let component = |index| component(&format, index).ok_or_else(|| unsupported.clone());
        let colours = |indices: [usize; 3]| -> Result<[Component; 3], UnsupportedVideo> {
            let [a, b, c] = indices.map(component);
            Ok([a?, b?, c?])
        };
        if count == 0 || (3..count).any(|alpha| component(alpha).is_err()) {
            return Err(unsupported);
        }
        let full_range = info.colorimetry().range() == VideoColorRange::Range0_255;
        let (components, colour) = if format.is_rgb() {
            (colours([0, 1, 2])?, Colour::Rgb)
        } else if format.is_gray() {
            (colours([0, 0, 0])?, Colour::Gray(Luma::new(full_range)))
        } else if format.is_yuv() {
            let (kr, kb) = luma_weights(info);
            let chroma = Chroma::new(kr as f32, kb as f32, full_range);
            (colours([0, 1, 2])?, Colour::Yuv(Luma::new(full_range), chroma))
        } else {
            return Err(unsupported);
        };
        Ok(Self { components, colour })
    }
}

/// `None` where the samples of a component are not bytes or words of their own, in the order of the
/// pixels.
fn component(format: &VideoFormatInfo, index: usize) -> Option<Component> {
    let flags = format.flags();
    let scattered = VideoFormatFlags::COMPLEX | VideoFormatFlags::PALETTE | VideoFormatFlags::TILED;
    if flags.intersects(scattered) {
        return None;
    }
    let (depth, shift) = (*format.depth().get(index)?, format.shift()[index]);
    let step = usize::try_from(format.pixel_stride()[index]).ok()?;
    let storage = match (depth, shift) {
        (8, 0) => Storage::Byte,
        (9..=16, shift) if depth + shift <= 16 => {
            let big_endian = !flags.contains(VideoFormatFlags::LE);
            Storage::Word { depth, shift, big_endian }
        }
        _ => return None,
    };
    let offset = format.poffset()[index] as usize;
    let offset = match storage {
        Storage::Byte => offset,
        // GStreamer 1.22 and others say that V of P010_10LE is at byte 1.
        Storage::Word { .. } => offset.next_multiple_of(2),
    };
    let component = Component {
        plane: format.plane()[index] as usize,
        offset,
        step,
        x_shift: format.w_sub()[index],
        y_shift: format.h_sub()[index],
        storage,
    };
    // What is made of two bytes is made of rows of nothing else.
    let rows_of_words = step == 2 && matches!(storage, Storage::Word { big_endian: false, .. });
    let planes = if index < 3 { 3 } else { PLANES };
    let readable = component.high_byte().is_some() || rows_of_words;
    (readable && component.plane < planes).then_some(component)
}

/// Kr and Kb, the shares of red and blue in luma.
pub fn luma_weights(info: &VideoInfo) -> (f64, f64) {
    info.colorimetry().matrix().kr_kb().unwrap_or(BT601)
}

/// A buffer does not hold the frame that its caps promise.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MapError {
    #[error("cannot map the buffer's memory: {0}")]
    Memory(#[from] glib::BoolError),
    #[error("the buffer's video meta describes {meta}, its caps {caps}")]
    Meta { meta: String, caps: String },
    #[error(
        "the buffer's crop meta cuts {} × {} pixels at {}, {} out of a picture of {} × {}",
        .window.width, .window.height, .window.x, .window.y, .picture.0, .picture.1
    )]
    Crop { window: Window, picture: (u32, u32) },
    #[error("plane {plane} has rows of {row} bytes, but a stride of {stride}")]
    Stride { plane: usize, stride: i32, row: usize },
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Width and height of the frame in `buffer`, which its `GstVideoCropMeta` may have cut out of a
/// larger picture; those of the caps where that is impossible, for the frame to be refused when it
/// is mapped.
pub fn visible_size(buffer: &gst::BufferRef, info: &VideoInfo) -> (u32, u32) {
    let window = window(buffer, info);
    let picture = picture_size(video_meta(buffer).as_deref(), info);
    if window.width == 0 || window.height == 0 || !window.fits(picture) {
        return (info.width(), info.height());
    }
    (window.width, window.height)
}

/// Of several metas GStreamer takes that with the lowest id.
fn video_meta(buffer: &gst::BufferRef) -> Option<gst::MetaRef<'_, VideoMeta>> {
    buffer.iter_meta::<VideoMeta>().min_by_key(|meta| meta.id())
}

/// Width and height of what the planes hold.
fn picture_size(meta: Option<&VideoMeta>, info: &VideoInfo) -> (u32, u32) {
    meta.map_or((info.width(), info.height()), |meta| (meta.width(), meta.height()))
}

fn window(buffer: &gst::BufferRef, info: &VideoInfo) -> Window {
    match buffer.meta::<VideoCropMeta>() {
        Some(meta) => {
            let (x, y, width, height) = meta.rect();
            Window { x, y, width, height }
        }
        None => Window::whole(info.width(), info.height()),
    }
}

/// Calls `read` with the frame in `buffer`, in place: strides and offsets come from its
/// `GstVideoMeta`, or from `info` where it has none.
pub fn with_frame<R>(
    buffer: &gst::BufferRef,
    info: &VideoInfo,
    layout: Layout,
    read: impl FnOnce(&Frame) -> R,
) -> Result<R, MapError> {
    let window = window(buffer, info);
    let (memories, places) = locate(buffer, info, &layout, &window)?;
    let mut maps = [const { None }; PLANES];
    match memories {
        Memories::One => maps[0] = Some(buffer.map_readable()?),
        Memories::PerPlane(count) => {
            for (index, map) in maps.iter_mut().enumerate().take(count) {
                *map = Some(buffer.map_range_readable(index..=index)?);
            }
        }
    }
    let [a, b, c, _alpha] = places;
    let planes = [a, b, c].map(|PlaneMut { memory, offset, stride }| {
        let data = maps[memory].as_ref().and_then(|map| map.get(offset..));
        Plane { data: data.unwrap_or_default(), stride }
    });
    Ok(read(&Frame::new(layout, window, planes)?))
}

/// Calls `write` with the frame in `buffer`, in place; memory that others hold too is copied first.
pub fn with_frame_mut<R>(
    buffer: &mut gst::BufferRef,
    info: &VideoInfo,
    layout: Layout,
    write: impl FnOnce(FrameMut) -> R,
) -> Result<R, MapError> {
    let format = info.format_info();
    let alpha = if format.has_alpha() { component(&format, 3) } else { None };
    let window = window(buffer, info);
    let (memories, planes) = locate(buffer, info, &layout, &window)?;
    let frame = |memories| FrameMut::new(layout, alpha, window, memories, planes);
    match memories {
        Memories::One => {
            let mut map = buffer.map_writable()?;
            Ok(write(frame([&mut map, &mut [], &mut [], &mut []])?))
        }
        Memories::PerPlane(count) => {
            for index in 0..count {
                // Puts a copy in the place of a memory that cannot be written.
                buffer.map_range_writable(index..=index)?;
            }
            let mut memories = buffer.iter_memories_mut()?;
            let mut maps = [const { None }; PLANES];
            for (map, memory) in maps.iter_mut().zip(&mut memories) {
                *map = Some(memory.map_writable()?);
            }
            let [a, b, c, d] = &mut maps;
            let slices = [a, b, c, d].map(|map| map.as_deref_mut().unwrap_or_default());
            Ok(write(frame(slices)?))
        }
    }
}

/// How a buffer's memories are mapped.
enum Memories {
    /// As one; several would be copied together.
    One,
    /// One by one, where each of so many planes has a memory of its own.
    PerPlane(usize),
}

/// Where the planes of the frame in `buffer` begin. Whether they end inside its memory is for the
/// frame to check.
fn locate(
    buffer: &gst::BufferRef,
    info: &VideoInfo,
    layout: &Layout,
    window: &Window,
) -> Result<(Memories, [PlaneMut; PLANES]), MapError> {
    let meta = video_meta(buffer);
    let (offsets, strides) = match &meta {
        Some(meta) => {
            check_meta(meta, info)?;
            (meta.offset(), meta.stride())
        }
        None => (info.offset(), info.stride()),
    };
    let picture = picture_size(meta.as_deref(), info);
    let (width, height) = window.extent();
    if !window.fits(picture) {
        return Err(match buffer.meta::<VideoCropMeta>() {
            Some(_) => MapError::Crop { window: *window, picture },
            None => MapError::Meta {
                meta: describe(info.format(), picture.0, picture.1, info.n_planes()),
                caps: describe(info.format(), width, height, info.n_planes()),
            },
        });
    }
    for component in &layout.components {
        let (plane, row) = (component.plane, component.row_bytes(width));
        let stride = strides[plane];
        if usize::try_from(stride).ok().is_none_or(|stride| stride < row) {
            return Err(MapError::Stride { plane, stride, row });
        }
    }
    let count = buffer.n_memory();
    let per_plane = count == offsets.len() && (2..=PLANES).contains(&count);
    let planes = array::from_fn(|plane| {
        let offset = offsets.get(plane).copied().unwrap_or_default();
        let stride = strides.get(plane).map_or(0, |&stride| stride.unsigned_abs() as usize);
        let (memory, offset) = match buffer.find_memory(offset..).filter(|_| per_plane) {
            Some((memories, skip)) => (memories.start, skip),
            None => (0, offset),
        };
        PlaneMut { memory, offset, stride }
    });
    let memories = if per_plane { Memories::PerPlane(count) } else { Memories::One };
    Ok((memories, planes))
}

/// What gst_video_frame_map() demands of a meta, beside its size. One with more planes than it has
/// room for must not get further, as its strides cannot be read.
fn check_meta(meta: &VideoMeta, info: &VideoInfo) -> Result<(), MapError> {
    if meta.format() == info.format() && meta.n_planes() == info.n_planes() {
        return Ok(());
    }
    Err(MapError::Meta {
        meta: describe(meta.format(), meta.width(), meta.height(), meta.n_planes()),
        caps: describe(info.format(), info.width(), info.height(), info.n_planes()),
    })
}

/// The format not by its name in GStreamer: for a number that is none the binding of that panics.
fn describe(format: VideoFormat, width: u32, height: u32, planes: u32) -> String {
    format!("{width}×{height} pixels of {format:?} in {planes} planes")
}

#[cfg(test)]
mod tests {
    use glib::translate::IntoGlib;
    use gst_video::{VideoColorMatrix, VideoFrameFlags};
    use proptest::prelude::*;

    use super::*;

    fn info(format: VideoFormat, width: u32, height: u32) -> VideoInfo {
        gst::init().unwrap();
        VideoInfo::builder(format, width, height).build().unwrap()
    }

    /// A buffer with these memories.
    fn buffer(memories: &[Vec<u8>]) -> gst::Buffer {
        let mut buffer = gst::Buffer::new();
        for memory in memories {
            buffer.make_mut().append_memory(gst::Memory::from_mut_slice(memory.clone()));
        }
        buffer
    }

    fn add_meta(buffer: &mut gst::Buffer, info: &VideoInfo, offsets: &[usize], strides: &[i32]) {
        VideoMeta::add_full(
            buffer.make_mut(),
            VideoFrameFlags::empty(),
            info.format(),
            info.width(),
            info.height(),
            offsets,
            strides,
        )
        .unwrap();
    }

    /// The bytes of every sample of the frame, one component after the other, row by row.
    fn samples(buffer: &gst::Buffer, info: &VideoInfo) -> Result<Vec<u8>, MapError> {
        let layout = Layout::try_from(info).unwrap();
        with_frame(buffer, info, layout, |frame| {
            let mut samples = Vec::new();
            for component in layout.distinct() {
                for y in 0..=(info.height() - 1) >> component.y_shift {
                    let row = frame.row(component, y as usize);
                    let last = (info.width() - 1) >> component.x_shift;
                    let bytes = if component.storage == Storage::Byte { 1 } else { 2 };
                    samples.extend(
                        (0..=last as usize).flat_map(|x| &row[x * component.step..][..bytes]),
                    );
                }
            }
            samples
        })
    }

    /// Sets every sample of the frame, alpha too, to bytes of `value`.
    fn fill(buffer: &mut gst::Buffer, info: &VideoInfo, value: u8) -> Result<(), MapError> {
        let layout = Layout::try_from(info).unwrap();
        with_frame_mut(buffer.make_mut(), info, layout, |mut frame| {
            let alpha = frame.alpha();
            for component in layout.distinct().iter().chain(&alpha) {
                for y in 0..=(info.height() - 1) >> component.y_shift {
                    for x in 0..=(info.width() - 1) >> component.x_shift {
                        let sample = (u32::from(value) * 0x101) & component.storage.max();
                        frame.write(component, x as usize, y as usize, sample);
                    }
                }
            }
        })
    }

    fn bytes(buffer: &gst::Buffer) -> Vec<u8> {
        buffer.map_readable().unwrap().to_vec()
    }

    /// As in GStreamer's list of raw video formats.
    #[test]
    fn components_are_where_the_formats_have_them() {
        let at = |plane, offset, step, x_shift, y_shift| Component {
            plane,
            offset,
            step,
            x_shift,
            y_shift,
            storage: Storage::Byte,
        };
        for (format, components) in [
            (VideoFormat::Bgr, [at(0, 2, 3, 0, 0), at(0, 1, 3, 0, 0), at(0, 0, 3, 0, 0)]),
            (VideoFormat::Xrgb, [at(0, 1, 4, 0, 0), at(0, 2, 4, 0, 0), at(0, 3, 4, 0, 0)]),
            (VideoFormat::Gray8, [at(0, 0, 1, 0, 0); 3]),
            (VideoFormat::Nv12, [at(0, 0, 1, 0, 0), at(1, 0, 2, 1, 1), at(1, 1, 2, 1, 1)]),
            (VideoFormat::Nv21, [at(0, 0, 1, 0, 0), at(1, 1, 2, 1, 1), at(1, 0, 2, 1, 1)]),
            (VideoFormat::I420, [at(0, 0, 1, 0, 0), at(1, 0, 1, 1, 1), at(2, 0, 1, 1, 1)]),
            (VideoFormat::Yv12, [at(0, 0, 1, 0, 0), at(2, 0, 1, 1, 1), at(1, 0, 1, 1, 1)]),
            (VideoFormat::Yuy2, [at(0, 0, 2, 0, 0), at(0, 1, 4, 1, 0), at(0, 3, 4, 1, 0)]),
            (VideoFormat::Uyvy, [at(0, 1, 2, 0, 0), at(0, 0, 4, 1, 0), at(0, 2, 4, 1, 0)]),
        ] {
            let layout = Layout::try_from(&info(format, 8, 8)).unwrap();
            assert_eq!(layout.components, components, "{format}");
        }
    }

    /// As in GStreamer's list of raw video formats.
    #[test]
    fn longer_samples_are_words() {
        let at = |plane, offset, step, (x_shift, y_shift), (depth, shift)| Component {
            plane,
            offset,
            step,
            x_shift,
            y_shift,
            storage: Storage::Word { depth, shift, big_endian: false },
        };
        let (whole, half, quarter) = ((0, 0), (1, 0), (1, 1));
        for (format, components) in [
            (
                VideoFormat::P01010le,
                [(0, 0, 2, whole), (1, 0, 4, quarter), (1, 2, 4, quarter)]
                    .map(|(plane, offset, step, sub)| at(plane, offset, step, sub, (10, 6))),
            ),
            (
                VideoFormat::I42010le,
                [(0, whole), (1, quarter), (2, quarter)]
                    .map(|(plane, sub)| at(plane, 0, 2, sub, (10, 0))),
            ),
            (
                VideoFormat::I42212le,
                [(0, whole), (1, half), (2, half)]
                    .map(|(plane, sub)| at(plane, 0, 2, sub, (12, 0))),
            ),
            (VideoFormat::Gbr10le, [2, 0, 1].map(|plane| at(plane, 0, 2, whole, (10, 0)))),
            (VideoFormat::Gray16Le, [at(0, 0, 2, whole, (16, 0)); 3]),
        ] {
            let layout = Layout::try_from(&info(format, 8, 8)).unwrap();
            assert_eq!(layout.components, components, "{format}");
        }
        let layout = Layout::try_from(&info(VideoFormat::Gray16Be, 8, 8)).unwrap();
        let storage = Storage::Word { depth: 16, shift: 0, big_endian: true };
        assert_eq!(layout.components[0].storage, storage);
    }

    #[test]
    fn formats_without_bytes_or_words_of_their_own_for_each_sample_are_refused() {
        for format in [
            VideoFormat::Rgb16,
            VideoFormat::Rgb8p,
            VideoFormat::V210,
            VideoFormat::R210,
            VideoFormat::Uyvp,
            VideoFormat::Nv1264z32,
            VideoFormat::Nv1210le32,
            VideoFormat::Gray10Le32,
            VideoFormat::I42010be,
            VideoFormat::Encoded,
        ] {
            let info = gst_video::VideoInfo::builder(format, 64, 64).build();
            let layout = info.as_ref().map(Layout::try_from);
            assert!(!matches!(layout, Ok(Ok(_))), "{format}");
        }
    }

    #[test]
    fn luma_weights_are_those_of_the_standards() {
        for (matrix, weights) in [
            (VideoColorMatrix::Bt601, (0.299, 0.114)),
            (VideoColorMatrix::Bt709, (0.2126, 0.0722)),
            (VideoColorMatrix::Bt2020, (0.2627, 0.0593)),
            (VideoColorMatrix::Smpte240m, (0.212, 0.087)),
            (VideoColorMatrix::Fcc, (0.30, 0.11)),
            (VideoColorMatrix::Unknown, (0.299, 0.114)),
        ] {
            let colorimetry = gst_video::VideoColorimetry::new(
                VideoColorRange::Range16_235,
                matrix,
                gst_video::VideoTransferFunction::Bt709,
                gst_video::VideoColorPrimaries::Bt709,
            );
            gst::init().unwrap();
            let info = VideoInfo::builder(VideoFormat::Nv12, 8, 8).colorimetry(&colorimetry);
            assert_eq!(luma_weights(&info.build().unwrap()), weights, "{matrix:?}");
        }
    }

    /// As only elements in C can make them.
    #[test]
    fn metas_that_break_the_rules_are_refused() {
        let info = info(VideoFormat::Nv12, 4, 4);
        for (format, n_planes) in [
            (VideoFormat::Nv12, 0),
            (VideoFormat::Nv12, 5),
            (VideoFormat::Nv12, u32::MAX),
            (VideoFormat::Unknown, 2),
            (VideoFormat::Encoded, 0),
            (VideoFormat::__Unknown(9999), 2),
            (VideoFormat::__Unknown(-1), u32::MAX),
        ] {
            let mut buffer = buffer(&[vec![0; 24]]);
            add_meta(&mut buffer, &info, &[0, 16], &[4, 4]);
            assert!(samples(&buffer, &info).is_ok());
            // SAFETY: nobody else has the buffer, and it has a meta.
            unsafe {
                let buffer = buffer.make_mut().as_mut_ptr();
                let meta = gst_video::ffi::gst_buffer_get_video_meta(buffer);
                (*meta).format = format.into_glib();
                (*meta).n_planes = n_planes;
            }
            let read = samples(&buffer, &info);
            assert!(matches!(read, Err(MapError::Meta { .. })), "{format:?}, {n_planes}: {read:?}");
            assert!(fill(&mut buffer, &info, 7).is_err());
        }
    }

    /// 4×3 gray pixels at offset 5 and stride 8: the last one is byte 5 + 2·8 + 3 = 24.
    #[test]
    fn a_frame_may_end_with_its_last_sample() {
        let info = info(VideoFormat::Gray8, 4, 3);
        let sized = |size| {
            let mut buffer = buffer(&[(0..size).collect()]);
            add_meta(&mut buffer, &info, &[5], &[8]);
            buffer
        };
        let expected = [5, 6, 7, 8, 13, 14, 15, 16, 21, 22, 23, 24];
        for size in [25, 26] {
            let mut whole = sized(size);
            assert_eq!(samples(&whole, &info).unwrap(), expected);
            fill(&mut whole, &info, 99).unwrap();
            let written = |index| if expected.contains(&index) { 99 } else { index };
            assert_eq!(bytes(&whole), (0..size).map(written).collect::<Vec<_>>());
        }
        let mut short = sized(24);
        for error in [samples(&short, &info).unwrap_err(), fill(&mut short, &info, 0).unwrap_err()]
        {
            let truncated =
                FrameError::Truncated { plane: 0, width: 4, height: 3, needed: 20, found: 19 };
            assert!(matches!(&error, MapError::Frame(err) if *err == truncated), "{error}");
        }
    }

    #[test]
    fn a_buffer_without_memory_is_an_error() {
        let info = info(VideoFormat::Gray8, 2, 2);
        let mut empty = buffer(&[]);
        for error in [samples(&empty, &info).unwrap_err(), fill(&mut empty, &info, 0).unwrap_err()]
        {
            let truncated = FrameError::Truncated {
                plane: 0,
                width: 2,
                height: 2,
                // The second row begins at the stride, which is 4.
                needed: 6,
                found: 0,
            };
            assert!(matches!(&error, MapError::Frame(err) if *err == truncated), "{error}");
        }
    }

    #[test]
    fn alpha_has_to_be_in_the_buffer() {
        let info = info(VideoFormat::Rgba, 1, 1);
        let mut short = buffer(&[vec![0; 3]]);
        assert!(matches!(
            fill(&mut short, &info, 1),
            Err(MapError::Frame(FrameError::Truncated { needed: 4, found: 3, .. }))
        ));
    }

    /// NV12 of 2×2 pixels: four luma samples, then U and V.
    #[test]
    fn planes_in_memories_of_their_own_stay_there() {
        let info = info(VideoFormat::Nv12, 2, 2);
        let mut split = buffer(&[vec![1, 2, 9, 3, 4, 9], vec![8, 5, 6]]);
        add_meta(&mut split, &info, &[0, 7], &[3, 2]);
        assert_eq!(samples(&split, &info).unwrap(), [1, 2, 3, 4, 5, 6]);

        let other = split.copy();
        fill(&mut split, &info, 7).unwrap();
        assert_eq!(split.n_memory(), 2);
        assert_eq!(bytes(&split), [7, 7, 9, 7, 7, 9, 8, 7, 7]);
        assert_eq!(bytes(&other), [1, 2, 9, 3, 4, 9, 8, 5, 6], "shared memory was written");

        let addresses = |buffer: &gst::Buffer| {
            let address = |memory: &gst::MemoryRef| memory.map_readable().unwrap().as_ptr();
            buffer.iter_memories().map(address).collect::<Vec<_>>()
        };
        let before = addresses(&split);
        fill(&mut split, &info, 8).unwrap();
        assert_eq!(addresses(&split), before, "memory that nobody shares was copied");
    }

    #[test]
    fn planes_may_cross_memories() {
        let info = info(VideoFormat::Nv12, 2, 2);
        let mut odd = buffer(&[vec![1, 2, 9], vec![3, 4], vec![9, 5, 6]]);
        add_meta(&mut odd, &info, &[0, 6], &[3, 2]);
        assert_eq!(samples(&odd, &info).unwrap(), [1, 2, 3, 4, 5, 6]);
        fill(&mut odd, &info, 7).unwrap();
        assert_eq!(bytes(&odd), [7, 7, 9, 7, 7, 9, 7, 7]);
    }

    #[test]
    fn of_several_metas_the_first_counts() {
        let info = info(VideoFormat::Gray8, 2, 2);
        let mut twice = buffer(&[vec![1, 2, 3, 4, 5, 6]]);
        add_meta(&mut twice, &info, &[0], &[3]);
        add_meta(&mut twice, &info, &[1], &[2]);
        // GStreamer 1.14 gives the newest first.
        let first = if gst::version() < (1, 16, 0, 0) { [2, 3, 4, 5] } else { [1, 2, 4, 5] };
        assert_eq!(samples(&twice, &info).unwrap(), first);
    }

    #[test]
    fn metas_that_contradict_the_caps_are_errors() {
        let gray = info(VideoFormat::Gray8, 4, 4);
        for (other, fits) in [
            (info(VideoFormat::Gray8, 4, 4), true),
            (info(VideoFormat::Gray8, 5, 6), true),
            (info(VideoFormat::Gray8, 3, 4), false),
            (info(VideoFormat::Gray8, 4, 3), false),
            (info(VideoFormat::Bgr, 4, 4), false),
        ] {
            let mut buffer = buffer(&[vec![0; 64]]);
            add_meta(&mut buffer, &other, &[0], &[other.stride()[0]]);
            let found = samples(&buffer, &gray);
            assert_eq!(found.is_ok(), fits, "{other:?}");
            assert!(matches!(found, Ok(_) | Err(MapError::Meta { .. })));
        }
    }

    #[test]
    fn rows_have_to_fit_their_stride() {
        let info = info(VideoFormat::Bgr, 3, 2);
        for (stride, fits) in [(9, true), (8, false), (0, false), (-12, false)] {
            let mut buffer = buffer(&[vec![0; 64]]);
            add_meta(&mut buffer, &info, &[16], &[stride]);
            let found = samples(&buffer, &info);
            assert_eq!(found.is_ok(), fits, "{stride}");
            assert!(matches!(found, Ok(_) | Err(MapError::Stride { plane: 0, row: 9, .. })));
        }
    }

    proptest! {
        /// What is accepted can be read and written to the last sample.
        #[test]
        fn no_meta_leads_out_of_the_memory(
            format in prop::sample::select(vec![
                VideoFormat::Bgr, VideoFormat::Rgba, VideoFormat::Nv12, VideoFormat::I420,
                VideoFormat::Yuy2, VideoFormat::Y42b, VideoFormat::A420, VideoFormat::Gray16Le,
                VideoFormat::Argb64,
            ]),
            size in (1u32..12, 1u32..12),
            memories in prop::collection::vec(0usize..200, 1..5),
            offsets in prop::array::uniform4(prop_oneof![0usize..400, Just(usize::MAX)]),
            strides in prop::array::uniform4(prop_oneof![
                4 => 0i32..40,
                1 => prop::sample::select(vec![i32::MIN, -1, i32::MAX]),
            ]),
        ) {
            let info = info(format, size.0, size.1);
            let planes = info.n_planes() as usize;
            let memories: Vec<_> = memories.into_iter().map(|size| vec![0; size]).collect();
            let mut buffer = buffer(&memories);
            let added = VideoMeta::add_full(
                buffer.make_mut(),
                VideoFrameFlags::empty(),
                format,
                size.0,
                size.1,
                &offsets[..planes],
                &strides[..planes],
            );
            prop_assume!(added.is_ok());
            if samples(&buffer, &info).is_ok() && fill(&mut buffer, &info, 7).is_ok() {
                let read = samples(&buffer, &info).unwrap();
                prop_assert!(read.iter().all(|&sample| sample == 7));
            }
        }
    }
}
