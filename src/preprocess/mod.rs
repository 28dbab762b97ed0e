// SPDX-License-Identifier: MIT OR Apache-2.0

//! Frame in, network input out: resize, colour conversion, channel order, mean and layout in one
//! pass over the rows, with nothing of the frame's size in between. Or pixels as they are, for
//! devices that do all that better.

use std::ops::Range;

mod kernels;
mod normalisation;

pub use normalisation::{ChannelOrder, Normalisation};

use crate::frame::{Colour, Component, Frame, Layout};
use kernels::{
    blend_columns, blend_pixels, blend_rows, copy, gray, interleave, multiply, pick, pick_pixels,
    prefetch, yuv,
};

/// How a frame is resized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScaleMethod {
    /// The pixel at `floor(x · source / target)`, as OpenCV's `INTER_NEAREST`.
    Nearest,
    /// Between the four pixels around, pixel centres aligned, as OpenCV's `INTER_LINEAR`.
    #[default]
    Bilinear,
}

/// What a network takes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Floats, `[3, height, width]`: blue, green and red of the size that the network looks at, less
    /// their mean.
    Planes,
    /// Bytes, `[height, width, channels]`. Resizing, order, mean and layout are the network's.
    Pixels(Pixels),
}

/// Pixels on their way to a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// Width and height.
    pub size: (u32, u32),
    /// Bytes of a pixel.
    pub channels: usize,
    /// Where in a pixel blue, green and red stand.
    pub order: [usize; 3],
    /// How they are resized to what the network looks at.
    pub method: ScaleMethod,
}

impl Pixels {
    /// What is least to copy of a frame of `source` (width, height) that the network looks at in
    /// the size `target`: the frame's own pixels, unless it is larger or no three bytes side by side
    /// are a pixel.
    pub fn least(
        layout: &Layout,
        source: (u32, u32),
        target: (u32, u32),
        method: ScaleMethod,
    ) -> Self {
        let count = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
        let size = if count(target) < count(source) { target } else { source };
        // One form where there is nothing to resize.
        let method = if size == target { ScaleMethod::default() } else { method };
        let [red, green, blue] = layout.components;
        match packed(layout) {
            Some(_) if size == source => {
                let order = [blue.offset, green.offset, red.offset];
                Self { size, channels: red.step, order, method }
            }
            _ => Self { size, channels: 3, order: [0, 1, 2], method },
        }
    }
}

/// How many output rows ahead the source rows are called into the cache.
const ROWS_AHEAD: usize = 2;

/// Which source samples one output axis reads: at each position `near` and, between the two by
/// `weight`, `far`.
#[derive(Debug, Default)]
struct Axis {
    near: Vec<u32>,
    far: Vec<u32>,
    weight: Vec<f32>,
    kind: AxisKind,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum AxisKind {
    /// Position x reads sample x.
    #[default]
    Identity,
    /// Position x reads sample `near[x]`.
    Pick,
    /// Position x reads between `near[x]` and `far[x]`.
    Blend,
}

impl Axis {
    /// `source` pixels onto `target`, for a component of `source >> shift` samples (rounded up)
    /// that stand `step` apart.
    fn new(source: u32, target: u32, shift: u32, step: usize, method: ScaleMethod) -> Self {
        let samples = ((source - 1) >> shift) + 1;
        let index = |sample: u32| sample * step as u32;
        let mut axis = Axis::default();
        if source == target || method == ScaleMethod::Nearest {
            // A subsampled component repeats its samples.
            axis.near = (0..u64::from(target))
                .map(|x| index((x * u64::from(source) / u64::from(target)) as u32 >> shift))
                .collect();
            axis.far.clone_from(&axis.near);
            axis.weight.resize(axis.near.len(), 0.0);
            let identity = source == target && shift == 0;
            axis.kind = if identity { AxisKind::Identity } else { AxisKind::Pick };
            return axis;
        }
        let ratio = f64::from(source) / f64::from(1u32 << shift) / f64::from(target);
        for x in 0..target {
            let position = (f64::from(x) + 0.5) * ratio - 0.5;
            let position = position.clamp(0.0, f64::from(samples - 1));
            let near = position as u32;
            axis.near.push(index(near));
            axis.far.push(index((near + 1).min(samples - 1)));
            axis.weight.push((position - f64::from(near)) as f32);
        }
        let exact = axis.weight.iter().all(|&weight| weight == 0.0);
        axis.kind = if exact { AxisKind::Pick } else { AxisKind::Blend };
        axis
    }

    /// The rows to read for output row `y`, and the second one's weight.
    fn rows(&self, y: usize) -> (usize, usize, f32) {
        match self.kind {
            AxisKind::Identity | AxisKind::Pick => {
                (self.near[y] as usize, self.near[y] as usize, 0.0)
            }
            AxisKind::Blend => (self.near[y] as usize, self.far[y] as usize, self.weight[y]),
        }
    }
}

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
    /// The components in the order they have within a pixel, if they stand side by side there, in
    /// either order, and pixels are not just copied.
    packed: Option<[usize; 3]>,
    /// Two source rows blended.
    blended: Vec<f32>,
    /// One output row of each component.
    samples: [Vec<f32>; 3],
    /// One output row of blue, green and red, on its way to pixels.
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
            blended: Vec::new(),
            samples,
            planes: Default::default(),
        }
    }

    /// Whether it was made for these.
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

    /// Writes the planar input `[3, height, width]`, in the order of the normalisation.
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

    /// Writes [`Pixels::least`] of a frame whose size is the target where it is not larger. Give
    /// [`Self::new`] no normalisation: that is the network's.
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
                // A last pixel may end with its last colour.
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
        assert!(fits, "one preprocessor a layout and size");
    }

    /// Output row `y`.
    fn row(&mut self, frame: &Frame, y: usize, [blue, green, red]: [&mut [f32]; 3]) {
        let mean = self.normalisation.mean;
        self.prefetch(frame, y + ROWS_AHEAD);
        match self.layout.colour {
            Colour::Rgb if self.packed.is_some() => self.pixels(frame, y, [blue, green, red]),
            Colour::Rgb => {
                self.sample(frame, 0, y, mean[2], red);
                self.sample(frame, 1, y, mean[1], green);
                self.sample(frame, 2, y, mean[0], blue);
            }
            Colour::Gray(luma) => {
                self.sample_scratch(frame, 0, y);
                gray(&self.samples[0], luma, mean, blue, green, red);
            }
            Colour::Yuv(luma, chroma) => {
                for component in 0..3 {
                    self.sample_scratch(frame, component, y);
                }
                let [luma_row, u, v] = &self.samples;
                yuv([luma_row, u, v], luma, chroma, mean, blue, green, red);
            }
        }
    }

    /// Calls what output row `y` needs into the cache: the processor does so on its own only where
    /// no row is left out.
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

    /// Output row `y` from pixels whose samples stand side by side.
    fn pixels(&mut self, frame: &Frame, y: usize, out: [&mut [f32]; 3]) {
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
        if weight == 0.0 && columns.kind != AxisKind::Blend {
            pick_pixels(rows[0], &columns.near, mean, out);
        } else {
            blend_pixels(rows, weight, &columns.near, &columns.far, &columns.weight, mean, out);
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
        if weight == 0.0 {
            match columns.kind {
                AxisKind::Identity => copy(row, component.step, mean, out),
                AxisKind::Pick => pick(row, &columns.near, mean, out),
                AxisKind::Blend => {
                    blend_columns(row, &columns.near, &columns.far, &columns.weight, mean, out)
                }
            }
            return;
        }
        let used = used_bytes(component, self.source.0);
        self.blended.resize(used.end, 0.0);
        blend_rows(&row[used.clone()], &frame.row(component, far)[used], weight, &mut self.blended);
        match columns.kind {
            AxisKind::Identity | AxisKind::Pick => pick(&self.blended, &columns.near, mean, out),
            AxisKind::Blend => blend_columns(
                &self.blended,
                &columns.near,
                &columns.far,
                &columns.weight,
                mean,
                out,
            ),
        }
    }
}

/// The components in the order of their bytes, if each pixel has its three colours side by side.
fn packed(layout: &Layout) -> Option<[usize; 3]> {
    let [a, b, c] = layout.components;
    let in_one_pixel = |other: &Component| {
        let same = Component { offset: a.offset, ..*other } == a;
        same && other.offset < other.step && (other.x_shift, other.y_shift) == (0, 0)
    };
    if layout.colour != Colour::Rgb || !layout.components.iter().all(in_one_pixel) {
        return None;
    }
    match [a, b, c].map(|component| component.offset.wrapping_sub(a.offset.min(c.offset))) {
        [0, 1, 2] => Some([0, 1, 2]),
        [2, 1, 0] => Some([2, 1, 0]),
        _ => None,
    }
}

/// The bytes of a row from the component's first sample to its last.
fn used_bytes(component: &Component, width: u32) -> Range<usize> {
    0..((width as usize - 1) >> component.x_shift) * component.step + 1
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
