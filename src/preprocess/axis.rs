// SPDX-License-Identifier: MIT OR Apache-2.0

//! Resizing in one direction: which source samples an output row or column reads.

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
    /// Position x reads sample x.
    Identity,
    /// Position x reads sample `near[x]`; all weights are 0.
    Gather,
    /// Position x reads between `near[x]` and `far[x]`.
    Interpolate,
}

impl Axis {
    /// Resizes `source` pixels to `target`, for a component of one sample for every `1 << shift`
    /// pixels. Samples are `step` apart in `near` and `far`.
    pub fn new(source: u32, target: u32, shift: u32, step: usize, method: ScaleMethod) -> Self {
        if source == target || method == ScaleMethod::Nearest {
            let pixel = |x| x * u64::from(source) / u64::from(target);
            let near = (0..u64::from(target)).map(|x| (pixel(x) as u32 >> shift) * step as u32);
            let identity = source == target && shift == 0;
            let kind = if identity { AxisKind::Identity } else { AxisKind::Gather };
            return Self::exact(near.collect(), kind);
        }
        let last = (source - 1) >> shift;
        let ratio = f64::from(source) / f64::from(1u32 << shift) / f64::from(target);
        let positions = (0..target).map(|x| {
            let position = (f64::from(x) + 0.5) * ratio - 0.5;
            position.clamp(0.0, f64::from(last))
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
