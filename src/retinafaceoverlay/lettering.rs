// SPDX-License-Identifier: MIT OR Apache-2.0

//! The characters of labels as masks, in every size that is used.

use ab_glyph::{Font, FontRef, InvalidFont, PxScale, ScaleFont};
use tiny_skia::Mask;

use super::canvas::{Canvas, Ink, Stencil};

/// What labels are written with, beside spaces.
const CHARACTERS: &str = "0123456789.#";

/// Letterings that have been used, by their size.
pub struct Letterings {
    font: FontRef<'static>,
    /// The height of a line in pixels, from ascender to descender, is the index.
    sizes: Vec<Option<Lettering>>,
}

impl Letterings {
    pub fn new() -> Result<Self, InvalidFont> {
        let font = FontRef::try_from_slice(epaint_default_fonts::HACK_REGULAR)?;
        Ok(Self { font, sizes: Vec::new() })
    }

    /// Characters with lines of so many pixels, to the nearest whole one.
    pub fn of_size(&mut self, size: f32) -> &Lettering {
        let size = size.round().max(1.0) as usize;
        if self.sizes.len() <= size {
            self.sizes.resize_with(size + 1, || None);
        }
        self.sizes[size].get_or_insert_with(|| Lettering::new(&self.font, size as f32))
    }
}

/// Characters in one size.
pub struct Lettering {
    /// In the order of [`CHARACTERS`].
    stencils: Vec<Option<Stencil>>,
    advance: i32,
    height: i32,
}

impl Lettering {
    fn new(font: &FontRef, size: f32) -> Self {
        let scale = PxScale::from(size);
        let stencils: Vec<_> = CHARACTERS.chars().map(|c| stencil(font, scale, c)).collect();
        // A # reaches below the base line.
        let digits = stencils.iter().take(10).flatten();
        let height = digits.map(|stencil| -stencil.top).max().unwrap_or(0);
        // Every character is this wide, the font being a monospaced one.
        let advance = font.as_scaled(scale).h_advance(font.glyph_id('0')).round() as i32;
        Self { stencils, advance, height }
    }

    pub fn width(&self, text: &str) -> i32 {
        text.len() as i32 * self.advance
    }

    /// From the base line to the top of digits.
    pub fn height(&self) -> i32 {
        self.height
    }

    /// Writes text with its base line's left end at `x`, `y`.
    pub fn write(&self, canvas: &mut Canvas, text: &str, x: i32, y: i32, ink: &Ink) {
        for (index, character) in text.chars().enumerate() {
            let stencil = CHARACTERS.find(character).and_then(|at| self.stencils[at].as_ref());
            if let Some(stencil) = stencil {
                canvas.stamp(stencil, x + index as i32 * self.advance, y, ink);
            }
        }
    }
}

/// A character, drawn at the left end of its base line.
fn stencil(font: &FontRef, scale: PxScale, character: char) -> Option<Stencil> {
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
    Some(Stencil { mask, left: bounds.min.x as i32, top: bounds.min.y as i32 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_is_in_the_font() {
        let mut letterings = Letterings::new().unwrap();
        let lettering = letterings.of_size(16.0);
        assert!(lettering.stencils.iter().all(Option::is_some));
        assert!(lettering.height() > 8 && lettering.width("0.98") > 24);
    }

    #[test]
    fn text_grows_with_its_size() {
        let mut letterings = Letterings::new().unwrap();
        let sizes = [10.0, 14.0, 20.0, 40.0, 80.0].map(|size| {
            let lettering = letterings.of_size(size);
            (lettering.width("0.98"), lettering.height())
        });
        assert!(sizes.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1), "{sizes:?}");
        // Four characters of 0.6 em; ascender and descender are 1.16 em together.
        assert!((sizes[4].0 - 165).abs() <= 2, "{sizes:?}");
    }
}
