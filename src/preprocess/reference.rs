// SPDX-License-Identifier: MIT OR Apache-2.0

//! Preprocessing one pixel at a time, in f64, from the definitions alone: what the kernels are
//! compared with.

use super::{ChannelOrder, Normalisation, ScaleMethod};
use crate::frame::{Chroma, Colour, Component, Frame, FrameError, Layout, Luma, Plane};

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
    /// Width and height.
    pub size: (u32, u32),
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
        Frame::new(self.layout(), self.size.0, self.size.1, planes)
    }

    /// The sample in a column and row of the component's own; `None` outside its plane.
    pub fn sample(&self, component: usize, column: u32, row: u32) -> Option<u8> {
        let Component { plane, offset, step, .. } = self.components[component];
        let (data, stride) = &self.planes[plane];
        data.get(row as usize * stride + offset + column as usize * step).copied()
    }

    /// Whether every pixel has its samples inside the planes.
    pub fn is_complete(&self) -> bool {
        (0..3).all(|index| {
            let Component { x_shift, y_shift, .. } = self.components[index];
            let rows = 0..self.size.1;
            rows.flat_map(|y| (0..self.size.0).map(move |x| (x >> x_shift, y >> y_shift)))
                .all(|(column, row)| self.sample(index, column, row).is_some())
        })
    }

    /// Blue, green and red, 0 to 255, of every pixel of the picture resized to `target`, row by
    /// row.
    pub fn resized(&self, target: (u32, u32), method: ScaleMethod) -> Vec<[f64; 3]> {
        let taps = self.components.map(|Component { x_shift, y_shift, .. }| {
            let columns = taps(self.size.0, target.0, x_shift, method);
            (columns, taps(self.size.1, target.1, y_shift, method))
        });
        let value = |index: usize, x: usize, y: usize| -> f64 {
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
        target: (u32, u32),
        method: ScaleMethod,
        Normalisation { mean, scale, order }: Normalisation,
    ) -> Vec<f64> {
        let pixels = self.resized(target, method);
        let channels = match order {
            ChannelOrder::Bgr => [0, 1, 2],
            ChannelOrder::Rgb => [2, 1, 0],
        };
        let plane = |channel: usize| {
            let value = move |pixel: &[f64; 3]| {
                (pixel[channel] - f64::from(mean[channel])) * f64::from(scale)
            };
            pixels.iter().map(value)
        };
        channels.into_iter().flat_map(plane).collect()
    }
}

/// The samples that each of `target` positions is made of, and their weights. `source` counts
/// pixels, of which a subsampled component has one sample for every `1 << shift`.
fn taps(source: u32, target: u32, shift: u32, method: ScaleMethod) -> Vec<Vec<(u32, f64)>> {
    let samples = source.div_ceil(1 << shift);
    let at = |x: u32| {
        if source == target || method == ScaleMethod::Nearest {
            return vec![((x * source / target) >> shift, 1.0)];
        }
        // Centres of source and target aligned, in samples of the component; the edge is repeated.
        let position = (f64::from(x) + 0.5) * f64::from(source) / f64::from(target << shift) - 0.5;
        let position = position.clamp(0.0, f64::from(samples - 1));
        // Linear interpolation: a triangle of half-width 1 around the position.
        (0..samples)
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
