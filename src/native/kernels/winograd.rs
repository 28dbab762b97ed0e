// SPDX-License-Identifier: MIT OR Apache-2.0

//! Dense convolutions of 3×3 pixels by Winograd's minimal filtering F(4×4, 3×3): 36 products for 16
//! outputs, instead of 144 (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015).

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::{
    Epilogue, Rows,
    dense::{Tiles, accumulate, in_tiles},
    load,
    rows::Parts,
    store,
};
use crate::native::{
    graph::{Convolution, Window},
    instructions::InstructionSet,
    memory::Floats,
};

/// Outputs of a tile, down and across.
const TILE: usize = 4;
/// Inputs of a tile, down and across.
const SEEN: usize = TILE + 2;
/// Products of a tile.
const PRODUCTS: usize = SEEN * SEEN;

/// A 3×3 convolution of stride 1, with its weights transformed.
pub struct Winograd {
    pads: [usize; 2],
    /// `[product][output block][input block][input lane][output lane]`.
    weights: Floats,
    epilogue: Epilogue,
    input_blocks: usize,
    output_blocks: usize,
    /// Tiles that are computed together.
    together: usize,
}

impl Winograd {
    /// Whether a convolution is of the kind. Without vectors, none is: what others are compared with does
    /// without Winograd's method.
    pub fn can(convolution: &Convolution, lanes: usize) -> bool {
        let Window { kernel, stride, .. } = convolution.window;
        lanes > 1 && convolution.groups == 1 && kernel == [3, 3] && stride == [1, 1]
    }

    pub fn new(convolution: &Convolution, inputs: usize, lanes: usize) -> Self {
        let Convolution { window, weights, bias, activation, .. } = convolution;
        let (input_blocks, output_blocks) = (inputs.div_ceil(lanes), bias.len().div_ceil(lanes));
        let of_product = output_blocks * input_blocks * lanes * lanes;
        let mut packed = Floats::new(PRODUCTS * of_product);
        for (index, kernel) in weights.chunks_exact(9).enumerate() {
            let (output, input) = (index / inputs, index % inputs);
            let block = output / lanes * input_blocks + input / lanes;
            let place = (block * lanes + input % lanes) * lanes + output % lanes;
            for (product, weight) in transform_weights(kernel).into_iter().enumerate() {
                packed[product * of_product + place] = weight;
            }
        }
        // For what is between the transformations to stay in the second level cache.
        const FLOATS: usize = 96 * 1024;
        let of_tile = PRODUCTS * lanes * (input_blocks + output_blocks);
        Self {
            pads: window.pads,
            weights: packed,
            epilogue: Epilogue::new(bias, &activation.slopes, activation.clip, lanes),
            input_blocks,
            output_blocks,
            together: (FLOATS / of_tile / 6 * 6).clamp(6, 48),
        }
    }

    /// The tiles of a value of this size.
    pub fn tiles(rows: usize, columns: usize) -> usize {
        rows.div_ceil(TILE) * columns.div_ceil(TILE)
    }

    /// The floats of scratch memory that [`Self::tiles_of`] takes.
    pub fn scratch(&self, lanes: usize) -> usize {
        PRODUCTS * self.together * lanes * (self.input_blocks + self.output_blocks)
    }

    /// Computes some of the output's tiles.
    ///
    /// # Safety
    /// The instruction set and the shapes are those that it was made for, there is as much scratch memory
    /// as [`Self::scratch`] says, and nobody else uses that and these tiles of the output.
    pub unsafe fn tiles_of(
        &self,
        set: InstructionSet,
        input: Rows,
        output: Parts,
        scratch: *mut f32,
        tiles: Range<usize>,
    ) {
        for first in tiles.clone().step_by(self.together) {
            let tiles = first..tiles.end.min(first + self.together);
            let values = scratch;
            let len = PRODUCTS * self.input_blocks * tiles.len() * set.lanes();
            // SAFETY: within the scratch memory.
            let products = unsafe { scratch.add(len) };
            let across = output.width().div_ceil(TILE);
            set.run(Pass { winograd: self, input, output, values, products, tiles, across });
        }
    }
}

/// `G g Gᵀ` of a kernel, for the points 0, 1, −1, 2, −2 and infinity.
fn transform_weights(kernel: &[f32]) -> [f32; PRODUCTS] {
    const G: [[f64; 3]; SEEN] = [
        [1.0 / 4.0, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        [0.0, 0.0, 1.0],
    ];
    let mut half = [[0.0; 3]; SEEN];
    for (row, factors) in half.iter_mut().zip(&G) {
        for (column, value) in row.iter_mut().enumerate() {
            let of_column = |row: usize| factors[row] * f64::from(kernel[row * 3 + column]);
            *value = of_column(0) + of_column(1) + of_column(2);
        }
    }
    let mut transformed = [0.0; PRODUCTS];
    for (values, row) in transformed.chunks_exact_mut(SEEN).zip(&half) {
        for (value, factors) in values.iter_mut().zip(&G) {
            *value = (row[0] * factors[0] + row[1] * factors[1] + row[2] * factors[2]) as f32;
        }
    }
    transformed
}

/// Some tiles, from input to output.
struct Pass<'a> {
    winograd: &'a Winograd,
    input: Rows,
    output: Parts<'a>,
    /// The transformed input: `[product][block][tile][lane]`.
    values: *mut f32,
    /// As `values`, of the output's blocks.
    products: *mut f32,
    tiles: Range<usize>,
    /// Tiles in a row of them.
    across: usize,
}

impl WithSimd for Pass<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Pass { winograd, values, products, ref tiles, .. } = self;
        for block in 0..winograd.input_blocks {
            for tile in tiles.clone() {
                transform_input(simd, &self, block, tile);
            }
        }
        for product in 0..PRODUCTS {
            let blocks = winograd.output_blocks * winograd.input_blocks;
            let len = |blocks: usize| blocks * tiles.len() * S::F32_LANES;
            // SAFETY: within the scratch memory and the weights.
            let multiply = unsafe {
                Multiply {
                    values: values.add(product * len(winograd.input_blocks)),
                    weights: winograd
                        .weights
                        .as_ptr()
                        .add(product * blocks * S::F32_LANES * S::F32_LANES),
                    products: products.add(product * len(winograd.output_blocks)),
                    tiles: tiles.len(),
                    input_blocks: winograd.input_blocks,
                    output_blocks: winograd.output_blocks,
                }
            };
            simd.vectorize(multiply);
        }
        for block in 0..winograd.output_blocks {
            for tile in tiles.clone() {
                transform_output(simd, &self, block, tile);
            }
        }
    }
}

/// `factor * a + b`.
#[inline(always)]
fn fused<S: Simd>(simd: S, factor: f32, a: S::f32s, b: S::f32s) -> S::f32s {
    simd.mul_add_e_f32s(simd.splat_f32s(factor), a, b)
}

/// `Bᵀ d`.
#[inline(always)]
fn transform_six<S: Simd>(simd: S, d: [S::f32s; SEEN]) -> [S::f32s; SEEN] {
    let even = fused(simd, -4.0, d[2], d[4]);
    let odd = fused(simd, -4.0, d[1], d[3]);
    let even_twice = simd.sub_f32s(d[4], d[2]);
    let odd_twice = simd.sub_f32s(d[3], d[1]);
    [
        fused(simd, 4.0, d[0], fused(simd, -5.0, d[2], d[4])),
        simd.add_f32s(even, odd),
        simd.sub_f32s(even, odd),
        fused(simd, 2.0, odd_twice, even_twice),
        fused(simd, -2.0, odd_twice, even_twice),
        fused(simd, 4.0, d[1], fused(simd, -5.0, d[3], d[5])),
    ]
}

/// `Aᵀ m`.
#[inline(always)]
fn transform_back<S: Simd>(simd: S, m: [S::f32s; SEEN]) -> [S::f32s; TILE] {
    let (sum, difference) = (simd.add_f32s(m[1], m[2]), simd.sub_f32s(m[1], m[2]));
    let (sum_twice, difference_twice) = (simd.add_f32s(m[3], m[4]), simd.sub_f32s(m[3], m[4]));
    [
        simd.add_f32s(simd.add_f32s(m[0], sum), sum_twice),
        fused(simd, 2.0, difference_twice, difference),
        fused(simd, 4.0, sum_twice, sum),
        simd.add_f32s(fused(simd, 8.0, difference_twice, difference), m[5]),
    ]
}

/// `Bᵀ d B` of a tile.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "columns are transformed to rows")]
fn transform_input<S: Simd>(simd: S, pass: &Pass, block: usize, tile: usize) {
    let Pass { winograd, input, tiles, across, .. } = pass;
    let zero = simd.splat_f32s(0.0);
    let (top, left) = (tile / across * TILE, tile % across * TILE);
    let [above, before] = winograd.pads;
    // SAFETY: what is read is inside the input, what is written in the scratch memory.
    unsafe {
        let mut half = [[zero; SEEN]; SEEN];
        let all = top >= above
            && left >= before
            && top + SEEN <= input.height + above
            && left + SEEN <= input.width + before;
        if all {
            let start = input.at(block, top - above).add((left - before) * S::F32_LANES);
            for column in 0..SEEN {
                let mut values = [zero; SEEN];
                for (row, value) in values.iter_mut().enumerate() {
                    *value = load::<S>(start.add(row * input.row_step() + column * S::F32_LANES));
                }
                for (row, value) in transform_six(simd, values).into_iter().enumerate() {
                    half[row][column] = value;
                }
            }
        } else {
            for column in 0..SEEN {
                let mut values = [zero; SEEN];
                let inside = left + column >= before && left + column < input.width + before;
                for (row, value) in values.iter_mut().enumerate() {
                    if inside && top + row >= above && top + row < input.height + above {
                        let line = input.at(block, top + row - above);
                        *value = load::<S>(line.add((left + column - before) * S::F32_LANES));
                    }
                }
                for (row, value) in transform_six(simd, values).into_iter().enumerate() {
                    half[row][column] = value;
                }
            }
        }
        let step = winograd.input_blocks * tiles.len() * S::F32_LANES;
        let to = pass.values.add((block * tiles.len() + tile - tiles.start) * S::F32_LANES);
        for (row, values) in half.into_iter().enumerate() {
            for (column, value) in transform_six(simd, values).into_iter().enumerate() {
                store::<S>(to.add((row * SEEN + column) * step), value);
            }
        }
    }
}

/// `Aᵀ m A` of a tile, with the epilogue.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "columns are transformed to rows")]
fn transform_output<S: Simd>(simd: S, pass: &Pass, block: usize, tile: usize) {
    let Pass { winograd, output, tiles, across, .. } = pass;
    let (top, left) = (tile / across * TILE, tile % across * TILE);
    // SAFETY: what is read is in the scratch memory, what is written inside the output.
    unsafe {
        let step = winograd.output_blocks * tiles.len() * S::F32_LANES;
        let from = pass.products.add((block * tiles.len() + tile - tiles.start) * S::F32_LANES);
        let zero = simd.splat_f32s(0.0);
        let mut half = [[zero; SEEN]; TILE];
        for column in 0..SEEN {
            let mut values = [zero; SEEN];
            for (row, value) in values.iter_mut().enumerate() {
                *value = load::<S>(from.add((row * SEEN + column) * step));
            }
            for (row, value) in transform_back(simd, values).into_iter().enumerate() {
                half[row][column] = value;
            }
        }
        let (bias, slopes) =
            (winograd.epilogue.bias::<S>(block), winograd.epilogue.slopes::<S>(block));
        let rows = TILE.min(output.height() - top);
        let columns = TILE.min(output.width() - left);
        for (row, values) in half.into_iter().enumerate().take(rows) {
            let to = output.at(block, top + row).add(left * S::F32_LANES);
            let values = transform_back(simd, values);
            for (column, &value) in values.iter().enumerate() {
                if column < columns {
                    let value = simd.add_f32s(value, bias);
                    let value = winograd.epilogue.activate(simd, value, slopes);
                    store::<S>(to.add(column * S::F32_LANES), value);
                }
            }
        }
    }
}

/// One of the products, of all tiles of a pass.
struct Multiply {
    values: *const f32,
    weights: *const f32,
    products: *mut f32,
    tiles: usize,
    input_blocks: usize,
    output_blocks: usize,
}

impl WithSimd for Multiply {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        in_tiles(simd, self.output_blocks, 0..self.tiles, &self);
    }
}

impl<S: Simd> Tiles<S> for Multiply {
    #[inline(always)]
    fn tile<const G: usize, const T: usize>(&self, simd: S, block: usize, tile: usize) {
        let Multiply { values, weights, products, tiles, input_blocks, .. } = *self;
        let square = S::F32_LANES * S::F32_LANES;
        // SAFETY: within the scratch memory and the weights.
        unsafe {
            let mut sums = [[simd.splat_f32s(0.0); T]; G];
            let weights = weights.add(block * input_blocks * square);
            let values = values.add(tile * S::F32_LANES);
            for input in 0..input_blocks {
                let pixels = (values.add(input * tiles * S::F32_LANES), S::F32_LANES);
                let weights = (weights.add(input * square), input_blocks * square);
                accumulate::<S, G, T>(simd, &mut sums, pixels, weights, S::F32_LANES);
            }
            for (group, sums) in sums.iter().enumerate() {
                let to = products.add(((block + group) * tiles + tile) * S::F32_LANES);
                for (pixel, &sum) in sums.iter().enumerate() {
                    store::<S>(to.add(pixel * S::F32_LANES), sum);
                }
            }
        }
    }
}
