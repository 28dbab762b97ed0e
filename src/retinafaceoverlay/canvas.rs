// SPDX-License-Identifier: MIT OR Apache-2.0

//! Blending shapes into the pixels of a raw video frame.
//!
//! tiny-skia and ab_glyph turn shapes and text into coverage masks, once per frame size. What is
//! here is the part they cannot do: mixing a colour into video formats. One routine serves all of
//! them: a frame's layout says where each component's samples are and how many pixels one sample
//! stands for.

use ab_glyph::{Font, FontRef, InvalidFont, PxScale, ScaleFont};
use gst_video::VideoInfo;
use tiny_skia::{FillRule, Mask, PathBuilder, Transform};

use crate::{frame::FrameMut, gstreamer::luma_weights};

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

    pub fn is_empty(&self) -> bool {
        self.left >= self.right || self.top >= self.bottom
    }

    fn contains(&self, x: i32, y: i32) -> bool {
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

/// A colour as a video format writes it.
#[derive(Clone, Copy, Debug)]
pub struct Ink {
    samples: [u8; 3],
    alpha: u32,
}

impl Ink {
    /// `argb` is 0xAARRGGBB, as in the properties of GStreamer's text overlays.
    pub fn new(argb: u32, info: &VideoInfo) -> Self {
        let [alpha, rgb @ ..] = argb.to_be_bytes();
        let [r, g, b] = rgb.map(|value| f64::from(value) / 255.0);

        let colorimetry = info.colorimetry();
        let parts = if info.is_rgb() {
            [r, g, b]
        } else {
            let (kr, kb) = luma_weights(info);
            let y = kr * r + (1.0 - kr - kb) * g + kb * b;
            [y, (b - y) / (2.0 * (1.0 - kb)), (r - y) / (2.0 * (1.0 - kr))]
        };

        let (offset, scale) = info.format_info().range_offsets(colorimetry.range());
        let mut samples = [0; 3];
        for (index, part) in parts.into_iter().enumerate() {
            let value = f64::from(offset[index]) + f64::from(scale[index]) * part;
            samples[index] = value.round() as u8;
        }
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
    mask: Mask,
    left: i32,
    top: i32,
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

    /// A character, drawn at the left end of its base line.
    fn character(font: &FontRef, scale: PxScale, character: char) -> Option<Self> {
        let glyph = font.glyph_id(character).with_scale(scale);
        let outline = font.outline_glyph(glyph)?;
        let bounds = outline.px_bounds();
        let width = bounds.width() as u32;
        let mut mask = Mask::new(width, bounds.height() as u32)?;
        outline.draw(|x, y, coverage| {
            if let Some(value) = mask.data_mut().get_mut((y * width + x) as usize) {
                *value = (coverage * 255.0).round() as u8;
            }
        });
        Some(Self { mask, left: bounds.min.x as i32, top: bounds.min.y as i32 })
    }

    fn area(&self, x: i32, y: i32) -> Area {
        Area::new(x + self.left, y + self.top, self.mask.width() as i32, self.mask.height() as i32)
    }
}

/// Numbers from 0.00 to 1.00.
#[derive(Debug)]
pub struct Lettering {
    /// The ten digits, then the point.
    stencils: Vec<Option<Stencil>>,
    advance: i32,
    height: i32,
}

impl Lettering {
    /// `size` is the height of a line in pixels, from ascender to descender.
    pub fn new(size: f32) -> Result<Self, InvalidFont> {
        let font = FontRef::try_from_slice(epaint_default_fonts::HACK_REGULAR)?;
        let scale = PxScale::from(size);
        let stencils: Vec<_> =
            "0123456789.".chars().map(|c| Stencil::character(&font, scale, c)).collect();
        let height = stencils.iter().flatten().map(|stencil| -stencil.top).max().unwrap_or(0);
        // Every character is this wide, the font being a monospaced one.
        let advance = font.as_scaled(scale).h_advance(font.glyph_id('0')).round() as i32;
        Ok(Self { stencils, advance, height })
    }

    pub fn width(&self) -> i32 {
        4 * self.advance
    }

    pub fn height(&self) -> i32 {
        self.height
    }

    /// The characters of `number`, which is taken for 0 below 0 and for 1 above 1.
    fn characters(&self, number: f32) -> impl Iterator<Item = Option<&Stencil>> {
        let hundredths = (number.clamp(0.0, 1.0) * 100.0).round() as usize;
        [hundredths / 100, 10, hundredths / 10 % 10, hundredths % 10]
            .into_iter()
            .map(|index| self.stencils.get(index)?.as_ref())
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

    /// Fills everything that lies in one or more of `areas`, once.
    pub fn fill(&mut self, areas: &[Area], ink: &Ink) {
        self.blend(areas, ink, |x, y| {
            if areas.iter().any(|area| area.contains(x, y)) { u8::MAX } else { 0 }
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

    /// Writes a number with its base line's left end at `x`, `y`.
    pub fn write(&mut self, lettering: &Lettering, number: f32, x: i32, y: i32, ink: &Ink) {
        for (index, stencil) in lettering.characters(number).enumerate() {
            if let Some(stencil) = stencil {
                self.stamp(stencil, x + index as i32 * lettering.advance, y, ink);
            }
        }
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
        let opacity = alpha.iter().map(|component| (component, u8::MAX, None));
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
                        && let Some(&mut below) = self.frame.sample(&alpha, x, y)
                    {
                        let opacity = 255 * weight + u32::from(below) * (255 - weight);
                        weight = (255 * 255 * weight).checked_div(opacity).unwrap_or(0);
                    }

                    if let Some(sample) = self.frame.sample(component, x, y) {
                        let (old, new) = (u32::from(*sample), u32::from(new));
                        *sample = ((old * (255 - weight) + new * weight + 127) / 255) as u8;
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

    #[test]
    fn adjoining_areas_leave_no_seam_in_chroma() {
        let info = info(gst_video::VideoFormat::I420, 4, 2);
        let ink = Ink::new(0xff00_00ff, &info);
        let areas = [Area::new(0, 0, 1, 2), Area::new(1, 0, 3, 2)];
        let seamless = drawn(&info, |canvas| canvas.fill(&[Area::new(0, 0, 4, 2)], &ink));
        assert_eq!(drawn(&info, |canvas| canvas.fill(&areas, &ink)), seamless);
    }

    #[test]
    fn chroma_takes_the_share_of_its_pixels() {
        let info = info(gst_video::VideoFormat::I420, 2, 2);
        let white = Ink::new(0xffff_ffff, &info);
        let data = drawn(&info, |canvas| canvas.fill(&[Area::new(0, 0, 1, 1)], &white));
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
    fn every_character_is_in_the_font() {
        let lettering = Lettering::new(16.0).unwrap();
        assert!(lettering.stencils.iter().all(Option::is_some));
        assert!(lettering.height() > 8 && lettering.width() > 24);
    }
}
