// SPDX-License-Identifier: MIT OR Apache-2.0

//! From frames to network inputs, an output row at a time.

use std::ops::Range;

use super::{
    axis::{Axis, AxisKind, ScaleMethod},
    form::packed,
    kernels::{
        copy, gather, gather_pixels, gray_to_bgr, interleave, interpolate_columns,
        interpolate_pixels, interpolate_rows, multiply, prefetch, yuv_to_bgr,
    },
    normalisation::{ChannelOrder, Normalisation},
};
use crate::frame::{Colour, Component, Frame, Layout};

/// How many output rows ahead their source rows are prefetched.
const ROWS_AHEAD: usize = 2;

/// Fills network inputs from frames of one layout and size.
#[derive(Debug)]
pub struct Preprocessor {
    layout: Layout,
    source: (u32, u32),
    target: (u32, u32),
    method: ScaleMethod,
    normalisation: Normalisation,
    /// Per component.
    columns: [Axis; 3],
    rows: [Axis; 3],
    /// The components in the order of their bytes, if they are packed RGB and to be resized.
    packed: Option<[usize; 3]>,
    /// One component between two source rows.
    interpolated: Vec<f32>,
    /// One output row of each component.
    samples: [Vec<f32>; 3],
    /// One output row of blue, green and red, before it is interleaved.
    planes: [Vec<f32>; 3],
}

impl Preprocessor {
    /// For frames of `layout` and the size `source`, resized to `target` (width, height; all at least
    /// 1).
    pub fn new(
        layout: Layout,
        source: (u32, u32),
        target: (u32, u32),
        method: ScaleMethod,
        normalisation: Normalisation,
    ) -> Self {
        let columns =
            layout.components.map(|c| Axis::new(source.0, target.0, c.x_shift, c.step, method));
        let rows = layout.components.map(|c| Axis::new(source.1, target.1, c.y_shift, 1, method));
        let samples = layout.components.map(|_| vec![0.0; target.0 as usize]);
        let packed = packed(&layout).filter(|_| source != target);
        Self {
            layout,
            source,
            target,
            method,
            normalisation,
            columns,
            rows,
            packed,
            interpolated: Vec::new(),
            samples,
            planes: Default::default(),
        }
    }

    /// Whether it was made for such frames and these settings.
    pub fn fits(
        &self,
        frame: &Frame,
        target: (u32, u32),
        method: ScaleMethod,
        normalisation: Normalisation,
    ) -> bool {
        self.layout == *frame.layout()
            && self.source == (frame.width(), frame.height())
            && self.target == target
            && self.method == method
            && self.normalisation == normalisation
    }

    /// Writes the planar input `[3, height, width]`, normalised.
    ///
    /// # Panics
    /// If `input` has another length, or the frame is not what the preprocessor was made for.
    pub fn fill(&mut self, frame: &Frame, input: &mut [f32]) {
        let (width, height) = (self.target.0 as usize, self.target.1 as usize);
        assert_eq!(input.len(), 3 * width * height, "the input is [3, height, width]");
        self.assert_fits(frame);
        let Normalisation { scale, order, .. } = self.normalisation;
        let (first, rest) = input.split_at_mut(width * height);
        let (green, last) = rest.split_at_mut(width * height);
        let (blue, red) = match order {
            ChannelOrder::Bgr => (first, last),
            ChannelOrder::Rgb => (last, first),
        };
        let rows = blue
            .chunks_exact_mut(width)
            .zip(green.chunks_exact_mut(width))
            .zip(red.chunks_exact_mut(width));
        for (y, ((blue, green), red)) in rows.enumerate() {
            self.row(frame, y, [&mut *blue, &mut *green, &mut *red]);
            if scale != 1.0 {
                for row in [blue, green, red] {
                    multiply(row, scale);
                }
            }
        }
    }

    /// Writes packed pixels, `[height, width, channels]`: the frame's own where it has packed RGB of
    /// the target's size, otherwise 3 channels: blue, green, red. The preprocessor must be made without
    /// normalisation, which is the network's.
    ///
    /// # Panics
    /// If `pixels` has another length, or the frame is not what the preprocessor was made for.
    pub fn fill_pixels(&mut self, frame: &Frame, pixels: &mut [u8]) {
        self.assert_fits(frame);
        let (width, height) = (self.target.0 as usize, self.target.1 as usize);
        if self.source == self.target && packed(&self.layout).is_some() {
            let whole = Component { offset: 0, ..self.layout.components[0] };
            let bytes = width * whole.step;
            assert_eq!(pixels.len(), bytes * height, "the pixels are [height, width, channels]");
            for (y, pixels) in pixels.chunks_exact_mut(bytes).enumerate() {
                // The last row may end with its last sample, before the padding byte of a pixel.
                let row = frame.row(&whole, y);
                let len = row.len().min(bytes);
                pixels[..len].copy_from_slice(&row[..len]);
            }
            return;
        }
        assert_eq!(pixels.len(), 3 * width * height, "the pixels are [height, width, 3]");
        let mut planes = std::mem::take(&mut self.planes);
        for plane in &mut planes {
            plane.resize(width, 0.0);
        }
        for (y, pixels) in pixels.chunks_exact_mut(3 * width).enumerate() {
            let [blue, green, red] = &mut planes;
            self.row(frame, y, [blue, green, red]);
            interleave(blue, green, red, pixels);
        }
        self.planes = planes;
    }

    fn assert_fits(&self, frame: &Frame) {
        let fits = self.fits(frame, self.target, self.method, self.normalisation);
        assert!(fits, "the preprocessor was made for other frames");
    }

    /// Output row `y`.
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

    /// Prefetches the source rows of output row `y`. The processor's own prefetcher follows only rows
    /// that are read without gaps.
    fn prefetch(&self, frame: &Frame, y: usize) {
        if y >= self.target.1 as usize {
            return;
        }
        let mut fetched = None;
        for (component, axis) in self.layout.components.iter().zip(&self.rows) {
            let (near, far, _) = axis.rows(y);
            let place = Some((component.plane, near));
            if axis.kind == AxisKind::Identity || place == fetched {
                continue;
            }
            fetched = place;
            let used = used_bytes(component, self.source.0);
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
        let mut samples = std::mem::take(&mut self.samples[component]);
        self.sample(frame, component, y, 0.0, &mut samples);
        self.samples[component] = samples;
    }

    /// One component of output row `y`, less `mean`.
    fn sample(&mut self, frame: &Frame, index: usize, y: usize, mean: f32, out: &mut [f32]) {
        let component = &self.layout.components[index];
        let columns = &self.columns[index];
        let (near, far, weight) = self.rows[index].rows(y);
        let row = frame.row(component, near);
        if weight != 0.0 {
            let used = used_bytes(component, self.source.0);
            let far = &frame.row(component, far)[used.clone()];
            self.interpolated.resize(used.end, 0.0);
            interpolate_rows(&row[used], far, weight, &mut self.interpolated);
            resize_row(&self.interpolated, columns, mean, out);
        } else if columns.kind == AxisKind::Identity {
            copy(row, component.step, mean, out);
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

/// The bytes of a row from the component's first sample to its last.
fn used_bytes(component: &Component, width: u32) -> Range<usize> {
    0..component.row_bytes(width) - component.offset
}
