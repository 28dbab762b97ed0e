// SPDX-License-Identifier: MIT OR Apache-2.0

//! Kernels: each computes rows of a value from rows of others, in vectors of channels.
//!
//! A value is kept in blocks of as many channels as a vector has lanes: `[block][row][column][lane]`.
//! Channels are filled up to whole blocks with weights of zero. Planes are blocks of one lane.

pub mod dense;
pub mod depthwise;
pub mod pooling;
pub mod rows;
pub mod simple;
pub mod winograd;

pub use rows::Rows;

use pulp::Simd;

use super::memory::Floats;

/// What happens to the sums of a convolution before they are stored.
pub struct Epilogue {
    /// For each output, filled up to whole blocks.
    bias: Floats,
    /// What negative values are multiplied by; at most 1.
    slopes: Floats,
    clip: Option<[f32; 2]>,
}

impl Epilogue {
    /// `bias` and `slopes` (empty: 1) of all outputs.
    pub fn new(bias: &[f32], slopes: &[f32], clip: Option<[f32; 2]>, lanes: usize) -> Self {
        let filled = |values: &[f32], rest: f32| {
            let mut floats = Floats::new(bias.len().next_multiple_of(lanes));
            floats.fill(rest);
            floats[..values.len()].copy_from_slice(values);
            floats
        };
        Self { bias: filled(bias, 0.0), slopes: filled(slopes, 1.0), clip }
    }

    /// The bias of a block.
    ///
    /// # Safety
    /// There are so many blocks of `S`'s lanes.
    #[inline(always)]
    unsafe fn bias<S: Simd>(&self, block: usize) -> S::f32s {
        // SAFETY: within the floats.
        unsafe { load::<S>(self.bias.as_ptr().add(block * S::F32_LANES)) }
    }

    /// The slopes of a block.
    ///
    /// # Safety
    /// As [`Self::bias`].
    #[inline(always)]
    unsafe fn slopes<S: Simd>(&self, block: usize) -> S::f32s {
        // SAFETY: within the floats.
        unsafe { load::<S>(self.slopes.as_ptr().add(block * S::F32_LANES)) }
    }

    /// Applies slopes and clipping. What is not a number stays so.
    #[inline(always)]
    fn activate<S: Simd>(&self, simd: S, value: S::f32s, slopes: S::f32s) -> S::f32s {
        let value = sloped(simd, value, slopes);
        self.clip.map_or(value, |bounds| clipped(simd, value, bounds))
    }

    /// Applies slopes and clipping to the sums of `T` pixels of `G` blocks, from `block` on, and stores
    /// the pixels of each block where its place is.
    ///
    /// # Safety
    /// There are so many blocks of `S`'s lanes; `T` pixels can be written at each place.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "of sums and of places")]
    unsafe fn finish<S: Simd, const G: usize, const T: usize>(
        &self,
        simd: S,
        sums: &mut [[S::f32s; T]; G],
        block: usize,
        places: [*mut f32; G],
    ) {
        // Loops so short that the compiler unrolls them, or else the sums would have to be in memory
        // while they are computed.
        for group in 0..G {
            // SAFETY: as the caller says.
            let slopes = unsafe { self.slopes::<S>(block + group) };
            for pixel in 0..T {
                sums[group][pixel] = sloped(simd, sums[group][pixel], slopes);
            }
        }
        if let Some(bounds) = self.clip {
            for group in 0..G {
                for pixel in 0..T {
                    sums[group][pixel] = clipped(simd, sums[group][pixel], bounds);
                }
            }
        }
        for group in 0..G {
            for pixel in 0..T {
                // SAFETY: as the caller says.
                unsafe { store::<S>(places[group].add(pixel * S::F32_LANES), sums[group][pixel]) };
            }
        }
    }
}

/// The activation that multiplies what is negative by slopes.
#[inline(always)]
fn sloped<S: Simd>(simd: S, value: S::f32s, slopes: S::f32s) -> S::f32s {
    simd.max_f32s(simd.mul_f32s(value, slopes), value)
}

#[inline(always)]
fn clipped<S: Simd>(simd: S, value: S::f32s, [low, high]: [f32; 2]) -> S::f32s {
    let clipped = simd.max_f32s(value, simd.splat_f32s(low));
    let clipped = simd.min_f32s(clipped, simd.splat_f32s(high));
    // Which of the two is taken where one is not a number depends on the instruction set.
    simd.select_f32s(simd.equal_f32s(value, value), clipped, value)
}

/// # Safety
/// A vector can be read there.
#[inline(always)]
unsafe fn load<S: Simd>(from: *const f32) -> S::f32s {
    // SAFETY: as the caller says; vectors are plain floats.
    unsafe { from.cast::<S::f32s>().read_unaligned() }
}

/// # Safety
/// A vector can be written there.
#[inline(always)]
unsafe fn store<S: Simd>(to: *mut f32, value: S::f32s) {
    // SAFETY: as the caller says.
    unsafe { to.cast::<S::f32s>().write_unaligned(value) }
}

/// The outputs whose windows lie within `size` columns (or rows) of input.
fn inside(
    size: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
    pad: usize,
) -> std::ops::Range<usize> {
    let first = pad.div_ceil(stride).min(outputs);
    let end = match (size + pad).checked_sub(kernel) {
        Some(room) => (room / stride + 1).min(outputs),
        None => 0,
    };
    first..end.max(first)
}

/// The taps of a window, which starts `pad` before `start`, that lie within `size`.
fn taps(start: usize, pad: usize, kernel: usize, size: usize) -> std::ops::Range<usize> {
    let first = pad.saturating_sub(start).min(kernel);
    let end = (size + pad).saturating_sub(start).min(kernel);
    first..end.max(first)
}
