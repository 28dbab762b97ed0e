// SPDX-License-Identifier: MIT OR Apache-2.0

//! The boxes that a network's answers are relative to.
//!
//! An anchor follows from its place by two multiplications, which is less than looking it up: only
//! the few cells above the score threshold ever ask.

use super::heads::Coding;

/// Anchors at each cell.
pub const PER_CELL: usize = 2;

/// A square in network input pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Anchor {
    pub centre_x: f32,
    pub centre_y: f32,
    pub side: f32,
}

impl Anchor {
    /// Anchor `index` (0 or 1) of cell (`x`, `y`) of the level of `stride`.
    pub fn new(coding: Coding, stride: u32, index: usize, x: usize, y: usize) -> Self {
        // 16, 32 | 64, 128 | 256, 512 for strides 8, 16 and 32, in both families.
        let small = (stride * stride) as f32 / 4.0;
        match coding {
            // "priors" of Pytorch_Retinaface, layers/functions/prior_box.py: centre of the cell,
            // the smaller first.
            Coding::Ssd => Self {
                centre_x: (x as f32 + 0.5) * stride as f32,
                centre_y: (y as f32 + 0.5) * stride as f32,
                side: small * (index + 1) as f32,
            },
            // generate_anchors.py of InsightFace: around the middle of a base of 16 pixels at the
            // cell's corner, whatever the stride; the larger first.
            Coding::FasterRcnn => Self {
                centre_x: (x as u32 * stride) as f32 + 8.0,
                centre_y: (y as u32 * stride) as f32 + 8.0,
                side: small * (PER_CELL - index) as f32,
            },
        }
    }
}
