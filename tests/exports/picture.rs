// SPDX-License-Identifier: MIT OR Apache-2.0

//! A picture to detect in.

use crate::runtime::Array;

/// BGR, of the size that the network is given, so that nothing is resized.
pub struct Picture {
    pub width: usize,
    pub height: usize,
    pub bgr: Vec<u8>,
}

impl Picture {
    /// Squares of made-up colours, with noise.
    pub fn new(width: usize, height: usize) -> Self {
        let random =
            |index: usize| (index as u32).wrapping_mul(2_654_435_761).rotate_left(13) >> 24;
        let bgr = (0..width * height * 3).map(|index| {
            let (pixel, channel) = (index / 3, index % 3);
            let square = pixel % width / 12 + 100 * (pixel / width / 12);
            let (colour, noise) = (random(3 * square + channel), random(index) / 4);
            (colour * 3 / 4 + noise) as u8
        });
        Self { width, height, bgr: bgr.collect() }
    }

    /// What PyTorch's networks are given, `batch` times: blue, green and red less their means.
    pub fn planes(&self, batch: usize) -> Array {
        let plane = self.width * self.height;
        let values = (0..batch * 3 * plane).map(|index| {
            let (channel, pixel) = (index / plane % 3, index % plane);
            f32::from(self.bgr[3 * pixel + channel]) - [104.0, 117.0, 123.0][channel]
        });
        Array {
            shape: vec![batch as i64, 3, self.height as i64, self.width as i64],
            values: values.collect(),
        }
    }

    /// As [`Self::planes`], `[batch, height, width, 3]`.
    pub fn interleaved(&self, batch: usize) -> Array {
        let Array { values, .. } = self.planes(1);
        let plane = self.width * self.height;
        let one: Vec<_> = (0..3 * plane).map(|i| values[i % 3 * plane + i / 3]).collect();
        let shape = vec![batch as i64, self.height as i64, self.width as i64, 3];
        Array { shape, values: one.repeat(batch) }
    }
}
