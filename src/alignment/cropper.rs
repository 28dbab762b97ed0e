// SPDX-License-Identifier: MIT OR Apache-2.0

//! The pixels of a picture that is cut out of a frame.

use super::{affine::Affine, quality};
use crate::{
    frame::{Frame, Window},
    preprocess::{ChannelOrder, Normalisation, Pixels, Placement, Preprocessor, ScaleMethod},
};

/// BT.601, for the luma of red, green and blue.
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// A square picture to be written, of 3 bytes a pixel.
pub struct Picture<'a> {
    /// Its rows, the last of which may end with its last pixel.
    pub data: &'a mut [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
    /// Width and height in pixels.
    pub size: usize,
    pub order: ChannelOrder,
}

/// What a picture is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampled {
    /// See [`super::Quality`].
    pub sharpness: f32,
    /// See [`super::Quality`].
    pub size: f32,
}

/// Cuts pictures out of frames, turned and scaled.
///
/// A pixel lies between four of the frame, as in OpenCV's `warpAffine` with `INTER_LINEAR`. Where the
/// frame has more than one and a half pixels for each of the picture, they are averaged in squares
/// first, so that nothing is lost between them. What is outside of the frame is black.
#[derive(Debug, Default)]
pub struct Cropper {
    /// The part of the frame that the picture needs.
    part: Vec<u8>,
    /// Red, green and blue of a row of squares.
    sums: Vec<[u64; 3]>,
    /// The picture's luma, not a number outside of the frame.
    luma: Vec<f32>,
}

impl Cropper {
    /// Fills `picture` with what the map takes there from the pixels of the frame, counted from the
    /// middle of its first one.
    ///
    /// `None`, and a black picture, where nothing of it is in the frame or the map has no inverse.
    pub fn crop(
        &mut self,
        frame: &Frame,
        to_picture: &Affine,
        picture: &mut Picture,
    ) -> Option<Sampled> {
        picture.data.fill(0);
        let to_frame = to_picture.inverse()?;
        let (across, down) = to_frame.steps();
        let shrink = across.max(down).round().clamp(1.0, f64::from(u16::MAX)) as usize;
        let window = needed(frame, &to_frame, picture.size, shrink)?;
        let part = self.read(frame, &window, shrink);
        // From the frame's pixels to those of the part, each of which is the middle of a square.
        let (scale, middle) = (1.0 / shrink as f64, (shrink as f64 - 1.0) / 2.0);
        let offset = |first: u32| -scale * (f64::from(first) + middle);
        let to_part = to_frame
            .then(&Affine::scale_and_move((scale, scale), (offset(window.x), offset(window.y))));
        let inside = |x: f64, y: f64| {
            let Window { width, height, .. } = *frame.window();
            (-0.5..f64::from(width) - 0.5).contains(&x)
                && (-0.5..f64::from(height) - 0.5).contains(&y)
        };
        self.luma.clear();
        let mut count = 0;
        for (y, row) in picture.data.chunks_mut(picture.stride).take(picture.size).enumerate() {
            for (x, pixel) in row.as_chunks_mut::<3>().0.iter_mut().take(picture.size).enumerate() {
                let (x, y) = (x as f64, y as f64);
                let (part_x, part_y) = to_part.map(x, y);
                let rgb = part.sample(&self.part, part_x, part_y);
                let (frame_x, frame_y) = to_frame.map(x, y);
                let is_inside = inside(frame_x, frame_y);
                count += usize::from(is_inside);
                let luma = rgb.iter().zip(LUMA).map(|(value, weight)| value * weight).sum();
                self.luma.push(if is_inside { luma } else { f32::NAN });
                let [r, g, b] = rgb.map(|value| (value + 0.5) as u8);
                *pixel = match picture.order {
                    ChannelOrder::Rgb => [r, g, b],
                    ChannelOrder::Bgr => [b, g, r],
                };
            }
        }
        let visible = count as f32 / (picture.size * picture.size) as f32;
        Some(Sampled {
            sharpness: quality::sharpness(&self.luma, picture.size),
            size: across.min(down).min(1.0) as f32 * visible,
        })
    }

    /// Reads a part of the frame, with the mean of each square of `shrink` × `shrink` pixels.
    fn read(&mut self, frame: &Frame, window: &Window, shrink: usize) -> Part {
        let frame = frame.part(window);
        let (layout, size) = (*frame.layout(), (window.width, window.height));
        let (whole, method) = (Placement::whole(size), ScaleMethod::default());
        let Pixels { channels, order: [blue, green, red], .. } =
            Pixels::least(&layout, size, &whole, method);
        let (width, height) = (window.width as usize, window.height as usize);
        self.part.resize(width * height * channels, 0);
        Preprocessor::new(layout, *frame.window(), whole, method, Normalisation::NONE).fill_pixels(
            &frame,
            &mut self.part,
            [0; 3],
        );
        let mut part = Part { width, height, channels, rgb: [red, green, blue] };
        if shrink > 1 {
            part.average(&mut self.part, &mut self.sums, shrink);
        }
        part
    }
}

/// The part of the frame that pixels of the picture are read from; `None` where it is empty.
fn needed(frame: &Frame, to_frame: &Affine, size: usize, shrink: usize) -> Option<Window> {
    let last = size as f64 - 1.0;
    let corners = [(0.0, 0.0), (last, 0.0), (0.0, last), (last, last)];
    let corners = corners.map(|(x, y)| to_frame.map(x, y));
    // Squares at its edges have to be whole, and have one beside them.
    let beside = 2.0 * shrink as f64;
    let range = |values: [f64; 4], len: u32| {
        let least = values.into_iter().fold(f64::INFINITY, f64::min).floor() - beside;
        let most = values.into_iter().fold(f64::NEG_INFINITY, f64::max).ceil() + beside;
        let (start, end) = (least.max(0.0) as u32, (most + 1.0).clamp(0.0, len.into()) as u32);
        (start < end).then(|| (start, end - start))
    };
    let window = frame.window();
    let (x, width) = range(corners.map(|(x, _)| x), window.width)?;
    let (y, height) = range(corners.map(|(_, y)| y), window.height)?;
    Some(Window { x, y, width, height })
}

/// A part of a frame as packed pixels.
struct Part {
    width: usize,
    height: usize,
    /// Bytes per pixel.
    channels: usize,
    /// The channels of red, green and blue.
    rgb: [usize; 3],
}

impl Part {
    /// Puts the mean of each square of `side` × `side` pixels in their place, as packed red, green and
    /// blue. Squares at the right and lower edge may have fewer.
    fn average(&mut self, pixels: &mut [u8], sums: &mut Vec<[u64; 3]>, side: usize) {
        let (columns, rows) = (self.width.div_ceil(side), self.height.div_ceil(side));
        for row in 0..rows {
            let height = side.min(self.height - row * side);
            sums.clear();
            sums.resize(columns, [0; 3]);
            for y in row * side..row * side + height {
                let row = &pixels[y * self.width * self.channels..][..self.width * self.channels];
                for (x, pixel) in row.chunks_exact(self.channels).enumerate() {
                    for (sum, channel) in sums[x / side].iter_mut().zip(self.rgb) {
                        *sum += u64::from(pixel[channel]);
                    }
                }
            }
            // Never ahead of what is still to be read.
            for (column, sums) in sums.iter().enumerate() {
                let count = (height * side.min(self.width - column * side)) as u64;
                let mean = sums.map(|sum| ((sum + count / 2) / count) as u8);
                pixels[3 * (row * columns + column)..][..3].copy_from_slice(&mean);
            }
        }
        *self = Self { width: columns, height: rows, channels: 3, rgb: [0, 1, 2] };
    }

    /// Red, green and blue between the four pixels around a place; black beside them.
    #[inline]
    fn sample(&self, pixels: &[u8], x: f64, y: f64) -> [f32; 3] {
        let (left, top) = (x.floor(), y.floor());
        let (right_weight, lower_weight) = ((x - left) as f32, (y - top) as f32);
        let mut rgb = [0.0; 3];
        for (down, row_weight) in [(0, 1.0 - lower_weight), (1, lower_weight)] {
            for (right, weight) in [(0, 1.0 - right_weight), (1, right_weight)] {
                // The conversions saturate.
                let (x, y) =
                    ((left as i64).saturating_add(right), (top as i64).saturating_add(down));
                let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { continue };
                if x >= self.width || y >= self.height {
                    continue;
                }
                let pixel = &pixels[(y * self.width + x) * self.channels..];
                for (value, channel) in rgb.iter_mut().zip(self.rgb) {
                    *value += row_weight * weight * f32::from(pixel[channel]);
                }
            }
        }
        rgb
    }
}
