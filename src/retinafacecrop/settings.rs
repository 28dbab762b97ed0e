// SPDX-License-Identifier: MIT OR Apache-2.0

//! The properties of `retinafacecrop`.

/// Values of `align`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRetinaFaceAlign")]
#[non_exhaustive]
pub enum Align {
    #[default]
    #[enum_value(
        name = "Turned and scaled until the landmarks are where ArcFace has them in 112x112 pixels",
        nick = "landmarks"
    )]
    Landmarks,
    #[enum_value(
        name = "The box with its margin, as a square around the same middle, scaled but not turned",
        nick = "none"
    )]
    None,
}

/// Values of `select`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRetinaFaceSelect")]
#[non_exhaustive]
pub enum Select {
    #[default]
    #[enum_value(name = "Every face of every frame", nick = "all")]
    All,
    #[enum_value(
        name = "The best of each face that retinafacetrack follows, by sharpness, frontality and size",
        nick = "best"
    )]
    Best,
}

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub size: u32,
    pub align: Align,
    pub margin: f64,
    pub select: Select,
    pub best_interval: u64,
    pub max_age: u32,
}

impl Settings {
    pub const DEFAULT: Self = Self {
        size: crate::alignment::ARCFACE_SIZE,
        align: Align::Landmarks,
        margin: 0.2,
        select: Select::All,
        best_interval: 0,
        // That of retinafacetrack.
        max_age: 30,
    };
}

impl Default for Settings {
    fn default() -> Self {
        Self::DEFAULT
    }
}
