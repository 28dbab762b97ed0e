// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where the values of one pyramid level stand in a network's output tensors.
//!
//! Face networks arrange the same numbers in several ways: one tensor for all levels or one a
//! level, channels last or first. [`Level`] describes any of them, so that one decoder reads all.

use crate::geometry::Point;

/// Values of each anchor's box and landmarks.
pub const BOX_VALUES: usize = 4;
pub const LANDMARK_VALUES: usize = 10;

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

impl View {
    /// Values in an output `[1, anchors, values]`, with `before` anchors of other levels in front: those of an
    /// anchor side by side, the `anchors` of a cell one after the other.
    pub fn side_by_side(output: usize, values: usize, anchors: usize, before: usize) -> Self {
        Self { output, offset: before * values, cell: anchors * values, anchor: values, channel: 1 }
    }

    /// Values in an output `[1, channels, rows, columns]` of a level of `grid` (columns, rows) cells, from
    /// this channel on: those of one anchor after those of the other.
    pub fn planes(output: usize, channel: usize, values: usize, grid: (usize, usize)) -> Self {
        let plane = grid.0 * grid.1;
        Self { output, offset: channel * plane, cell: 1, anchor: values * plane, channel: plane }
    }

    /// The values of one anchor at one cell.
    ///
    /// # Panics
    /// If they lie outside `values`: see [`Level::output_len`].
    pub fn read<const N: usize>(&self, values: &[f32], anchor: usize, cell: usize) -> [f32; N] {
        let start = self.offset + anchor * self.anchor + cell * self.cell;
        std::array::from_fn(|k| values[start + k * self.channel])
    }

    /// The element after the last.
    fn end(&self, cells: usize, anchors: usize, values: usize) -> usize {
        let last = |count: usize| count.saturating_sub(1);
        self.offset
            + last(cells) * self.cell
            + last(anchors) * self.anchor
            + last(values) * self.channel
            + 1
    }
}

/// An anchor at one place of a level's grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Network input pixels from one cell to the next.
    pub stride: u32,
    /// Column and row, from 0.
    pub x: usize,
    pub y: usize,
    /// Which of the cell's anchors, from 0.
    pub anchor: usize,
}

impl Cell {
    /// Its upper left corner, in network input pixels.
    pub fn corner(&self) -> Point {
        let at = |position: usize| position as f32 * self.stride as f32;
        Point { x: at(self.x), y: at(self.y) }
    }
}

/// One level of the feature pyramid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Network input pixels from one cell to the next.
    pub stride: u32,
    /// Cells in a row and in a column.
    pub grid: (usize, usize),
    /// Anchors at each cell.
    pub anchors: usize,
    /// One value an anchor.
    pub score: View,
    /// One value an anchor, where a network says apart whether there is anything at all: the score
    /// of a face is then the root of the product of both.
    pub objectness: Option<View>,
    /// [`BOX_VALUES`] an anchor.
    pub boxes: View,
    /// [`LANDMARK_VALUES`] an anchor: x and y of five points.
    pub landmarks: Option<View>,
    /// Values of each point: 2, or 3 if the network says as well how visible it is.
    pub point_values: usize,
}

impl Level {
    /// A level whose values are all in one output `[1, channels, rows, columns]`: scores, boxes and
    /// landmarks, the anchors of each one after the other.
    pub fn merged(
        output: usize,
        stride: u32,
        grid: (usize, usize),
        anchors: usize,
        landmarks: bool,
    ) -> Self {
        let view = |channel, values| View::planes(output, channel, values, grid);
        Self {
            stride,
            grid,
            anchors,
            score: view(0, 1),
            objectness: None,
            boxes: view(anchors, BOX_VALUES),
            landmarks: landmarks.then(|| view(anchors * (1 + BOX_VALUES), LANDMARK_VALUES)),
            point_values: 2,
        }
    }

    pub fn cells(&self) -> usize {
        self.grid.0 * self.grid.1
    }

    /// Cell number `index`, counted row by row.
    pub fn cell(&self, index: usize, anchor: usize) -> Cell {
        Cell { stride: self.stride, x: index % self.grid.0, y: index / self.grid.0, anchor }
    }

    /// How many values output `index` must have for every view of this level to lie inside it.
    pub fn output_len(&self, index: usize) -> usize {
        let views = [
            (Some(self.score), 1),
            (self.objectness, 1),
            (Some(self.boxes), BOX_VALUES),
            (self.landmarks, LANDMARK_VALUES / 2 * self.point_values),
        ];
        let end = |(view, values): (Option<View>, usize)| {
            let view = view.filter(|view| view.output == index)?;
            Some(view.end(self.cells(), self.anchors, values))
        };
        views.into_iter().filter_map(end).max().unwrap_or(0)
    }
}

/// Cells that a level has along `size` input pixels.
pub fn cells(size: u32, stride: u32) -> usize {
    size.div_ceil(stride) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Anchor 1 of cell 2: 100 + 2·20 + 1·7 = 147, and every third value from there.
    #[test]
    fn a_view_reads_with_its_strides() {
        let view = View { output: 0, offset: 100, cell: 20, anchor: 7, channel: 3 };
        let values: Vec<f32> = (0..200).map(|value| value as f32).collect();
        assert_eq!(view.read(&values, 1, 2), [147.0, 150.0, 153.0, 156.0]);
        assert_eq!(view.read(&values, 0, 0), [100.0, 103.0]);
    }

    #[test]
    fn cells_are_counted_row_by_row() {
        let level = Level::merged(0, 16, (7, 4), 3, false);
        assert_eq!(level.cells(), 28);
        assert_eq!(level.cell(0, 1), Cell { stride: 16, x: 0, y: 0, anchor: 1 });
        assert_eq!(level.cell(6, 2), Cell { stride: 16, x: 6, y: 0, anchor: 2 });
        assert_eq!(level.cell(23, 0), Cell { stride: 16, x: 2, y: 3, anchor: 0 });
    }

    /// Three anchors over 28 cells: channels 0 to 2 are scores, 3 to 14 boxes, 15 to 44 landmarks.
    #[test]
    fn a_merged_level_is_one_output() {
        let level = Level::merged(5, 16, (7, 4), 3, true);
        assert_eq!((level.stride, level.grid, level.anchors), (16, (7, 4), 3));
        let view = |offset, anchor| View { output: 5, offset, cell: 1, anchor, channel: 28 };
        assert_eq!(level.score, view(0, 28));
        assert_eq!(level.boxes, view(3 * 28, 4 * 28));
        assert_eq!(level.landmarks, Some(view(15 * 28, 10 * 28)));
        assert_eq!(level.output_len(5), 45 * 28);
        assert_eq!(level.output_len(4), 0);
        let without = Level::merged(5, 16, (7, 4), 3, false);
        assert_eq!((without.landmarks, without.output_len(5)), (None, 15 * 28));
    }

    /// A value of the last anchor of the last of 6 cells: 2 + 5·8 + 1·4 + 3·1 = 49 is the last element.
    #[test]
    fn an_output_ends_after_the_last_value() {
        let view = |output| View { output, offset: 2, cell: 8, anchor: 4, channel: 1 };
        let level = Level {
            stride: 8,
            grid: (3, 2),
            anchors: 2,
            score: View { output: 0, offset: 1, cell: 4, anchor: 2, channel: 1 },
            objectness: Some(View { output: 2, offset: 0, cell: 2, anchor: 1, channel: 1 }),
            boxes: view(1),
            landmarks: None,
            point_values: 2,
        };
        assert_eq!(level.output_len(1), 50);
        // 1 + 5·4 + 1·2 = 23 is the last.
        assert_eq!(level.output_len(0), 24);
        // 5·2 + 1·1 = 11.
        assert_eq!(level.output_len(2), 12);
        assert_eq!(level.output_len(3), 0);
    }

    #[test]
    fn a_cell_that_is_cut_off_counts() {
        let table = [(1, 8, 1), (8, 8, 1), (9, 8, 2), (640, 32, 20), (641, 32, 21), (97, 16, 7)];
        for (size, stride, count) in table {
            assert_eq!(cells(size, stride), count, "{size} pixels, stride {stride}");
        }
    }
}
