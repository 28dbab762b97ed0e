// SPDX-License-Identifier: MIT OR Apache-2.0

//! Convolutions of each channel for itself.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::{Epilogue, Rows, dense::MOST_ROWS, inside, load, rows::Parts, store, taps};
use crate::native::{
    graph::{Convolution, Window},
    instructions::InstructionSet,
    memory::Floats,
};

/// A depthwise convolution, with its weights as the kernel reads them.
pub struct Depthwise {
    window: Window,
    /// `[block][row][column][lane]`.
    weights: Floats,
    epilogue: Epilogue,
    blocks: usize,
}

impl Depthwise {
    pub fn new(convolution: &Convolution, lanes: usize) -> Self {
        let Convolution { window, weights, bias, activation, .. } = convolution;
        let taps = window.kernel[0] * window.kernel[1];
        let mut packed = Floats::new(bias.len().next_multiple_of(lanes) * taps);
        for (index, &weight) in weights.iter().enumerate() {
            let (channel, tap) = (index / taps, index % taps);
            packed[(channel / lanes * taps + tap) * lanes + channel % lanes] = weight;
        }
        Self {
            window: *window,
            weights: packed,
            epilogue: Epilogue::new(bias, &activation.slopes, activation.clip, lanes),
            blocks: bias.len().div_ceil(lanes),
        }
    }

    pub fn window(&self) -> Window {
        self.window
    }

    /// Computes some rows of the output.
    ///
    /// # Safety
    /// As [`Dense::rows`](super::dense::Dense::rows).
    pub unsafe fn rows(&self, set: InstructionSet, input: Rows, output: Parts, rows: Range<usize>) {
        set.run(Work { depthwise: self, input, output, rows });
    }
}

/// Some rows of output.
struct Work<'a> {
    depthwise: &'a Depthwise,
    input: Rows,
    output: Parts<'a>,
    rows: Range<usize>,
}

/// A row of a block of output, and what its windows see.
struct Line {
    block: usize,
    /// The start of each row that the window sees, by the window's row.
    seen: [*const f32; MOST_ROWS],
    tap_rows: Range<usize>,
    to: *mut f32,
}

impl WithSimd for Work<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Constants for what is common, for the compiler to unroll.
        match (self.depthwise.window.kernel[1], self.depthwise.window.stride[1]) {
            (3, 1) => self.compute::<S, 3, 1>(simd),
            (3, 2) => self.compute::<S, 3, 2>(simd),
            _ => self.compute::<S, 0, 0>(simd),
        }
    }
}

impl Work<'_> {
    /// `KERNEL` and `STRIDE` are those of columns, or 0.
    #[inline(always)]
    fn compute<S: Simd, const KERNEL: usize, const STRIDE: usize>(&self, simd: S) {
        let Window { kernel, stride, pads } = self.depthwise.window;
        let (width, columns) = (self.input.width, self.output.width());
        let inside = inside(width, columns, kernel[1], stride[1], pads[1]);
        for block in 0..self.depthwise.blocks {
            for row in self.rows.clone() {
                let tap_rows = taps(row * stride[0], pads[0], kernel[0], self.input.height);
                let mut seen = [std::ptr::null(); MOST_ROWS];
                for tap_row in tap_rows.clone() {
                    // SAFETY: the window sees this row.
                    let start =
                        unsafe { self.input.at(block, row * stride[0] + tap_row - pads[0]) };
                    seen[tap_row] = start.cast_const();
                }
                // SAFETY: the output has the row.
                let to = unsafe { self.output.at(block, row) };
                let line = Line { block, seen, tap_rows, to };
                for column in (0..inside.start).chain(inside.end..columns) {
                    let taps = taps(column * stride[1], pads[1], kernel[1], width);
                    self.tile::<S, 0, 0, 1>(simd, &line, column, taps);
                }
                self.inside::<S, KERNEL, STRIDE>(simd, &line, inside.clone());
            }
        }
    }

    /// Columns whose windows are inside.
    #[inline(always)]
    fn inside<S: Simd, const KERNEL: usize, const STRIDE: usize>(
        &self,
        simd: S,
        line: &Line,
        columns: Range<usize>,
    ) {
        const TILE: usize = 8;
        const HALF: usize = TILE / 2;
        let taps = 0..self.depthwise.window.kernel[1];
        let mut column = columns.start;
        while column < columns.end {
            // The last tile may overlap the one before: a row's remainder costs more in pieces.
            if columns.len() >= TILE {
                let start = column.min(columns.end - TILE);
                self.tile::<S, KERNEL, STRIDE, TILE>(simd, line, start, taps.clone());
                column = start + TILE;
            } else if columns.len() >= HALF {
                let start = column.min(columns.end - HALF);
                self.tile::<S, KERNEL, STRIDE, HALF>(simd, line, start, taps.clone());
                column = start + HALF;
            } else {
                self.tile::<S, 0, 0, 1>(simd, line, column, taps.clone());
                column += 1;
            }
        }
    }

    /// `T` pixels.
    #[inline(always)]
    fn tile<S: Simd, const KERNEL: usize, const STRIDE: usize, const T: usize>(
        &self,
        simd: S,
        line: &Line,
        column: usize,
        taps: Range<usize>,
    ) {
        let Depthwise { window: Window { kernel, stride, pads }, weights, epilogue, .. } =
            self.depthwise;
        let stride = if STRIDE == 0 { stride[1] } else { STRIDE };
        let taps_across = if KERNEL == 0 { taps.len() } else { KERNEL };
        let &Line { block, ref seen, ref tap_rows, to } = line;
        // SAFETY: the window's rows and columns are inside; there are weights for each.
        unsafe {
            let mut sums = [epilogue.bias::<S>(block); T];
            let first = column * stride + taps.start - pads[1];
            let weights = weights.as_ptr().add(block * kernel[0] * kernel[1] * S::F32_LANES);
            for tap_row in tap_rows.clone() {
                let pixels = seen.get_unchecked(tap_row).add(first * S::F32_LANES);
                let weights = weights.add((tap_row * kernel[1] + taps.start) * S::F32_LANES);
                for tap in 0..taps_across {
                    let weight = load::<S>(weights.add(tap * S::F32_LANES));
                    for (pixel, sum) in sums.iter_mut().enumerate() {
                        let value = pixels.add((pixel * stride + tap) * S::F32_LANES);
                        *sum = simd.mul_add_e_f32s(load::<S>(value), weight, *sum);
                    }
                }
            }
            let slopes = epilogue.slopes::<S>(block);
            let to = to.add(column * S::F32_LANES);
            for (pixel, &sum) in sums.iter().enumerate() {
                let value = epilogue.activate(simd, sum, slopes);
                store::<S>(to.add(pixel * S::F32_LANES), value);
            }
        }
    }
}
