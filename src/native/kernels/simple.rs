// SPDX-License-Identifier: MIT OR Apache-2.0

//! What has no window: sums, functions, other grids and other layouts.

use pulp::{Simd, WithSimd};

use super::{Epilogue, Rows, load, rows::Parts, store};
use crate::native::{
    graph::{Function, Sampling},
    instructions::InstructionSet,
};

/// An operation on each block of its inputs.
pub enum Simple {
    /// The sum; the second input may be sampled.
    Add(Option<Sampling>),
    Multiply,
    /// Each channel times a factor, then the epilogue.
    Scale(super::Floats, Epilogue),
    Function(Function),
    Sample(Sampling),
    Interpolate,
    /// As it is, in the output's layout and from a channel of its on: `(inputs, first)`.
    Copy {
        channels: usize,
        first: usize,
    },
}

impl Simple {
    /// Computes a row of the output.
    ///
    /// # Safety
    /// As [`Dense::rows`](super::dense::Dense::rows); there are as many inputs as the operation takes.
    pub unsafe fn row(&self, set: InstructionSet, inputs: &[Rows], output: Parts, row: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::Function(function) => apply(function, inputs[0], output, row),
                Self::Copy { channels, first } => copy(inputs[0], output, row, *channels, *first),
                _ => set.run(Row { simple: self, inputs, output, row }),
            }
        }
    }
}

/// Copies a row, channel by channel, to the channels from `first` on. The lanes behind them become zero,
/// until other channels come there: what is left of other values may be anything.
///
/// # Safety
/// As [`Simple::row`].
unsafe fn copy(input: Rows, output: Parts, row: usize, channels: usize, first: usize) {
    let (from, to) = (input.lanes(), output.lanes());
    let lanes = (first + channels).next_multiple_of(to) - first;
    for channel in 0..lanes {
        let target = first + channel;
        // SAFETY: both have the row, and as many channels; the output's blocks are whole.
        unsafe {
            let target = output.at(target / to, row).add(target % to);
            if channel < channels {
                let source = input.at(channel / from, row).add(channel % from);
                for column in 0..output.width() {
                    *target.add(column * to) = *source.add(column * from);
                }
            } else {
                for column in 0..output.width() {
                    *target.add(column * to) = 0.0;
                }
            }
        }
    }
}

/// Applies a function of one number to a row.
///
/// # Safety
/// As [`Simple::row`].
unsafe fn apply(function: &Function, input: Rows, output: Parts, row: usize) {
    let lanes = input.lanes();
    for block in 0..input.blocks {
        // SAFETY: both have the row, of so many floats.
        let (from, to) = unsafe {
            let (from, to) = (input.at(block, row), output.at(block, row));
            let len = input.width * lanes;
            (std::slice::from_raw_parts(from, len), std::slice::from_raw_parts_mut(to, len))
        };
        let values = from.iter().zip(to);
        match *function {
            Function::Sigmoid => values.for_each(|(&x, y)| *y = sigmoid(x)),
            Function::HardSigmoid { alpha, beta } => {
                values.for_each(|(&x, y)| *y = (alpha * x + beta).clamp(0.0, 1.0));
            }
            Function::HardSwish => {
                values.for_each(|(&x, y)| *y = x * (x / 6.0 + 0.5).clamp(0.0, 1.0));
            }
            Function::Swish { alpha } => values.for_each(|(&x, y)| *y = x * sigmoid(alpha * x)),
            Function::Tanh => values.for_each(|(&x, y)| *y = x.tanh()),
            Function::Exp => values.for_each(|(&x, y)| *y = x.exp()),
            Function::PRelu(ref slopes) => values.enumerate().for_each(|(index, (&x, y))| {
                let slope = slopes.get(block * lanes + index % lanes).copied().unwrap_or(1.0);
                *y = if x < 0.0 { x * slope } else { x };
            }),
        }
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// One row of output.
struct Row<'a> {
    simple: &'a Simple,
    inputs: &'a [Rows],
    output: Parts<'a>,
    row: usize,
}

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Row { simple, inputs, output, row } = self;
        let lanes = S::F32_LANES;
        for block in 0..inputs[0].blocks {
            // SAFETY: the inputs have what the output's row is made of.
            unsafe {
                let to = output.at(block, row);
                match simple {
                    Simple::Add(None) => {
                        let (a, b) = (inputs[0].at(block, row), inputs[1].at(block, row));
                        for place in (0..output.width() * lanes).step_by(lanes) {
                            let sum =
                                simd.add_f32s(load::<S>(a.add(place)), load::<S>(b.add(place)));
                            store::<S>(to.add(place), sum);
                        }
                    }
                    Simple::Add(Some(sampling)) => {
                        let a = inputs[0].at(block, row);
                        let b = inputs[1].at(block, sampling.rows[row]);
                        for (column, &sampled) in sampling.columns.iter().enumerate() {
                            let value = load::<S>(a.add(column * lanes));
                            let sum = simd.add_f32s(value, load::<S>(b.add(sampled * lanes)));
                            store::<S>(to.add(column * lanes), sum);
                        }
                    }
                    Simple::Multiply => {
                        let (a, b) = (inputs[0].at(block, row), inputs[1].at(block, row));
                        for place in (0..output.width() * lanes).step_by(lanes) {
                            let product =
                                simd.mul_f32s(load::<S>(a.add(place)), load::<S>(b.add(place)));
                            store::<S>(to.add(place), product);
                        }
                    }
                    Simple::Scale(factors, epilogue) => {
                        let from = inputs[0].at(block, row);
                        let factor = load::<S>(factors.as_ptr().add(block * lanes));
                        let (offset, slopes) =
                            (epilogue.bias::<S>(block), epilogue.slopes::<S>(block));
                        for place in (0..output.width() * lanes).step_by(lanes) {
                            let value =
                                simd.mul_add_e_f32s(load::<S>(from.add(place)), factor, offset);
                            store::<S>(to.add(place), epilogue.activate(simd, value, slopes));
                        }
                    }
                    Simple::Sample(sampling) => {
                        let from = inputs[0].at(block, sampling.rows[row]);
                        for (column, &sampled) in sampling.columns.iter().enumerate() {
                            let value = load::<S>(from.add(sampled * lanes));
                            store::<S>(to.add(column * lanes), value);
                        }
                    }
                    Simple::Interpolate => interpolate(simd, inputs[0], output, block, row),
                    Simple::Function(_) | Simple::Copy { .. } => {}
                }
            }
        }
    }
}

/// Where an output pixel lies between two of `size` inputs: the first, the second, the second's share.
fn between(index: usize, size: usize, outputs: usize) -> (usize, usize, f32) {
    let place = (index as f32 + 0.5) * size as f32 / outputs as f32 - 0.5;
    let place = place.clamp(0.0, (size - 1) as f32);
    let first = place as usize;
    (first, (first + 1).min(size - 1), place - first as f32)
}

/// A row of a block, interpolated between the centres of pixels.
///
/// # Safety
/// As [`Simple::row`].
#[inline(always)]
unsafe fn interpolate<S: Simd>(simd: S, input: Rows, output: Parts, block: usize, row: usize) {
    let (above, below, share) = between(row, input.height, output.height());
    let down = simd.splat_f32s(share);
    // SAFETY: both rows are inside, as are the columns.
    unsafe {
        let (above, below) = (input.at(block, above), input.at(block, below));
        let to = output.at(block, row);
        for column in 0..output.width() {
            let (left, right, share) = between(column, input.width, output.width());
            let across = simd.splat_f32s(share);
            let mix = |line: *const f32| {
                let (left, right) = (
                    load::<S>(line.add(left * S::F32_LANES)),
                    load::<S>(line.add(right * S::F32_LANES)),
                );
                simd.mul_add_e_f32s(simd.sub_f32s(right, left), across, left)
            };
            let (above, below) = (mix(above), mix(below));
            let value = simd.mul_add_e_f32s(simd.sub_f32s(below, above), down, above);
            store::<S>(to.add(column * S::F32_LANES), value);
        }
    }
}
