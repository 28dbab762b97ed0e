// SPDX-License-Identifier: MIT OR Apache-2.0

//! Preprocessing one pixel at a time, in f64, from the definitions alone: what the kernels are
//! compared with.

use super::{ChannelOrder, Normalisation, Placement, ScaleMethod};
use crate::{
    frame::{Chroma, Colour, Component, Frame, FrameError, Layout, Luma, Plane, Storage, Window},
    orientation::Orientation,
};

/// What the components are, in the terms of the standards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Meaning {
    Rgb,
    Gray { full_range: bool },
    Yuv { kr: f64, kb: f64, full_range: bool },
}

/// A frame with its bytes.
#[derive(Clone, Debug)]
pub struct Picture {
    pub components: [Component; 3],
    pub meaning: Meaning,
    /// What counts of the planes.
    pub window: Window,
    /// Bytes and stride.
    pub planes: [(Vec<u8>, usize); 3],
}

impl Picture {
    pub fn layout(&self) -> Layout {
        let colour = match self.meaning {
            Meaning::Rgb => Colour::Rgb,
            Meaning::Gray { full_range } => Colour::Gray(Luma::new(full_range)),
            Meaning::Yuv { kr, kb, full_range } => {
                let chroma = Chroma::new(kr as f32, kb as f32, full_range);
                Colour::Yuv(Luma::new(full_range), chroma)
            }
        };
        Layout { components: self.components, colour }
    }

    pub fn frame(&self) -> Result<Frame<'_>, FrameError> {
        let planes = self.planes.each_ref().map(|(data, stride)| Plane { data, stride: *stride });
        Frame::new(self.layout(), self.window, planes)
    }

    /// The eight highest bits of the sample in a column and row of the component's own; `None` outside
    /// its plane.
    pub fn sample(&self, component: usize, column: u32, row: u32) -> Option<u8> {
        let Component { plane, offset, step, storage, .. } = self.components[component];
        let (data, stride) = &self.planes[plane];
        let at = row as usize * stride + offset + column as usize * step;
        match storage {
            Storage::Byte => data.get(at).copied(),
            Storage::Word { depth, shift, big_endian } => {
                let (first, second) = (u32::from(*data.get(at)?), u32::from(*data.get(at + 1)?));
                let word = if big_endian { 256 * first + second } else { first + 256 * second };
                let sample = word / (1 << shift) % (1 << depth);
                Some((sample / (1 << (depth - 8))) as u8)
            }
        }
    }

    /// Whether every pixel has its samples inside the planes.
    pub fn is_complete(&self) -> bool {
        (0..3).all(|index| {
            let Component { x_shift, y_shift, .. } = self.components[index];
            let rows = 0..self.window.y + self.window.height;
            let columns = 0..self.window.x + self.window.width;
            rows.flat_map(|y| columns.clone().map(move |x| (x >> x_shift, y >> y_shift)))
                .all(|(column, row)| self.sample(index, column, row).is_some())
        })
    }

    /// Blue, green and red, 0 to 255, of every pixel of the picture turned upright and resized to
    /// `target`, row by row.
    pub fn resized(
        &self,
        orientation: Orientation,
        target: (u32, u32),
        method: ScaleMethod,
    ) -> Vec<[f64; 3]> {
        // What turning upright does to columns and rows of the stored picture.
        use Orientation::*;
        let (swapped, right_to_left, bottom_to_top) = match orientation {
            Identity => (false, false, false),
            FlipHorizontal => (false, true, false),
            FlipVertical => (false, false, true),
            Rotate180 => (false, true, true),
            Transpose => (true, false, false),
            // The stored left column, from bottom to top, is the upper row.
            Rotate90 => (true, false, true),
            // The stored right column, from top to bottom, is the upper row.
            Rotate270 => (true, true, false),
            Transverse => (true, true, true),
        };
        let (across, down) = if swapped { (target.1, target.0) } else { target };
        let Window { x, y, width, height } = self.window;
        let taps = self.components.map(|Component { x_shift, y_shift, .. }| {
            let columns = taps(x, width, right_to_left, across, x_shift, method);
            (columns, taps(y, height, bottom_to_top, down, y_shift, method))
        });
        let value = |index: usize, x: usize, y: usize| -> f64 {
            let (x, y) = if swapped { (y, x) } else { (x, y) };
            let (columns, rows) = (&taps[index].0[x], &taps[index].1[y]);
            let weighted = rows.iter().flat_map(|&(row, row_weight)| {
                columns.iter().map(move |&(column, weight)| {
                    let sample = self.sample(index, column, row).expect("a complete picture");
                    f64::from(sample) * weight * row_weight
                })
            });
            weighted.sum()
        };
        let rows = 0..target.1 as usize;
        rows.flat_map(|y| (0..target.0 as usize).map(move |x| (x, y)))
            .map(|(x, y)| self.meaning.bgr([0, 1, 2].map(|index| value(index, x, y))))
            .collect()
    }

    /// The network's input `[3, height, width]`.
    pub fn input(
        &self,
        placement: &Placement,
        method: ScaleMethod,
        Normalisation { mean, scale, order, padding }: Normalisation,
    ) -> Vec<f64> {
        let (width, height) = placement.picture;
        let pixels = self.resized(placement.orientation, placement.picture, method);
        let channels = match order {
            ChannelOrder::Bgr => [0, 1, 2],
            ChannelOrder::Rgb => [2, 1, 0],
        };
        let mut input = Vec::new();
        for channel in channels {
            for (y, x) in
                (0..placement.input.1).flat_map(|y| (0..placement.input.0).map(move |x| (y, x)))
            {
                let mean = f64::from(mean[channel]);
                let value = if x < width && y < height {
                    pixels[(y * width + x) as usize][channel]
                } else {
                    f64::from(padding[channel])
                };
                input.push((value - mean) * f64::from(scale));
            }
        }
        input
    }
}

/// The samples that each of `target` positions is made of, and their weights. `first` and `len` count
/// pixels, of which a subsampled component has one sample for every `1 << shift`; `backwards`, the
/// last of them comes first.
fn taps(
    first: u32,
    len: u32,
    backwards: bool,
    target: u32,
    shift: u32,
    method: ScaleMethod,
) -> Vec<Vec<(u32, f64)>> {
    let last = first + len - 1;
    let at = |x: u32| {
        if len == target || method == ScaleMethod::Nearest {
            let pixel = x * len / target;
            let pixel = if backwards { last - pixel } else { first + pixel };
            return vec![(pixel >> shift, 1.0)];
        }
        // Centres of source and target aligned, in pixels, then in samples of the component; the edge
        // is repeated.
        let distance = (f64::from(x) + 0.5) * f64::from(len) / f64::from(target);
        let edge = if backwards { f64::from(last + 1) } else { f64::from(first) };
        let pixel = if backwards { edge - distance } else { edge + distance };
        let position = pixel / f64::from(1 << shift) - 0.5;
        let samples = (first >> shift)..=(last >> shift);
        let position = position.clamp(f64::from(*samples.start()), f64::from(*samples.end()));
        // Linear interpolation: a triangle of half-width 1 around the position.
        samples
            .map(|sample| (sample, 1.0 - (position - f64::from(sample)).abs()))
            .filter(|&(_, weight)| weight > 0.0)
            .collect()
    };
    (0..target).map(at).collect()
}

impl Meaning {
    /// Blue, green and red, 0 to 255, as ITU-R BT.601 and BT.709 define them: with the luma
    /// weights Kr, Kg and Kb, Y' = Kr·R' + Kg·G' + Kb·B', Cb = (B' − Y') / (2·(1 − Kb)), Cr =
    /// (R' − Y') / (2·(1 − Kr)); at limited range Y' of 0 to 1 is 16 to 235, Cb and Cr of ±1/2 are
    /// 16 to 240.
    fn bgr(self, [a, b, c]: [f64; 3]) -> [f64; 3] {
        let luma = |y: f64, full_range| if full_range { y / 255.0 } else { (y - 16.0) / 219.0 };
        let colours = match self {
            Self::Rgb => return [c, b, a],
            Self::Gray { full_range } => [luma(a, full_range); 3],
            Self::Yuv { kr, kb, full_range } => {
                let y = luma(a, full_range);
                let excursion = if full_range { 255.0 } else { 224.0 };
                let [cb, cr] = [b, c].map(|sample| (sample - 128.0) / excursion);
                let blue = y + 2.0 * (1.0 - kb) * cb;
                let red = y + 2.0 * (1.0 - kr) * cr;
                [blue, (y - kr * red - kb * blue) / (1.0 - kr - kb), red]
            }
        };
        colours.map(|colour| (colour * 255.0).clamp(0.0, 255.0))
    }
}
