// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where a network's answers stand in its output tensors.
//!
//! RetinaFace networks arrange the same numbers in several ways: one tensor for all levels or one a
//! level, channels last or first, scores with softmax or raw. [`Heads`] describes any of them, so
//! that one decoder reads all.

use super::anchors::PER_CELL;

/// How boxes and landmarks are coded relative to their anchors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// biubug6/Pytorch_Retinaface and its descendants: SSD's coding with variances.
    Ssd,
    /// InsightFace's MXNet networks: Faster R-CNN's coding, corner pixels included.
    FasterRcnn,
}

/// What a score value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Score {
    /// The probability of a face, 0 to 1.
    Probability,
    /// Its logit: the face's raw output minus the background's.
    Logit,
}

/// A strided view of one output tensor: value `k` of anchor `a` at cell `c` (row by row) is the
/// element `offset + c·cell + a·anchor + k·channel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Which of the network's outputs.
    pub output: usize,
    pub offset: usize,
    pub cell: usize,
    pub anchor: usize,
    pub channel: usize,
}

/// One level of the feature pyramid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Network input pixels from one cell to the next.
    pub stride: u32,
    /// Cells in a row and in a column.
    pub grid: (usize, usize),
    /// One value an anchor.
    pub score: View,
    /// Four values an anchor.
    pub boxes: View,
    /// Ten values an anchor: x and y of five points.
    pub landmarks: Option<View>,
}

/// The outputs of a network for one input size, each level with two anchors a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heads {
    pub coding: Coding,
    pub score: Score,
    pub levels: Vec<Level>,
}

/// Cells that a level has along `size` input pixels.
pub fn cells(size: u32, stride: u32) -> usize {
    size.div_ceil(stride) as usize
}

impl Heads {
    /// How many values output `index` must have for every view to lie inside it.
    pub fn output_len(&self, index: usize) -> usize {
        let level_len = |level: &Level| {
            let views = [(Some(level.score), 1), (Some(level.boxes), 4), (level.landmarks, 10)];
            let end = |(view, values): (Option<View>, usize)| {
                let view = view.filter(|view| view.output == index)?;
                Some(view.end(level.cells(), values))
            };
            views.into_iter().filter_map(end).max()
        };
        self.levels.iter().filter_map(level_len).max().unwrap_or(0)
    }
}

impl Level {
    pub fn cells(&self) -> usize {
        self.grid.0 * self.grid.1
    }
}

impl View {
    /// The element after the last.
    fn end(&self, cells: usize, values: usize) -> usize {
        let last = |count: usize| count.saturating_sub(1);
        self.offset
            + last(cells) * self.cell
            + last(PER_CELL) * self.anchor
            + last(values) * self.channel
            + 1
    }
}
