// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every kernel against a plain loop. `multiversion` offers no way to call one of the versions that it
//! compiles: these tests run the one that it chooses on this machine.

use super::*;

/// f32 against f64: at most ten roundings of values below 1024, 2⁻¹⁵ each.
const TOLERANCE: f64 = 1e-3;
const MEAN: [f32; 3] = [104.25, 117.5, 122.75];

/// No pixels, every tail of a block, and what surrounds one and two blocks of pixels.
fn lengths() -> impl Iterator<Item = usize> {
    let around = |len: usize| len - 2..=len + 2;
    (0..=40).chain(around(PIXEL_BLOCK)).chain(around(2 * PIXEL_BLOCK))
}

/// `len` bytes, neighbours of which are far apart.
fn bytes(len: usize, start: usize) -> Vec<u8> {
    (0..len).map(|i| (start + i * 151 % 257) as u8).collect()
}

fn floats(len: usize, start: usize) -> Vec<f32> {
    bytes(len, start).into_iter().map(|byte| f32::from(byte) + 0.25).collect()
}

/// `len` indices below `end`, the last among them, in no order.
fn indices(len: usize, end: usize, start: usize) -> Vec<u32> {
    (0..len).map(|i| ((end - 1 + start + i * 7) % end) as u32).collect()
}

fn weights(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 5 % 17) as f32 / 16.0).collect()
}

/// Rows of blue, green and red to write to.
fn planes(len: usize) -> [Vec<f32>; 3] {
    [0, 1, 2].map(|_| vec![f32::NAN; len])
}

fn between(near: impl Into<f64>, far: impl Into<f64>, weight: f32) -> f64 {
    near.into() * (1.0 - f64::from(weight)) + far.into() * f64::from(weight)
}

#[track_caller]
fn assert_near(found: &[f32], expected: impl Fn(usize) -> f64) {
    for (i, &value) in found.iter().enumerate() {
        let (value, expected, len) = (f64::from(value), expected(i), found.len());
        assert!((value - expected).abs() < TOLERANCE, "{i} of {len}: {value}, not {expected}");
    }
}

#[test]
fn copying_takes_every_step_th_byte() {
    for (step, len) in (1..=9).flat_map(|step| lengths().map(move |len| (step, len))) {
        // The row ends with the last sample, or goes on.
        let least = (len * step).saturating_sub(step - 1);
        for rest in [0, 1, 9] {
            let row = bytes(least + rest, step);
            let mut out = vec![f32::NAN; len];
            copy(&row, step, MEAN[0], &mut out);
            assert_near(&out, |i| f64::from(row[i * step]) - f64::from(MEAN[0]));
        }
    }
}

#[test]
fn narrowing_takes_the_upper_bits_of_words() {
    for (shift, len) in [1, 2, 4].into_iter().flat_map(|shift| lengths().map(move |n| (shift, n))) {
        let most = (0xff << shift) + (1 << shift) - 1;
        let words: Vec<u16> = (0..len).map(|i| (i * 151 % (most + 1)) as u16).collect();
        let row: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut out = vec![77; len];
        narrow(&row, shift as u32, &mut out);
        let expected: Vec<_> = words.iter().map(|word| u32::from(*word) / (1 << shift)).collect();
        assert_eq!(out.iter().copied().map(u32::from).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn gathering_takes_the_samples_at_the_indices() {
    for len in lengths() {
        let (bytes, floats, at) = (bytes(61, 3), floats(61, 3), indices(len, 61, 0));
        let mut out = vec![f32::NAN; len];
        gather(&bytes, &at, MEAN[0], &mut out);
        assert_near(&out, |i| f64::from(bytes[at[i] as usize]) - f64::from(MEAN[0]));
        gather(&floats, &at, MEAN[1], &mut out);
        assert_near(&out, |i| f64::from(floats[at[i] as usize]) - f64::from(MEAN[1]));
    }
}

#[test]
fn gathering_pixels_takes_three_samples_at_the_indices() {
    for len in lengths() {
        // The last pixel is the row's last three bytes, or one byte follows it.
        for rest in [3, 4] {
            let (row, at) = (bytes(60 + rest, 3), indices(len, 61, 0));
            let mut out = planes(len);
            gather_pixels(&row, &at, MEAN, out.each_mut().map(Vec::as_mut_slice));
            for c in 0..3 {
                let expected = |i: usize| f64::from(row[at[i] as usize + c]) - f64::from(MEAN[c]);
                assert_near(&out[c], expected);
            }
        }
    }
}

#[test]
fn interpolating_pixels_weighs_four_of_them() {
    for (len, row_weight) in lengths().flat_map(|len| [(len, 0.0), (len, 0.375), (len, 1.0)]) {
        let rows = [bytes(63, 3), bytes(63, 90)];
        let (near, far, weight) = (indices(len, 61, 0), indices(len, 61, 5), weights(len));
        let mut out = planes(len);
        let slices = out.each_mut().map(Vec::as_mut_slice);
        interpolate_pixels(
            rows.each_ref().map(Vec::as_slice),
            row_weight,
            &near,
            &far,
            &weight,
            MEAN,
            slices,
        );
        for c in 0..3 {
            assert_near(&out[c], |i| {
                let (near, far) = (near[i] as usize + c, far[i] as usize + c);
                let [upper, lower] =
                    rows.each_ref().map(|row| between(row[near], row[far], weight[i]));
                between(upper, lower, row_weight) - f64::from(MEAN[c])
            });
        }
    }
}

#[test]
fn interpolating_columns_weighs_two_samples() {
    for len in lengths() {
        let (bytes, floats) = (bytes(61, 3), floats(61, 3));
        let (near, far, weight) = (indices(len, 61, 0), indices(len, 61, 5), weights(len));
        let mut out = vec![f32::NAN; len];
        let at = |i: usize| (near[i] as usize, far[i] as usize);
        interpolate_columns(&bytes, &near, &far, &weight, MEAN[0], &mut out);
        assert_near(&out, |i| {
            between(bytes[at(i).0], bytes[at(i).1], weight[i]) - f64::from(MEAN[0])
        });
        interpolate_columns(&floats, &near, &far, &weight, MEAN[1], &mut out);
        assert_near(&out, |i| {
            between(floats[at(i).0], floats[at(i).1], weight[i]) - f64::from(MEAN[1])
        });
    }
}

#[test]
fn interpolating_rows_weighs_sample_by_sample() {
    for (len, weight) in lengths().flat_map(|len| [(len, 0.0), (len, 0.375), (len, 1.0)]) {
        let (near, far) = (bytes(len, 3), bytes(len, 90));
        let mut out = vec![f32::NAN; len];
        interpolate_rows(&near, &far, weight, &mut out);
        assert_near(&out, |i| between(near[i], far[i], weight));
    }
}

/// BT.601 of limited range: 1.164·(Y − 16), 1.596, −0.391, −0.813 and 2.018 of the standard, to more
/// places.
#[test]
fn colours_of_luma_and_chroma() {
    let (to_gray, chroma) = (Luma::new(false), Chroma::new(0.299, 0.114, false));
    for len in lengths() {
        let [luma, u, v] = [floats(len, 3), floats(len, 90), floats(len, 200)];
        let grays = |i: usize| (f64::from(luma[i]) - 16.0) * 255.0 / 219.0;
        let clamped = |value: f64, mean: f32| value.clamp(0.0, 255.0) - f64::from(mean);

        let mut out = planes(len);
        let [blue, green, red] = &mut out;
        gray_to_bgr(&luma, to_gray, MEAN, blue, green, red);
        for (out, mean) in out.iter().zip(MEAN) {
            assert_near(out, |i| clamped(grays(i), mean));
        }

        let mut out = planes(len);
        let [blue, green, red] = &mut out;
        yuv_to_bgr([&luma, &u, &v], to_gray, chroma, MEAN, blue, green, red);
        // 2·(1 − Kr)·255/224 and 2·(1 − Kb)·255/224.
        let (red_v, blue_u) = (1.402 * 255.0 / 224.0, 1.772 * 255.0 / 224.0);
        let (green_u, green_v) = (blue_u * 0.114 / 0.587, red_v * 0.299 / 0.587);
        let chroma = |i: usize| (f64::from(u[i]) - 128.0, f64::from(v[i]) - 128.0);
        assert_near(&out[0], |i| clamped(grays(i) + blue_u * chroma(i).0, MEAN[0]));
        assert_near(&out[1], |i| {
            clamped(grays(i) - green_u * chroma(i).0 - green_v * chroma(i).1, MEAN[1])
        });
        assert_near(&out[2], |i| clamped(grays(i) + red_v * chroma(i).1, MEAN[2]));
    }
}

#[test]
fn interleaving_rounds_and_saturates() {
    let values =
        [(-3.0, 0), (0.0, 0), (0.25, 0), (0.75, 1), (97.5, 98), (254.25, 254), (300.0, 255)];
    let value = |i: usize| values[i % values.len()];
    for len in lengths() {
        let plane = |shift: usize| (0..len).map(|i| value(i + shift).0).collect::<Vec<f32>>();
        let mut out = vec![77; 3 * len];
        interleave(&plane(0), &plane(2), &plane(4), &mut out);
        let expected = (0..len).flat_map(|i| [0, 2, 4].map(|shift| value(i + shift).1));
        assert_eq!(out, expected.collect::<Vec<u8>>());
    }
}

#[test]
fn multiplying_scales_every_value() {
    for len in lengths() {
        let before = floats(len, 3);
        let mut row = before.clone();
        multiply(&mut row, 0.375);
        assert_near(&row, |i| f64::from(before[i]) * 0.375);
    }
}
