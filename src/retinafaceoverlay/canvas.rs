// SPDX-License-Identifier: MIT OR Apache-2.0

//! Blending shapes into the pixels of a raw video frame.
//!
//! tiny-skia and ab_glyph turn shapes and text into coverage masks, once per size. What is here is
//! the part they cannot do: mixing a colour into video formats. One routine serves all of them: a
//! frame's layout says where each component's samples are, how long they are and how many pixels one
//! sample stands for.

use gst_video::VideoInfo;
use tiny_skia::{FillRule, Mask, PathBuilder, Transform};

use crate::{frame::FrameMut, gstreamer};

/// Whole pixels, from `left`, `top` up to but without `right`, `bottom`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    pub left: i32,
    pub top: i32,
    pub right: i32,
    pub bottom: i32,
}

impl Area {
    pub const fn new(left: i32, top: i32, width: i32, height: i32) -> Self {
        Self { left, top, right: left + width, bottom: top + height }
    }

    pub fn intersection(&self, other: &Area) -> Area {
        Area {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        }
    }

    fn moved(&self, right: i32, down: i32) -> Area {
        Area {
            left: self.left + right,
            top: self.top + down,
            right: self.right + right,
            bottom: self.bottom + down,
        }
    }

    pub fn width(&self) -> i32 {
        self.right - self.left
    }

    pub fn height(&self) -> i32 {
        self.bottom - self.top
    }

    pub fn is_empty(&self) -> bool {
        self.left >= self.right || self.top >= self.bottom
    }

    pub fn contains(&self, x: i32, y: i32) -> bool {
        (self.left..self.right).contains(&x) && (self.top..self.bottom).contains(&y)
    }

    fn pixels(&self) -> impl Iterator<Item = (i32, i32)> + use<> {
        let Area { left, top, right, bottom } = *self;
        (top..bottom).flat_map(move |y| (left..right).map(move |x| (x, y)))
    }

    /// The samples that stand for any of these pixels.
    fn subsampled(&self, x_shift: u32, y_shift: u32) -> Area {
        Area {
            left: self.left >> x_shift,
            top: self.top >> y_shift,
            right: -(-self.right >> x_shift),
            bottom: -(-self.bottom >> y_shift),
        }
    }
}

/// An area to fill.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub area: Area,
    /// The length of dashes, and of the gaps between them, in pixels; `None` to fill it all.
    pub dash: Option<i32>,
}

impl Shape {
    fn contains(&self, x: i32, y: i32) -> bool {
        let area = &self.area;
        let on_dash = |dash: i32| {
            let along = if area.width() > area.height() { x - area.left } else { y - area.top };
            along / dash % 2 == 0
        };
        area.contains(x, y) && self.dash.is_none_or(on_dash)
    }
}

/// A colour as a video format writes it.
#[derive(Clone, Copy, Debug)]
pub struct Ink {
    samples: [u32; 3],
    alpha: u32,
}

impl Ink {
    /// `argb` is 0xAARRGGBB, as in the properties of GStreamer's text overlays.
    pub fn new(argb: u32, info: &VideoInfo) -> Self {
        let [alpha, ..] = argb.to_be_bytes();
        let samples = gstreamer::samples(argb, info);
        Self { samples, alpha: alpha.into() }
    }

    /// Black or white, whichever reads better on `argb`.
    pub fn on(argb: u32, info: &VideoInfo) -> Self {
        let [_, r, g, b] = argb.to_be_bytes().map(u32::from);
        let bright = 299 * r + 587 * g + 114 * b > 128_000;
        Self::new(if bright { 0xff00_0000 } else { 0xffff_ffff }, info)
    }
}

/// A mask, and where its top left corner goes relative to the point it is drawn at.
#[derive(Debug)]
pub struct Stencil {
    pub mask: Mask,
    pub left: i32,
    pub top: i32,
}

impl Stencil {
    /// A disc around the middle of a pixel.
    pub fn disc(radius: f32) -> Option<Self> {
        let reach = radius.ceil();
        let side = 2 * reach as u32 + 1;
        let mut mask = Mask::new(side, side)?;
        let path = PathBuilder::from_circle(reach + 0.5, reach + 0.5, radius)?;
        mask.fill_path(&path, FillRule::Winding, true, Transform::identity());
        Some(Self { mask, left: -(reach as i32), top: -(reach as i32) })
    }

    fn area(&self, x: i32, y: i32) -> Area {
        Area::new(x + self.left, y + self.top, self.mask.width() as i32, self.mask.height() as i32)
    }
}

/// A frame to draw on. Its pixels are counted from the frame's first one.
pub struct Canvas<'a> {
    frame: FrameMut<'a>,
    area: Area,
}

impl<'a> Canvas<'a> {
    pub fn new(frame: FrameMut<'a>) -> Self {
        let window = frame.window();
        let area = Area::new(0, 0, window.width as i32, window.height as i32);
        Self { frame, area }
    }

    /// All of the frame.
    pub fn area(&self) -> Area {
        self.area
    }

    /// Fills everything that lies in one or more of `shapes`, once.
    pub fn fill<const N: usize>(&mut self, shapes: &[Shape; N], ink: &Ink) {
        self.blend(&shapes.map(|shape| shape.area), ink, |x, y| {
            if shapes.iter().any(|shape| shape.contains(x, y)) { u8::MAX } else { 0 }
        });
    }

    /// Stamps a mask, placed by its own offset from the pixel `x`, `y`.
    pub fn stamp(&mut self, stencil: &Stencil, x: i32, y: i32, ink: &Ink) {
        let area = stencil.area(x, y);
        let (width, data) = (stencil.mask.width() as usize, stencil.mask.data());
        self.blend(&[area], ink, |x, y| {
            if !area.contains(x, y) {
                return 0;
            }
            let index = (y - area.top) as usize * width + (x - area.left) as usize;
            data.get(index).copied().unwrap_or(0)
        });
    }

    /// Mixes `ink` into every sample that stands for a pixel of `areas`.
    ///
    /// A sample gets the mean coverage of its pixels, and is visited once however many areas touch
    /// it: shapes that adjoin inside a chroma sample leave no seam there.
    fn blend(&mut self, areas: &[Area], ink: &Ink, coverage: impl Fn(i32, i32) -> u8) {
        // Which pixels share a sample depends on their place in the whole picture.
        let (left, top) = (self.frame.window().x as i32, self.frame.window().y as i32);
        let window = self.area.moved(left, top);
        let (layout, alpha) = (*self.frame.layout(), self.frame.alpha());
        let colours = layout.distinct().iter().zip(ink.samples);
        let colours = colours.map(|(component, new)| (component, new, alpha));
        // Last, as the colours depend on what it was.
        let opacity = alpha.iter().map(|component| (component, component.storage.max(), None));
        for (component, new, alpha) in colours.chain(opacity) {
            let (x_shift, y_shift) = (component.x_shift, component.y_shift);
            for (index, area) in areas.iter().enumerate() {
                let samples = |area: &Area| area.moved(left, top).subsampled(x_shift, y_shift);
                let area = area.intersection(&self.area);
                if area.is_empty() {
                    continue;
                }
                let seen = &areas[..index];
                for (x, y) in samples(&area).pixels() {
                    if seen.iter().any(|area| samples(area).contains(x, y)) {
                        continue;
                    }
                    let block = Area::new(x << x_shift, y << y_shift, 1 << x_shift, 1 << y_shift)
                        .intersection(&window);
                    let (covered, pixels) = block.pixels().fold((0, 0), |(sum, n), (x, y)| {
                        (sum + u32::from(coverage(x - left, y - top)), n + 1)
                    });
                    let mut weight = covered * ink.alpha / (pixels * 255);

                    let (x, y) = (x as usize, y as usize);
                    // Over a translucent pixel, the ink's share of the colour is its share of the
                    // opacity that results.
                    if let Some(alpha) = alpha
                        && let Some(below) = self.frame.read(&alpha, x, y)
                    {
                        let below = below * 255 / alpha.storage.max();
                        let opacity = 255 * weight + below * (255 - weight);
                        weight = (255 * 255 * weight).checked_div(opacity).unwrap_or(0);
                    }

                    if let Some(old) = self.frame.read(component, x, y) {
                        let mixed = (old * (255 - weight) + new * weight + 127) / 255;
                        self.frame.write(component, x, y, mixed);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{frame::Layout, gstreamer::with_frame_mut};

    fn drawn(info: &VideoInfo, draw: impl Fn(&mut Canvas)) -> Vec<u8> {
        let mut buffer = gst::Buffer::from_mut_slice(vec![0; info.size()]);
        let layout = Layout::try_from(info).unwrap();
        with_frame_mut(buffer.make_mut(), info, layout, |frame| draw(&mut Canvas::new(frame)))
            .unwrap();
        buffer.map_readable().unwrap().to_vec()
    }

    fn info(format: gst_video::VideoFormat, width: u32, height: u32) -> VideoInfo {
        gst::init().unwrap();
        VideoInfo::builder(format, width, height).build().unwrap()
    }

    fn whole(left: i32, top: i32, width: i32, height: i32) -> Shape {
        Shape { area: Area::new(left, top, width, height), dash: None }
    }

    #[test]
    fn adjoining_areas_leave_no_seam_in_chroma() {
        let info = info(gst_video::VideoFormat::I420, 4, 2);
        let ink = Ink::new(0xff00_00ff, &info);
        let shapes = [whole(0, 0, 1, 2), whole(1, 0, 3, 2)];
        let seamless = drawn(&info, |canvas| canvas.fill(&[whole(0, 0, 4, 2)], &ink));
        assert_eq!(drawn(&info, |canvas| canvas.fill(&shapes, &ink)), seamless);
    }

    #[test]
    fn chroma_takes_the_share_of_its_pixels() {
        let info = info(gst_video::VideoFormat::I420, 2, 2);
        let white = Ink::new(0xffff_ffff, &info);
        let data = drawn(&info, |canvas| canvas.fill(&[whole(0, 0, 1, 1)], &white));
        assert_eq!([data[0], data[1]], [235, 0]);
        assert_eq!(data[info.offset()[1]], 32, "a quarter of 128");
    }

    #[test]
    fn discs_are_round_and_antialiased() {
        let info = info(gst_video::VideoFormat::Gray8, 32, 32);
        let disc = Stencil::disc(5.0).unwrap();
        let white = Ink::new(0xffff_ffff, &info);
        let data = drawn(&info, |canvas| canvas.stamp(&disc, 16, 16, &white));
        let at = |x: usize, y: usize| data[y * 32 + x];
        assert_eq!(at(16, 16), 255);
        assert_eq!(at(12, 12), at(20, 20));
        assert_eq!([at(10, 10), at(16, 22)], [0, 0]);
        assert!((1..255).contains(&at(16, 21)));
        let area: u32 = data.iter().map(|&sample| u32::from(sample)).sum();
        assert!((area as f32 / 255.0 - 25.0 * std::f32::consts::PI).abs() < 3.0);
    }

    #[test]
    fn dashes_run_along_the_longer_side() {
        let info = info(gst_video::VideoFormat::Gray8, 8, 8);
        let white = Ink::new(0xffff_ffff, &info);
        let dashed = |area| Shape { area, dash: Some(2) };
        let shapes = [dashed(Area::new(1, 0, 6, 1)), dashed(Area::new(0, 1, 1, 7))];
        let data = drawn(&info, |canvas| canvas.fill(&shapes, &white));
        let (row, column) = (&data[..8], (0..8).map(|y| data[8 * y]).collect::<Vec<_>>());
        assert_eq!(row, [0, 255, 255, 0, 0, 255, 255, 0]);
        assert_eq!(column, [0, 255, 255, 0, 0, 255, 255, 0]);
    }

    #[test]
    fn longer_samples_are_mixed_in_full() {
        let info = info(gst_video::VideoFormat::Gray16Le, 2, 1);
        let half = Ink::new(0x80ff_ffff, &info);
        let data = drawn(&info, |canvas| canvas.fill(&[whole(0, 0, 1, 1)], &half));
        // 65535 · 128 / 255 = 32896.
        assert_eq!(data[..4], [0x80, 0x80, 0, 0]);
    }
}
