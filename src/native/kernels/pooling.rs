// SPDX-License-Identifier: MIT OR Apache-2.0

//! Pooling: the largest value of a window, or the average.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::{Rows, load, rows::Parts, store, taps};
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

impl WithSimd for Work<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for block in 0..self.input.blocks {
            for row in self.rows.clone() {
                for column in 0..self.output.width() {
                    // SAFETY: the row and the column are the caller's.
                    unsafe { self.pixel(simd, block, row, column) };
                }
            }
        }
    }
}

impl Work<'_> {
    /// # Safety
    /// The output has this pixel, and the input what its window sees.
    #[inline(always)]
    unsafe fn pixel<S: Simd>(&self, simd: S, block: usize, row: usize, column: usize) {
        let Self { pooling, input, output, .. } = self;
        let Window { kernel, stride, pads } = pooling.window;
        let rows = taps(row * stride[0], pads[0], kernel[0], input.height);
        let columns = taps(column * stride[1], pads[1], kernel[1], input.width);
        let start = match pooling.kind {
            PoolingKind::Max => f32::NEG_INFINITY,
            PoolingKind::Average | PoolingKind::AverageWithPadding => 0.0,
        };
        let mut value = simd.splat_f32s(start);
        // SAFETY: the window's rows and columns are inside.
        unsafe {
            for tap_row in rows.clone() {
                let line = input.at(block, row * stride[0] + tap_row - pads[0]);
                for tap in columns.clone() {
                    let pixel = line.add((column * stride[1] + tap - pads[1]) * S::F32_LANES);
                    let pixel = load::<S>(pixel);
                    value = match pooling.kind {
                        PoolingKind::Max => simd.max_f32s(value, pixel),
                        _ => simd.add_f32s(value, pixel),
                    };
                }
            }
            let pixels = match pooling.kind {
                PoolingKind::Max => 1,
                PoolingKind::Average => rows.len() * columns.len(),
                PoolingKind::AverageWithPadding => kernel[0] * kernel[1],
            };
            if pixels > 1 {
                value = simd.mul_f32s(value, simd.splat_f32s(1.0 / pixels as f32));
            }
            store::<S>(output.at(block, row).add(column * S::F32_LANES), value);
        }
    }
}
