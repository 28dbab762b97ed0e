// SPDX-License-Identifier: MIT OR Apache-2.0

//! The inner loops of preprocessing, each over one row, compiled for several instruction sets.
//!
//! Plain loops that the compiler vectorises. Gathers go through blocks: the loads of a block stay
//! scalar, its arithmetic does not.

use std::ops::Range;

use multiversion::multiversion;

use crate::frame::{Chroma, Luma};

const BLOCK: usize = 16;
/// Long enough that a block's first pixels are in memory, not in the store buffer, when its vectors are
/// loaded.
const PIXEL_BLOCK: usize = 128;

/// Bytes.
#[cfg(target_arch = "x86_64")]
const CACHE_LINE: usize = 64;

/// Prefetches `bytes` into the cache.
pub fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes.iter().step_by(CACHE_LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE is part of x86_64, and a prefetch reads nothing and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

/// Every `step`th byte, less `mean`.
pub fn copy(row: &[u8], step: usize, mean: f32, out: &mut [f32]) {
    match step {
        1 => copy_1(row, mean, out),
        2 => copy_2(row, mean, out),
        3 => copy_3(row, mean, out),
        4 => copy_4(row, mean, out),
        _ => {
            for (out, &sample) in out.iter_mut().zip(row.iter().step_by(step)) {
                *out = f32::from(sample) - mean;
            }
        }
    }
}

macro_rules! copy_step {
    ($name:ident, $step:literal) => {
        #[multiversion(targets("x86_64+avx2+fma", "x86_64+sse4.1"))]
        fn $name(row: &[u8], mean: f32, out: &mut [f32]) {
            // The last sample may lack the bytes up to the next one.
            let Some((last, out)) = out.split_last_mut() else { return };
            let (samples, _) = row.as_chunks::<$step>();
            for (out, sample) in out.iter_mut().zip(samples) {
                *out = f32::from(sample[0]) - mean;
            }
            *last = f32::from(row[out.len() * $step]) - mean;
        }
    };
}

copy_step!(copy_1, 1);
copy_step!(copy_2, 2);
copy_step!(copy_3, 3);
copy_step!(copy_4, 4);

/// Words, the low byte first, without their `shift` lowest bits.
#[multiversion(targets("x86_64+avx2+fma", "x86_64+sse4.1"))]
pub fn narrow(row: &[u8], shift: u32, out: &mut [u8]) {
    let (words, _) = row.as_chunks();
    for (out, &word) in out.iter_mut().zip(words) {
        *out = (u16::from_le_bytes(word) >> shift) as u8;
    }
}

/// The samples at the indices `at`, less `mean`.
#[multiversion(targets("x86_64+avx2+fma", "x86_64+sse4.1"))]
pub fn gather<T: Copy + Into<f32>>(row: &[T], at: &[u32], mean: f32, out: &mut [f32]) {
    let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
    let (ats, at_rest) = at.as_chunks::<BLOCK>();
    for (out, at) in blocks.iter_mut().zip(ats) {
        let samples = at.map(|at| row[at as usize]);
        for (out, sample) in out.iter_mut().zip(samples) {
            *out = sample.into() - mean;
        }
    }
    for (out, &at) in rest.iter_mut().zip(at_rest) {
        *out = row[at as usize].into() - mean;
    }
}

/// The pixels at `at`, each of three samples side by side: the first, second and third of each,
/// less `mean`, to rows of their own.
#[multiversion(targets("x86_64+avx2+fma", "x86_64+sse4.1"))]
pub fn gather_pixels(row: &[u8], at: &[u32], mean: [f32; 3], out: [&mut [f32]; 3]) {
    let mut pixels = [0; PIXEL_BLOCK];
    for block in pixel_blocks(at.len()) {
        let at = &at[block.clone()];
        for (pixel, &at) in pixels.iter_mut().zip(at) {
            *pixel = load(row, at);
        }
        for c in 0..3 {
            for (out, &pixel) in out[c][block.clone()].iter_mut().zip(&pixels) {
                *out = sample(pixel, c) - mean[c];
            }
        }
    }
}

/// [`gather_pixels`], interpolated between `near` and `far` by `weight`, and between two rows by
/// `row_weight`.
#[multiversion(targets("x86_64+avx2+fma", "x86_64+sse4.1"))]
pub fn interpolate_pixels(
    rows: [&[u8]; 2],
    row_weight: f32,
    near: &[u32],
    far: &[u32],
    weight: &[f32],
    mean: [f32; 3],
    out: [&mut [f32]; 3],
) {
    let mut pixels = [[0; PIXEL_BLOCK]; 4];
    for block in pixel_blocks(near.len()) {
        let n = block.len();
        let (near, far, weight) =
            (&near[block.clone()], &far[block.clone()], &weight[block.clone()]);
        for i in 0..n {
            pixels[0][i] = load(rows[0], near[i]);
            pixels[1][i] = load(rows[0], far[i]);
            pixels[2][i] = load(rows[1], near[i]);
            pixels[3][i] = load(rows[1], far[i]);
        }
        for c in 0..3 {
            let out = &mut out[c][block.clone()];
            for i in 0..n {
                let between = |near, far| lerp(sample(near, c), sample(far, c), weight[i]);
                let upper = between(pixels[0][i], pixels[1][i]);
                let lower = between(pixels[2][i], pixels[3][i]);
                out[i] = lerp(upper, lower, row_weight) - mean[c];
            }
        }
    }
}

/// A row cut into blocks.
#[inline(always)]
fn pixel_blocks(width: usize) -> impl Iterator<Item = Range<usize>> {
    (0..width).step_by(PIXEL_BLOCK).map(move |start| start..width.min(start + PIXEL_BLOCK))
}

/// The three samples at `at` and the byte after them, which may be missing.
#[inline(always)]
fn load(row: &[u8], at: u32) -> u32 {
    let bytes = &row[at as usize..];
    match bytes.first_chunk() {
        Some(bytes) => u32::from_le_bytes(*bytes),
        None => u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]),
    }
}

#[inline(always)]
fn sample(pixel: u32, index: usize) -> f32 {
    (pixel >> (8 * index) & 0xff) as i32 as f32
}

/// Interpolates between the samples at `near` and `far`, less `mean`.
#[multiversion(targets("x86_64+avx2+fma", "x86_64+sse4.1"))]
pub fn interpolate_columns<T: Copy + Into<f32>>(
    row: &[T],
    near: &[u32],
    far: &[u32],
    weight: &[f32],
    mean: f32,
    out: &mut [f32],
) {
    let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
    let (nears, near_rest) = near.as_chunks::<BLOCK>();
    let (fars, far_rest) = far.as_chunks::<BLOCK>();
    let (weights, weight_rest) = weight.as_chunks::<BLOCK>();
    for (((out, near), far), weight) in blocks.iter_mut().zip(nears).zip(fars).zip(weights) {
        let near = near.map(|at| row[at as usize]);
        let far = far.map(|at| row[at as usize]);
        for i in 0..BLOCK {
            out[i] = lerp(near[i].into(), far[i].into(), weight[i]) - mean;
        }
    }
    let rest = rest.iter_mut().zip(near_rest).zip(far_rest).zip(weight_rest);
    for (((out, &near), &far), &weight) in rest {
        *out = lerp(row[near as usize].into(), row[far as usize].into(), weight) - mean;
    }
}

/// Interpolates between two rows.
#[multiversion(targets("x86_64+avx2+fma", "x86_64+sse4.1"))]
pub fn interpolate_rows(near: &[u8], far: &[u8], weight: f32, out: &mut [f32]) {
    for ((out, &near), &far) in out.iter_mut().zip(near).zip(far) {
        *out = lerp(f32::from(near), f32::from(far), weight);
    }
}

/// Luma to blue, green and red, less `mean`.
#[multiversion(targets("x86_64+avx2+fma", "x86_64+sse4.1"))]
pub fn gray_to_bgr(
    luma: &[f32],
    to_gray: Luma,
    mean: [f32; 3],
    blue: &mut [f32],
    green: &mut [f32],
    red: &mut [f32],
) {
    for (((luma, blue), green), red) in luma.iter().zip(blue).zip(green).zip(red) {
        let gray = to_gray.apply(*luma).clamp(0.0, 255.0);
        *blue = gray - mean[0];
        *green = gray - mean[1];
        *red = gray - mean[2];
    }
}

/// Luma, blue and red difference to blue, green and red, less `mean`.
#[multiversion(targets("x86_64+avx2+fma", "x86_64+sse4.1"))]
pub fn yuv_to_bgr(
    [luma, u, v]: [&[f32]; 3],
    to_gray: Luma,
    chroma: Chroma,
    mean: [f32; 3],
    blue: &mut [f32],
    green: &mut [f32],
    red: &mut [f32],
) {
    let pixels = luma.iter().zip(u).zip(v).zip(blue).zip(green).zip(red);
    for (((((&luma, &u), &v), blue), green), red) in pixels {
        let (gray, u, v) = (to_gray.apply(luma), u - 128.0, v - 128.0);
        *blue = (gray + chroma.blue_u * u).clamp(0.0, 255.0) - mean[0];
        *green = (gray + chroma.green_u * u + chroma.green_v * v).clamp(0.0, 255.0) - mean[1];
        *red = (gray + chroma.red_v * v).clamp(0.0, 255.0) - mean[2];
    }
}

#[inline(always)]
fn lerp(near: f32, far: f32, weight: f32) -> f32 {
    near + (far - near) * weight
}

/// Rounds blue, green and red to bytes, side by side.
#[multiversion(targets("x86_64+avx2+fma", "x86_64+sse4.1"))]
pub fn interleave(blue: &[f32], green: &[f32], red: &[f32], out: &mut [u8]) {
    let (pixels, _) = out.as_chunks_mut::<3>();
    for (((pixel, &blue), &green), &red) in pixels.iter_mut().zip(blue).zip(green).zip(red) {
        // The conversion saturates.
        *pixel = [blue, green, red].map(|value| (value + 0.5) as u8);
    }
}

/// Writes `rows`, each of `width` values, as columns of `out`, whose rows are `stride` apart.
pub fn transpose(rows: &[f32], width: usize, out: &mut [f32], stride: usize) {
    for (x, out) in out.chunks_mut(stride).take(width).enumerate() {
        for (out, row) in out.iter_mut().zip(rows.chunks_exact(width)) {
            *out = row[x];
        }
    }
}

#[multiversion(targets("x86_64+avx2+fma", "x86_64+sse4.1"))]
pub fn multiply(row: &mut [f32], factor: f32) {
    for value in row {
        *value *= factor;
    }
}

#[cfg(test)]
mod tests;
