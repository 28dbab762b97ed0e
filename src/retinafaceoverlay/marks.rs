// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is drawn on a face, in sizes that follow the face's and the frame's.
//!
//! Everything grows with the face, between what can be seen when the frame is shown on a usual screen
//! and what would be clumsy. Masks are kept for each size that has been used.

use ab_glyph::InvalidFont;

use super::{
    canvas::{Area, Stencil},
    lettering::{Lettering, Letterings},
};

/// Width and height at which larger frames are usually shown.
const SCREEN: (f32, f32) = (1280.0, 720.0);
/// The least height of a line of text, in pixels of the screen, that can be read.
const LEAST_TEXT: f32 = 12.0;
/// The least width of a line of a box that can be seen, in pixels of the screen.
const LEAST_LINE: f32 = 1.5;
/// The least radius of a dot that can be seen, in pixels of the screen.
const LEAST_RADIUS: f32 = 1.25;
/// Dots are kept for radiuses that are multiples of one by this.
const RADIUS_STEPS: f32 = 4.0;

/// For frames of one size.
pub struct Marks {
    frame: (f32, f32),
    letterings: Letterings,
    /// By their radius, in quarters of a pixel.
    dots: Vec<Option<Dot>>,
}

/// A landmark's mark.
pub struct Dot {
    pub disc: Stencil,
    /// Shows around the disc.
    pub outline: Stencil,
}

impl Marks {
    /// For frames of such a width and height.
    pub fn new(width: u32, height: u32) -> Result<Self, InvalidFont> {
        let frame = (width as f32, height as f32);
        Ok(Self { frame, letterings: Letterings::new()?, dots: Vec::new() })
    }

    /// Pixels of the frame for one of the screen.
    fn zoom(&self) -> f32 {
        (self.frame.0 / SCREEN.0).max(self.frame.1 / SCREEN.1).max(1.0)
    }

    /// The width of a box's lines.
    pub fn line_width(&self, bounds: &Area) -> i32 {
        let face = bounds.width() as f32;
        let most = self.frame.1 / 300.0;
        let width = (face / 40.0).min(most).max(LEAST_LINE * self.zoom());
        // Drawn inwards, it must not fill the box.
        width.min(face / 8.0).round().max(1.0) as i32
    }

    /// The text for a face of this width.
    pub fn lettering(&mut self, bounds: &Area) -> &Lettering {
        let most = self.frame.1 / 45.0 + 8.0;
        let size = (bounds.width() as f32 / 5.0).min(most).max(LEAST_TEXT * self.zoom());
        self.letterings.of_size(size)
    }

    /// The mark of landmarks in a face with these bounds, if it has any.
    pub fn dot(&mut self, bounds: Option<&Area>) -> Option<&Dot> {
        let most = self.frame.1 / 240.0 + 1.0;
        let least = LEAST_RADIUS * self.zoom();
        let radius = bounds.map_or(least, |bounds| {
            let face = bounds.width() as f32;
            // Those of a small face must not touch.
            (face / 32.0).min(most).max(least).min(face / 12.0)
        });
        let steps = (radius.max(0.75) * RADIUS_STEPS).round();
        let index = steps as usize;
        if self.dots.len() <= index {
            self.dots.resize_with(index + 1, || None);
        }
        let dot = &mut self.dots[index];
        if dot.is_none() {
            let radius = steps / RADIUS_STEPS;
            let rim = (radius / 2.0).min(1.0).max(radius / 4.0);
            let outline = Stencil::disc(radius + rim)?;
            *dot = Some(Dot { disc: Stencil::disc(radius)?, outline });
        }
        dot.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(width: i32) -> Area {
        Area::new(0, 0, width, width)
    }

    /// A line's width, the height of digits, a dot's diameter.
    fn sizes(marks: &mut Marks, width: i32) -> (i32, i32, u32) {
        let face = face(width);
        let (line, text) = (marks.line_width(&face), marks.lettering(&face).height());
        (line, text, marks.dot(Some(&face)).unwrap().disc.mask.width())
    }

    /// Where one face is a pixel wider than another, a mark is wider by one at most, on each side.
    #[test]
    fn marks_grow_steadily_with_the_face() {
        for frame in [(160, 120), (640, 480), (1080, 1920), (3840, 2160)] {
            let mut marks = Marks::new(frame.0, frame.1).unwrap();
            let mut last = sizes(&mut marks, 1);
            for width in 2..1000 {
                let next = sizes(&mut marks, width);
                let grown = (next.0 - last.0, next.1 - last.1, next.2 as i32 - last.2 as i32);
                assert!(matches!(grown, (0..=1, 0..=1, 0..=2)), "{frame:?}, {width}: {grown:?}");
                last = next;
            }
            assert!(last > sizes(&mut marks, 8), "{frame:?}");
        }
    }

    /// Digits of 7 pixels are the smallest that people read.
    #[test]
    fn text_can_be_read_on_a_screen() {
        for (frame, zoom) in [((160, 120), 1), ((1280, 720), 1), ((3840, 2160), 3)] {
            let (line, text, _) = sizes(&mut Marks::new(frame.0, frame.1).unwrap(), 100);
            assert!(text >= 7 * zoom, "{frame:?}: {text}");
            assert!(line >= zoom, "{frame:?}: {line}");
        }
    }

    #[test]
    fn marks_are_made_once() {
        let mut marks = Marks::new(640, 480).unwrap();
        let first = std::ptr::from_ref(marks.lettering(&face(100)));
        assert_eq!(first, std::ptr::from_ref(marks.lettering(&face(101))));
        let first = std::ptr::from_ref(marks.dot(Some(&face(100))).unwrap());
        assert_eq!(first, std::ptr::from_ref(marks.dot(Some(&face(101))).unwrap()));
        assert!(marks.dot(None).is_some());
    }
}
