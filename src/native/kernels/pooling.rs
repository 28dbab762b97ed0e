// SPDX-License-Identifier: MIT OR Apache-2.0

//! Pooling: the largest value of a window, or the average.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::{Rows, dense::MOST_ROWS, inside, load, rows::Parts, store, taps};
use crate::native::{
    graph::{Pooling, PoolingKind, Window},
    instructions::InstructionSet,
};

impl Pooling {
    /// Computes some rows of the output.
    ///
    /// # Safety
    /// As [`Dense::rows`](super::dense::Dense::rows).
    pub unsafe fn rows(&self, set: InstructionSet, input: Rows, output: Parts, rows: Range<usize>) {
        set.run(Work { pooling: self, input, output, rows });
    }
}

/// Some rows of output.
struct Work<'a> {
    pooling: &'a Pooling,
    input: Rows,
    output: Parts<'a>,
    rows: Range<usize>,
}

/// A row of a block of output, and what its windows see.
struct Line {
    /// The start of each row that the window sees.
    seen: [*const f32; MOST_ROWS],
    rows: usize,
    to: *mut f32,
}

impl WithSimd for Work<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Constants for what is common, for the compiler to unroll.
        match self.pooling.window.kernel {
            [2, 2] => self.compute::<S, 2>(simd),
            [3, 3] => self.compute::<S, 3>(simd),
            _ => self.compute::<S, 0>(simd),
        }
    }
}

impl Work<'_> {
    /// `KERNEL` is the number of rows and of columns that the window has, or 0.
    #[inline(always)]
    fn compute<S: Simd, const KERNEL: usize>(&self, simd: S) {
        let Self { pooling, input, output, .. } = self;
        let Window { kernel, stride, pads } = pooling.window;
        let (width, columns) = (input.width, output.width());
        let inside = inside(width, columns, kernel[1], stride[1], pads[1]);
        for block in 0..input.blocks {
            for row in self.rows.clone() {
                let tap_rows = taps(row * stride[0], pads[0], kernel[0], input.height);
                let mut seen = [std::ptr::null(); MOST_ROWS];
                for (seen, tap_row) in seen.iter_mut().zip(tap_rows.clone()) {
                    // SAFETY: the window sees this row.
                    let start = unsafe { input.at(block, row * stride[0] + tap_row - pads[0]) };
                    *seen = start.cast_const();
                }
                // SAFETY: the output has the row.
                let to = unsafe { output.at(block, row) };
                let line = Line { seen, rows: tap_rows.len(), to };
                for column in (0..inside.start).chain(inside.end..columns) {
                    let seen = taps(column * stride[1], pads[1], kernel[1], width);
                    self.pixel(simd, &line, column, (line.rows, seen));
                }
                for column in inside.clone() {
                    if KERNEL > 0 && line.rows == KERNEL {
                        self.pixel(simd, &line, column, (KERNEL, 0..KERNEL));
                    } else {
                        self.pixel(simd, &line, column, (line.rows, 0..kernel[1]));
                    }
                }
            }
        }
    }

    /// A pixel, from so many rows and these columns of its window.
    #[inline(always)]
    fn pixel<S: Simd>(
        &self,
        simd: S,
        line: &Line,
        column: usize,
        (rows, columns): (usize, Range<usize>),
    ) {
        let Pooling { kind, window: Window { kernel, stride, pads } } = *self.pooling;
        let start = match kind {
            PoolingKind::Max => f32::NEG_INFINITY,
            PoolingKind::Average | PoolingKind::AverageWithPadding => 0.0,
        };
        let mut value = simd.splat_f32s(start);
        let first = column * stride[1] + columns.start - pads[1];
        // SAFETY: the window's rows and columns are inside.
        unsafe {
            for seen in line.seen.iter().take(rows) {
                for tap in 0..columns.len() {
                    let pixel = load::<S>(seen.add((first + tap) * S::F32_LANES));
                    value = match kind {
                        PoolingKind::Max => simd.max_f32s(value, pixel),
                        _ => simd.add_f32s(value, pixel),
                    };
                }
            }
            let pixels = match kind {
                PoolingKind::Max => 1,
                PoolingKind::Average => rows * columns.len(),
                PoolingKind::AverageWithPadding => kernel[0] * kernel[1],
            };
            if pixels > 1 {
                value = simd.mul_f32s(value, simd.splat_f32s(1.0 / pixels as f32));
            }
            store::<S>(line.to.add(column * S::F32_LANES), value);
        }
    }
}
