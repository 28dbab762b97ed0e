// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where the rows of a value are.

use crate::native::graph::Shape;

/// The rows of a value in memory: all of them, or the last few, in turn.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    start: *mut f32,
    /// Floats from a block to the next.
    block_step: usize,
    /// Floats from a row to the next.
    row_step: usize,
    /// So many rows are kept.
    kept: usize,
    lanes: usize,
    pub blocks: usize,
    pub height: usize,
    pub width: usize,
}

impl Rows {
    /// Of a value of this shape with so many `lanes`, all of them or the last `kept`, from `start`.
    pub fn new(start: *mut f32, shape: Shape, lanes: usize, kept: usize) -> Self {
        let row_step = shape.columns * lanes;
        Self {
            start,
            block_step: kept * row_step,
            row_step,
            kept,
            lanes,
            blocks: shape.channels.div_ceil(lanes),
            height: shape.rows,
            width: shape.columns,
        }
    }

    /// The floats that a value takes.
    pub fn len(shape: Shape, lanes: usize, kept: usize) -> usize {
        shape.channels.next_multiple_of(lanes) * kept * shape.columns
    }

    /// Floats of a pixel.
    #[inline(always)]
    pub fn lanes(self) -> usize {
        self.lanes
    }

    /// Floats from a block to the next.
    #[inline(always)]
    pub fn block_step(self) -> usize {
        self.block_step
    }

    /// Floats from a row to the next, where all are kept.
    #[inline(always)]
    pub fn row_step(self) -> usize {
        self.row_step
    }

    /// The start of a row.
    ///
    /// # Safety
    /// The value has this block and row, and the row is kept.
    #[inline(always)]
    pub unsafe fn at(self, block: usize, row: usize) -> *mut f32 {
        let row = if self.kept == self.height { row } else { row % self.kept };
        // SAFETY: within the value.
        unsafe { self.start.add(block * self.block_step + row * self.row_step) }
    }
}

/// A value whose blocks are those of several others, one after another.
#[derive(Clone, Copy)]
pub struct Parts<'a>(pub &'a [Rows]);

/// A row of such a value.
pub struct Line<'a> {
    parts: Parts<'a>,
    row: usize,
    /// The first part's.
    start: *mut f32,
}

impl<'a> Parts<'a> {
    /// A row.
    ///
    /// # Safety
    /// As [`Rows::at`]; there is at least one part.
    #[inline(always)]
    pub unsafe fn line(self, row: usize) -> Line<'a> {
        // SAFETY: as the caller says.
        let start = unsafe { self.0.get_unchecked(0).at(0, row) };
        Line { parts: self, row, start }
    }

    pub fn width(self) -> usize {
        self.0.first().map_or(0, |rows| rows.width)
    }

    /// Floats of a pixel.
    pub fn lanes(self) -> usize {
        self.0.first().map_or(1, |rows| rows.lanes)
    }

    pub fn height(self) -> usize {
        self.0.first().map_or(0, |rows| rows.height)
    }

    /// The start of a row.
    ///
    /// # Safety
    /// As [`Rows::at`].
    #[inline(always)]
    pub unsafe fn at(self, mut block: usize, row: usize) -> *mut f32 {
        let mut parts = self.0;
        // SAFETY: there are as many blocks, and the last part is not left.
        unsafe {
            while parts.len() > 1 && block >= parts.get_unchecked(0).blocks {
                block -= parts.get_unchecked(0).blocks;
                parts = parts.get_unchecked(1..);
            }
            parts.get_unchecked(0).at(block, row)
        }
    }
}

impl Line<'_> {
    /// Where a block begins.
    ///
    /// # Safety
    /// There is such a block.
    #[inline(always)]
    pub unsafe fn at(&self, block: usize) -> *mut f32 {
        // SAFETY: within the value.
        unsafe {
            let first = self.parts.0.get_unchecked(0);
            if block < first.blocks {
                self.start.add(block * first.block_step)
            } else {
                self.parts.at(block, self.row)
            }
        }
    }
}
