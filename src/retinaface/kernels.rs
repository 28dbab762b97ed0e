// SPDX-License-Identifier: MIT OR Apache-2.0

//! The inner loops of preprocessing, each over one row, compiled for several instruction sets.
//!
//! Plain loops that the compiler vectorises. Gathers go through blocks: the loads of a block stay
//! scalar, its arithmetic does not.

use multiversion::multiversion;

use crate::frame::{Chroma, Luma};

const BLOCK: usize = 16;

/// Every `step`th byte, less `mean`.
pub fn copy(row: &[u8], step: usize, mean: f32, out: &mut [f32]) {
    match step {
        1 => copy_1(row, mean, out),
        2 => copy_2(row, mean, out),
        3 => copy_3(row, mean, out),
        _ => copy_4(row, mean, out),
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

/// The samples at `at`, less `mean`.
#[multiversion(targets("x86_64+avx2+fma", "x86_64+sse4.1"))]
pub fn pick<T: Copy + Into<f32>>(row: &[T], at: &[u32], mean: f32, out: &mut [f32]) {
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

/// Between the samples at `near` and `far`, less `mean`.
#[multiversion(targets("x86_64+avx2+fma", "x86_64+sse4.1"))]
pub fn blend_columns<T: Copy + Into<f32>>(
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

/// Between two rows.
#[multiversion(targets("x86_64+avx2+fma", "x86_64+sse4.1"))]
pub fn blend_rows(near: &[u8], far: &[u8], weight: f32, out: &mut [f32]) {
    for ((out, &near), &far) in out.iter_mut().zip(near).zip(far) {
        *out = lerp(f32::from(near), f32::from(far), weight);
    }
}

#[multiversion(targets("x86_64+avx2+fma", "x86_64+sse4.1"))]
pub fn gray(
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

#[multiversion(targets("x86_64+avx2+fma", "x86_64+sse4.1"))]
pub fn yuv(
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
