// SPDX-License-Identifier: MIT OR Apache-2.0

//! Hiding one face.

use std::ops::Range;

use super::cells::Cells;
use crate::{
    frame::{Component, FrameMut},
    geometry::Rect,
};

/// What is left of a face.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The means of so many squares along the longer side of its box, with a smooth transition from
    /// one to the next.
    Blur(u32),
    /// The means of so many squares along the longer side of its box.
    Pixelate(u32),
    /// Nothing: samples of these values, one for each of the frame's components.
    Fill([u32; 3]),
}

/// The part of a face's box that is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The largest ellipse in it.
    Ellipse,
    /// All of it.
    Rectangle,
}

/// Hides faces. The memory that it needs is kept for the next.
#[derive(Debug, Default)]
pub struct Hider {
    columns: Cells,
    rows: Cells,
    /// Sum and number of the samples of each cell, row by row.
    sums: Vec<(u64, u64)>,
    /// The mean of each cell.
    means: Vec<f32>,
    /// One row between two rows of cells.
    row: Vec<f32>,
}

impl Hider {
    /// Hides what is in the box `bounds`, in the frame's pixels. Every sample that the shape touches is
    /// hidden. Opacity stays as it is.
    pub fn hide(&mut self, frame: &mut FrameMut, bounds: &Rect, mode: Mode, shape: Shape) {
        let layout = *frame.layout();
        let fill = match mode {
            Mode::Fill(values) => values,
            Mode::Blur(_) | Mode::Pixelate(_) => [0; 3],
        };
        for (component, fill) in layout.distinct().iter().zip(fill) {
            let Some(area) = Area::new(frame, component, bounds, shape) else { continue };
            match mode {
                Mode::Fill(_) => area.write(frame, component, |_, _| fill),
                Mode::Pixelate(squares) => {
                    self.average(frame, component, &area, squares);
                    let (columns, rows, means) = (&self.columns, &self.rows, &self.means);
                    area.write(frame, component, |x, y| {
                        let (column, row) = (columns.samples()[x].cell, rows.samples()[y].cell);
                        rounded(means[row * columns.count() + column])
                    });
                }
                Mode::Blur(squares) => {
                    self.average(frame, component, &area, squares);
                    for y in 0..area.down.count {
                        self.between_rows(y);
                        let (columns, row) = (self.columns.samples(), &self.row);
                        area.write_row(frame, component, y, |x| {
                            let [near, far] = columns[x].between.map(|column| row[column]);
                            rounded(near + (far - near) * columns[x].weight)
                        });
                    }
                }
            }
        }
    }

    /// Sets `means` to those of `squares` along the longer side of the face's box: fewer where a part
    /// of it is outside of the frame, or a square would be less than two samples.
    fn average(&mut self, frame: &FrameMut, component: &Component, area: &Area, squares: u32) {
        let cells = |line: &Line, longer_side: f64| {
            let cells = line.count as f64 * f64::from(squares) / longer_side;
            // The conversion saturates.
            (cells.round() as usize).clamp(1, (line.count / 2).max(1))
        };
        self.columns.divide(area.across.count, cells(&area.across, area.longer_side.0));
        self.rows.divide(area.down.count, cells(&area.down, area.longer_side.1));
        self.sums.clear();
        self.sums.resize(self.columns.count() * self.rows.count(), (0, 0));
        for (y, row) in self.rows.samples().iter().enumerate() {
            let sums = &mut self.sums[row.cell * self.columns.count()..];
            for (x, column) in self.columns.samples().iter().enumerate() {
                let sample = frame.read(component, area.across.first + x, area.down.first + y);
                let (sum, count) = &mut sums[column.cell];
                *sum += u64::from(sample.unwrap_or_default());
                *count += 1;
            }
        }
        self.means.clear();
        self.means.extend(self.sums.iter().map(|(sum, count)| *sum as f32 / *count as f32));
    }

    /// Sets `row` to the means of the cells above and below row `y` of the samples, mixed.
    fn between_rows(&mut self, y: usize) {
        let (columns, place) = (self.columns.count(), self.rows.samples()[y]);
        let [upper, lower] = place.between.map(|row| &self.means[row * columns..][..columns]);
        self.row.clear();
        self.row.extend(upper.iter().zip(lower).map(|(a, b)| a + (b - a) * place.weight));
    }
}

fn rounded(value: f32) -> u32 {
    (value + 0.5) as u32
}

/// The samples of a component that a face's box touches.
struct Area {
    across: Line,
    down: Line,
    shape: Shape,
    /// The longer side of the box, in columns and in rows.
    longer_side: (f64, f64),
}

impl Area {
    /// `None` where there are none in the frame.
    fn new(frame: &FrameMut, component: &Component, bounds: &Rect, shape: Shape) -> Option<Self> {
        let window = frame.window();
        let (end_x, end_y) = window.extent();
        let (x_shift, y_shift) = (component.x_shift, component.y_shift);
        let side = f64::from(bounds.width().max(bounds.height()));
        let samples = |shift: u32| side / f64::from(1u32 << shift);
        Some(Self {
            across: Line::new((bounds.x_min, bounds.x_max), (window.x, end_x), x_shift)?,
            down: Line::new((bounds.y_min, bounds.y_max), (window.y, end_y), y_shift)?,
            shape,
            longer_side: (samples(x_shift), samples(y_shift)),
        })
    }

    /// The hidden ones of row `y`, both counted from the area's first.
    fn hidden(&self, y: usize) -> Range<usize> {
        let (start, end) = match self.shape {
            Shape::Rectangle => (self.across.start, self.across.end),
            Shape::Ellipse => self.across.middle_part(self.down.chord(self.down.first + y)),
        };
        let column = |position: f64| {
            (position - self.across.first as f64).clamp(0.0, self.across.count as f64) as usize
        };
        column(start.floor())..column(end.ceil())
    }

    /// Writes the hidden samples, given their column and row in the area.
    fn write(
        &self,
        frame: &mut FrameMut,
        component: &Component,
        value: impl Fn(usize, usize) -> u32,
    ) {
        for y in 0..self.down.count {
            self.write_row(frame, component, y, |x| value(x, y));
        }
    }

    fn write_row(
        &self,
        frame: &mut FrameMut,
        component: &Component,
        y: usize,
        value: impl Fn(usize) -> u32,
    ) {
        for x in self.hidden(y) {
            frame.write(component, self.across.first + x, self.down.first + y, value(x));
        }
    }
}

/// A box in one direction, in samples of a plane: sample i reaches from i to i + 1.
struct Line {
    start: f64,
    end: f64,
    /// The samples that it touches, inside the frame.
    first: usize,
    count: usize,
}

impl Line {
    /// From pixels of the frame, which begins and ends at these pixels of the plane's picture.
    fn new((start, end): (f32, f32), frame: (u32, u32), shift: u32) -> Option<Self> {
        let sample = f64::from(1u32 << shift);
        let position = |pixel: f32| (f64::from(pixel) + f64::from(frame.0)) / sample;
        let (start, end) = (position(start), position(end));
        if start >= end || start.is_nan() || end.is_nan() {
            return None;
        }
        let (first, last) = (frame.0 >> shift, (frame.1 - 1) >> shift);
        let inside =
            |position: f64| position.clamp(f64::from(first), f64::from(last) + 1.0) as usize;
        let (first, last) = (inside(start.floor()), inside(end.ceil()));
        (first < last).then(|| Self { start, end, first, count: last - first })
    }

    /// For an ellipse that is as long as this line: how long it is, compared to its width in the
    /// middle, where sample `index` is widest.
    fn chord(&self, index: usize) -> f64 {
        let (middle, half) = ((self.start + self.end) / 2.0, (self.end - self.start) / 2.0);
        let nearest = middle.clamp(index as f64, index as f64 + 1.0);
        let distance = (nearest - middle) / half;
        (1.0 - distance * distance).max(0.0).sqrt()
    }

    /// Start and end of a part of the line around its middle.
    fn middle_part(&self, part: f64) -> (f64, f64) {
        let (middle, half) = ((self.start + self.end) / 2.0, (self.end - self.start) / 2.0 * part);
        (middle - half, middle + half)
    }
}
