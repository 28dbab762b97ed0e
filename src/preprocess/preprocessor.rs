// SPDX-License-Identifier: MIT OR Apache-2.0

//! From frames to network inputs, an output row at a time.

use std::{mem, ops::Range};

use super::{
    axis::{Axis, AxisKind, ScaleMethod},
    form::packed,
    kernels::{
        copy, gather, gather_pixels, gray_to_bgr, interleave, interpolate_columns,
        interpolate_pixels, interpolate_rows, multiply, narrow, prefetch, transpose, yuv_to_bgr,
    },
    normalisation::{ChannelOrder, Normalisation},
    placement::Placement,
};
use crate::frame::{Colour, Component, Frame, Layout, Storage, Window};

/// How many output rows ahead their source rows are prefetched.
const ROWS_AHEAD: usize = 2;

/// How many rows are put together where they become columns: a cache line of floats.
const TILE: usize = 16;

/// Fills network inputs from frames of one layout and size.
#[derive(Debug)]
pub struct Preprocessor {
    layout: Layout,
    window: Window,
    placement: Placement,
    method: ScaleMethod,
    normalisation: Normalisation,
    /// Per component, from here on: where the eight highest bits of its samples are bytes, in the frame
    /// or in a row of `narrowed`.
    bytes: [Component; 3],
    /// Rows and columns are the frame's as it is stored.
    columns: [Axis; 3],
    rows: [Axis; 3],
    /// The components in the order of their bytes, if they are packed RGB and not just copied.
    packed: Option<[usize; 3]>,
    /// Two source rows of words as bytes.
    narrowed: [Vec<u8>; 2],
    /// One component between two source rows.
    interpolated: Vec<f32>,
    /// One output row of each component.
    samples: [Vec<f32>; 3],
    /// Output rows of blue, green and red, before they are interleaved or become columns.
    tile: [Vec<f32>; 3],
    /// Pixels that become a column.
    column: Vec<u8>,
}

impl Preprocessor {
    /// For frames of `layout` that are such a window of their picture.
    pub fn new(
        layout: Layout,
        window: Window,
        placement: Placement,
        method: ScaleMethod,
        normalisation: Normalisation,
    ) -> Self {
        let Placement { orientation, picture, scale, .. } = placement;
        let ratio = scale.map(|scale| 1.0 / scale);
        let (width, height) = orientation.turn(picture);
        let (end_x, end_y) = window.extent();
        let (flipped_x, flipped_y) = (orientation.is_flipped_x(), orientation.is_flipped_y());
        let bytes = layout.components.map(|component| {
            let narrowed = Component { offset: 0, step: 1, storage: Storage::Byte, ..component };
            component.high_byte().unwrap_or(narrowed)
        });
        let columns = bytes.map(|c| {
            Axis::new(window.x..end_x, (width, ratio), flipped_x, c.x_shift, c.step, method)
        });
        let rows = layout
            .components
            .map(|c| Axis::new(window.y..end_y, (height, ratio), flipped_y, c.y_shift, 1, method));
        let copied = [&columns[0], &rows[0]].iter().all(|axis| axis.kind == AxisKind::Identity);
        Self {
            layout,
            window,
            placement,
            method,
            normalisation,
            packed: packed(&layout).filter(|_| !copied),
            narrowed: Default::default(),
            interpolated: Vec::new(),
            samples: layout.components.map(|_| vec![0.0; width as usize]),
            tile: Default::default(),
            column: Vec::new(),
            bytes,
            columns,
            rows,
        }
    }

    /// Whether it was made for such frames and these settings.
    pub fn fits(
        &self,
        frame: &Frame,
        placement: &Placement,
        method: ScaleMethod,
        normalisation: Normalisation,
    ) -> bool {
        self.layout == *frame.layout()
            && self.window == *frame.window()
            && self.placement == *placement
            && self.method == method
            && self.normalisation == normalisation
    }

    /// Writes the planar input `[3, height, width]`, normalised, with the padding beside the picture.
    ///
    /// # Panics
    /// If `input` has another length, or the frame is not what the preprocessor was made for.
    pub fn fill(&mut self, frame: &Frame, input: &mut [f32]) {
        let (width, height) = size(self.placement.input);
        let (columns, rows) = size(self.placement.picture);
        assert_eq!(input.len(), 3 * width * height, "the input is [3, height, width]");
        self.assert_fits(frame);
        let Normalisation { mean, scale, order, padding } = self.normalisation;
        let (first, rest) = input.split_at_mut(width * height);
        let (green, last) = rest.split_at_mut(width * height);
        let (blue, red) = match order {
            ChannelOrder::Bgr => (first, last),
            ChannelOrder::Rgb => (last, first),
        };
        if self.placement.orientation.is_transposed() {
            let mut tile = mem::take(&mut self.tile);
            for left in (0..columns).step_by(TILE) {
                let count = TILE.min(columns - left);
                for plane in &mut tile {
                    plane.resize(count * rows, 0.0);
                }
                for column in 0..count {
                    let row = tile.each_mut().map(|plane| &mut plane[column * rows..][..rows]);
                    self.row(frame, left + column, row);
                }
                for (tile, plane) in tile.iter_mut().zip([&mut *blue, &mut *green, &mut *red]) {
                    if scale != 1.0 {
                        multiply(tile, scale);
                    }
                    transpose(tile, rows, &mut plane[left..], width);
                }
            }
            self.tile = tile;
        } else {
            let planes = blue
                .chunks_exact_mut(width)
                .zip(green.chunks_exact_mut(width))
                .zip(red.chunks_exact_mut(width));
            for (y, ((blue, green), red)) in planes.take(rows).enumerate() {
                let [blue, green, red] = [blue, green, red].map(|row| &mut row[..columns]);
                self.row(frame, y, [&mut *blue, &mut *green, &mut *red]);
                if scale != 1.0 {
                    for row in [blue, green, red] {
                        multiply(row, scale);
                    }
                }
            }
        }
        if self.placement.picture != self.placement.input {
            for (channel, plane) in [blue, green, red].into_iter().enumerate() {
                let padding = (padding[channel] - mean[channel]) * scale;
                let (picture, below) = plane.split_at_mut(width * rows);
                picture.chunks_exact_mut(width).for_each(|row| row[columns..].fill(padding));
                below.fill(padding);
            }
        }
    }

    /// Writes packed pixels, `[height, width, channels]`: the frame's own where it is upright, of the
    /// input's size and packed RGB, otherwise 3 channels: blue, green, red; `padding` beside the
    /// picture. The preprocessor must be made without normalisation, which is the network's.
    ///
    /// # Panics
    /// If `pixels` has another length, or the frame is not what the preprocessor was made for.
    pub fn fill_pixels(&mut self, frame: &Frame, pixels: &mut [u8], padding: [u8; 3]) {
        self.assert_fits(frame);
        let (width, height) = size(self.placement.input);
        let (columns, rows) = size(self.placement.picture);
        let whole = Placement::whole((self.window.width, self.window.height));
        if self.placement == whole && packed(&self.layout).is_some() {
            let pixel = Component { offset: 0, ..self.layout.components[0] };
            let bytes = width * pixel.step;
            assert_eq!(pixels.len(), bytes * height, "the pixels are [height, width, channels]");
            for (y, pixels) in pixels.chunks_exact_mut(bytes).enumerate() {
                // The last row may end with its last sample, before the padding byte of a pixel.
                let row = frame.row(&pixel, self.window.y as usize + y);
                let row = &row[self.window.x as usize * pixel.step..];
                let len = row.len().min(bytes);
                pixels[..len].copy_from_slice(&row[..len]);
            }
            return;
        }
        assert_eq!(pixels.len(), 3 * width * height, "the pixels are [height, width, 3]");
        let mut tile = mem::take(&mut self.tile);
        if self.placement.orientation.is_transposed() {
            // Rows of the frame become columns.
            for plane in &mut tile {
                plane.resize(rows, 0.0);
            }
            let mut column = mem::take(&mut self.column);
            column.resize(3 * rows, 0);
            for x in 0..columns {
                let [blue, green, red] = &mut tile;
                self.row(frame, x, [&mut *blue, &mut *green, &mut *red]);
                interleave(blue, green, red, &mut column);
                let pixels = pixels.chunks_exact_mut(3 * width);
                for (row, pixel) in pixels.zip(column.as_chunks::<3>().0) {
                    row[3 * x..][..3].copy_from_slice(pixel);
                }
            }
            self.column = column;
        } else {
            for plane in &mut tile {
                plane.resize(columns, 0.0);
            }
            for (y, pixels) in pixels.chunks_exact_mut(3 * width).take(rows).enumerate() {
                let [blue, green, red] = &mut tile;
                self.row(frame, y, [&mut *blue, &mut *green, &mut *red]);
                interleave(blue, green, red, &mut pixels[..3 * columns]);
            }
        }
        self.tile = tile;
        if self.placement.picture != self.placement.input {
            for (y, row) in pixels.chunks_exact_mut(3 * width).enumerate() {
                let free = if y < rows { &mut row[3 * columns..] } else { row };
                free.as_chunks_mut::<3>().0.fill(padding);
            }
        }
    }

    fn assert_fits(&self, frame: &Frame) {
        let fits = self.fits(frame, &self.placement, self.method, self.normalisation);
        assert!(fits, "the preprocessor was made for other frames");
    }

    /// Output row `y` of the frame as it is stored.
    fn row(&mut self, frame: &Frame, y: usize, [blue, green, red]: [&mut [f32]; 3]) {
        let mean = self.normalisation.mean;
        self.prefetch(frame, y + ROWS_AHEAD);
        match self.layout.colour {
            Colour::Rgb if self.packed.is_some() => self.packed_row(frame, y, [blue, green, red]),
            Colour::Rgb => {
                self.sample(frame, 0, y, mean[2], red);
                self.sample(frame, 1, y, mean[1], green);
                self.sample(frame, 2, y, mean[0], blue);
            }
            Colour::Gray(luma) => {
                self.sample_scratch(frame, 0, y);
                gray_to_bgr(&self.samples[0], luma, mean, blue, green, red);
            }
            Colour::Yuv(luma, chroma) => {
                for component in 0..3 {
                    self.sample_scratch(frame, component, y);
                }
                let [luma_row, u, v] = &self.samples;
                yuv_to_bgr([luma_row, u, v], luma, chroma, mean, blue, green, red);
            }
        }
    }

    /// Prefetches the source rows of output row `y` of the frame as it is stored. The processor's own
    /// prefetcher follows only rows that are read without gaps.
    fn prefetch(&self, frame: &Frame, y: usize) {
        let mut fetched = None;
        for (component, axis) in self.layout.components.iter().zip(&self.rows) {
            if y >= axis.near.len() {
                return;
            }
            let (near, far, _) = axis.rows(y);
            let place = Some((component.plane, near));
            if axis.kind == AxisKind::Identity || place == fetched {
                continue;
            }
            fetched = place;
            let used = used_bytes(component, &self.window);
            prefetch(&frame.row(component, near)[used.clone()]);
            if far != near {
                prefetch(&frame.row(component, far)[used]);
            }
        }
    }

    /// Output row `y` of packed RGB.
    fn packed_row(&mut self, frame: &Frame, y: usize, out: [&mut [f32]; 3]) {
        let Some([first, second, third]) = self.packed else { return };
        let component = &self.layout.components[first];
        let columns = &self.columns[first];
        let (near, far, weight) = self.rows[first].rows(y);
        let rows = [near, far].map(|row| frame.row(component, row));
        // Red is component 0, blue 2.
        let [blue, green, red] = out;
        let out = match first {
            0 => [red, green, blue],
            _ => [blue, green, red],
        };
        let mean = [first, second, third].map(|component| self.normalisation.mean[2 - component]);
        if weight == 0.0 && columns.kind != AxisKind::Interpolate {
            gather_pixels(rows[0], &columns.near, mean, out);
        } else {
            interpolate_pixels(
                rows,
                weight,
                &columns.near,
                &columns.far,
                &columns.weight,
                mean,
                out,
            );
        }
    }

    fn sample_scratch(&mut self, frame: &Frame, component: usize, y: usize) {
        let mut samples = mem::take(&mut self.samples[component]);
        self.sample(frame, component, y, 0.0, &mut samples);
        self.samples[component] = samples;
    }

    /// One component of output row `y`, less `mean`.
    fn sample(&mut self, frame: &Frame, index: usize, y: usize, mean: f32, out: &mut [f32]) {
        let component = &self.layout.components[index];
        let (near, far, weight) = self.rows[index].rows(y);
        let bytes = &self.bytes[index];
        let used = used_bytes(bytes, &self.window);
        let mut narrowed = mem::take(&mut self.narrowed);
        let rows = match component.storage {
            Storage::Word { depth, shift, .. } if component.high_byte().is_none() => {
                let words = used_bytes(component, &self.window);
                let count = if weight == 0.0 { 1 } else { 2 };
                for (row, narrowed) in [near, far].into_iter().zip(&mut narrowed).take(count) {
                    narrowed.resize(used.end, 0);
                    let row = &frame.row(component, row)[words.clone()];
                    narrow(row, depth + shift - 8, &mut narrowed[used.clone()]);
                }
                narrowed.each_ref().map(Vec::as_slice)
            }
            _ => [near, far].map(|row| frame.row(bytes, row)),
        };
        self.resample(rows, weight, index, mean, out);
        self.narrowed = narrowed;
    }

    /// [`Preprocessor::sample`] between two rows of bytes.
    fn resample(
        &mut self,
        [row, far]: [&[u8]; 2],
        weight: f32,
        index: usize,
        mean: f32,
        out: &mut [f32],
    ) {
        let component = &self.bytes[index];
        let columns = &self.columns[index];
        if weight != 0.0 {
            let used = used_bytes(component, &self.window);
            self.interpolated.resize(used.end, 0.0);
            let (row, far) = (&row[used.clone()], &far[used.clone()]);
            interpolate_rows(row, far, weight, &mut self.interpolated[used]);
            resize_row(&self.interpolated, columns, mean, out);
        } else if columns.kind == AxisKind::Identity {
            copy(&row[columns.near[0] as usize..], component.step, mean, out);
        } else {
            resize_row(row, columns, mean, out);
        }
    }
}

/// The samples that `columns` reads of a row, less `mean`.
fn resize_row<T: Copy + Into<f32>>(row: &[T], columns: &Axis, mean: f32, out: &mut [f32]) {
    let Axis { near, far, weight, kind } = columns;
    match kind {
        AxisKind::Identity | AxisKind::Gather => gather(row, near, mean, out),
        AxisKind::Interpolate => interpolate_columns(row, near, far, weight, mean, out),
    }
}

/// The bytes of a row from the component's first sample in the window to its last.
fn used_bytes(component: &Component, window: &Window) -> Range<usize> {
    let first = (window.x >> component.x_shift) as usize * component.step;
    first..component.row_bytes(window.extent().0) - component.offset
}

fn size((width, height): (u32, u32)) -> (usize, usize) {
    (width as usize, height as usize)
}
