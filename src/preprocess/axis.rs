// SPDX-License-Identifier: MIT OR Apache-2.0

//! Resizing in one direction: which source samples an output row or column reads.

use std::ops::Range;

/// How a frame is resized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScaleMethod {
    /// The pixel at `floor(x · source / target)`, as OpenCV's `INTER_NEAREST`.
    Nearest,
    /// Between the four nearest pixels, pixel centres aligned, as OpenCV's `INTER_LINEAR`.
    #[default]
    Bilinear,
}

/// The source samples of each output position: `near` and, weighted by `weight`, `far`.
#[derive(Debug)]
pub struct Axis {
    pub near: Vec<u32>,
    pub far: Vec<u32>,
    pub weight: Vec<f32>,
    pub kind: AxisKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AxisKind {
    /// Position x reads sample `near[0]` + x.
    Identity,
    /// Position x reads sample `near[x]`; all weights are 0.
    Gather,
    /// Position x reads between `near[x]` and `far[x]`.
    Interpolate,
}

impl Axis {
    /// Resizes the pixels `source` to `target`, the last of them first if `flipped`, for a component
    /// of one sample for every `1 << shift` pixels. Samples are `step` apart in `near` and `far`.
    ///
    /// `ratio`: pixels of the source for each of the target, where that is not what their numbers say.
    pub fn new(
        source: Range<u32>,
        (target, ratio): (u32, Option<f64>),
        flipped: bool,
        shift: u32,
        step: usize,
        method: ScaleMethod,
    ) -> Self {
        let len = source.end - source.start;
        if len == target || method == ScaleMethod::Nearest {
            let near = (0..u64::from(target)).map(|x| {
                let pixel = match ratio {
                    Some(ratio) => ((x as f64 * ratio) as u32).min(len - 1),
                    None => (x * u64::from(len) / u64::from(target)) as u32,
                };
                let pixel = if flipped { source.end - 1 - pixel } else { source.start + pixel };
                (pixel >> shift) * step as u32
            });
            let identity = len == target && shift == 0 && !flipped;
            let kind = if identity { AxisKind::Identity } else { AxisKind::Gather };
            return Self::exact(near.collect(), kind);
        }
        // In samples from here on; positions are those of their middles.
        let samples = |pixels: u32| f64::from(pixels) / f64::from(1u32 << shift);
        let (first, last) = (source.start >> shift, (source.end - 1) >> shift);
        let ratio = ratio.map_or(samples(len) / f64::from(target), |ratio| ratio * samples(1));
        let positions = (0..target).map(|x| {
            let distance = (f64::from(x) + 0.5) * ratio;
            let position = if flipped {
                samples(source.end) - distance
            } else {
                samples(source.start) + distance
            };
            (position - 0.5).clamp(f64::from(first), f64::from(last))
        });
        let near = positions.clone().map(|position| position as u32 * step as u32).collect();
        let weight: Vec<_> = positions.clone().map(|position| position.fract() as f32).collect();
        if weight.iter().all(|&weight| weight == 0.0) {
            return Self::exact(near, AxisKind::Gather);
        }
        let far = positions.map(|position| last.min(position as u32 + 1) * step as u32).collect();
        Self { near, far, weight, kind: AxisKind::Interpolate }
    }

    /// Positions that read one sample each.
    fn exact(near: Vec<u32>, kind: AxisKind) -> Self {
        Self { far: near.clone(), weight: vec![0.0; near.len()], near, kind }
    }

    /// For an axis of rows: those that output row `y` reads, and the second one's weight.
    pub fn rows(&self, y: usize) -> (usize, usize, f32) {
        (self.near[y] as usize, self.far[y] as usize, self.weight[y])
    }
}
