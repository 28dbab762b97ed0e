// SPDX-License-Identifier: MIT OR Apache-2.0

//! Rows or columns of samples as a few cells.

/// `count` samples side by side, divided into cells of equal length, to within a sample.
#[derive(Debug, Default)]
pub struct Cells {
    samples: Vec<Sample>,
    count: usize,
}

/// A sample's place among the cells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The cell that it is in.
    pub cell: usize,
    /// The cells whose middles it is between, or twice the one at the edge.
    pub between: [usize; 2],
    /// How far it is from the first to the second, from 0 to 1.
    pub weight: f32,
}

impl Cells {
    /// Divides `count` samples into `cells`, of which there are at least one and at most `count`.
    pub fn divide(&mut self, count: usize, cells: usize) {
        self.count = cells;
        self.samples.clear();
        self.samples.extend((0..count).map(|index| {
            let position = (index as f32 + 0.5) * cells as f32 / count as f32 - 0.5;
            let position = position.clamp(0.0, (cells - 1) as f32);
            let first = position as usize;
            Sample {
                cell: index * cells / count,
                between: [first, (first + 1).min(cells - 1)],
                weight: position.fract(),
            }
        }));
    }

    /// How many cells there are.
    pub fn count(&self) -> usize {
        self.count
    }

    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }
}
