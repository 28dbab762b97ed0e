// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a network takes as input.

use super::{axis::ScaleMethod, placement::Placement};
use crate::{
    frame::{Colour, Component, Layout, Storage},
    orientation::Orientation,
};

/// The form of a network's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Floats, `[3, height, width]`: three planes of the network's input size, normalised.
    Planes,
    /// Bytes, `[height, width, channels]`: the network resizes, reorders and normalises.
    Pixels(Pixels),
}

/// Packed pixels as a network's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// Width and height.
    pub size: (u32, u32),
    /// Bytes per pixel.
    pub channels: usize,
    /// The channels of blue, green and red.
    pub order: [usize; 3],
    /// How the network resizes them to its input size.
    pub method: ScaleMethod,
}

impl Pixels {
    /// The form with the fewest bytes to copy for a frame of the width and height `source`: the
    /// frame's own pixels if it is upright and has packed RGB, resized only if it has more pixels than
    /// the input, or leaves a part of it free.
    pub fn least(
        layout: &Layout,
        source: (u32, u32),
        placement: &Placement,
        method: ScaleMethod,
    ) -> Self {
        let Placement { orientation, picture, input, scale } = *placement;
        let count = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
        let upright = orientation.turn(source);
        let resized = picture != input || scale.is_some() || count(input) < count(upright);
        let size = if resized { input } else { upright };
        // One form, and one network, whatever the method, where there is nothing to resize.
        let method = if size == input { ScaleMethod::default() } else { method };
        let [red, green, blue] = layout.components;
        let own = size == source && picture == input && orientation == Orientation::Identity;
        if own && packed(layout).is_some() {
            let order = [blue.offset, green.offset, red.offset];
            Self { size, channels: red.step, order, method }
        } else {
            Self { size, channels: 3, order: [0, 1, 2], method }
        }
    }
}

/// The components of packed RGB in the order of their bytes; `None` unless red, green and blue are
/// adjacent bytes of one pixel, green in the middle.
pub fn packed(layout: &Layout) -> Option<[usize; 3]> {
    let [red, _, blue] = layout.components;
    let in_one_pixel = |component: &Component| {
        let same = Component { offset: red.offset, ..*component } == red;
        let whole = (component.x_shift, component.y_shift) == (0, 0);
        let byte = component.storage == Storage::Byte;
        same && whole && byte && component.offset < component.step
    };
    if layout.colour != Colour::Rgb || !layout.components.iter().all(in_one_pixel) {
        return None;
    }
    let first = red.offset.min(blue.offset);
    match layout.components.map(|component| component.offset.wrapping_sub(first)) {
        [0, 1, 2] => Some([0, 1, 2]),
        [2, 1, 0] => Some([2, 1, 0]),
        _ => None,
    }
}
