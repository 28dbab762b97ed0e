// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a network expects of its input's values.

/// Which plane comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelOrder {
    /// Blue, green, red, as OpenCV reads pictures.
    #[default]
    Bgr,
    /// Red, green, blue.
    Rgb,
}

/// From samples of 0 to 255 to a network's input: `(sample − mean) · scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalisation {
    /// Of blue, green and red, whatever the order of the planes.
    pub mean: [f32; 3],
    pub scale: f32,
    pub order: ChannelOrder,
    /// Blue, green and red of what is beside the picture, 0 to 255.
    pub padding: [f32; 3],
}

impl Normalisation {
    /// Samples as they are: 0 to 255, blue first; black beside the picture.
    pub const NONE: Self =
        Self { mean: [0.0; 3], scale: 1.0, order: ChannelOrder::Bgr, padding: [0.0; 3] };
}
