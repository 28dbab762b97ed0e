// SPDX-License-Identifier: MIT OR Apache-2.0

//! Convolutions in which each output depends on all channels, of any window.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::{
    Epilogue, Rows, inside, load,
    rows::{self, Parts},
    taps,
};
use crate::native::{
    graph::{Convolution, Window},
    instructions::InstructionSet,
    memory::Floats,
};

/// Most rows of a window.
pub const MOST_ROWS: usize = 16;

/// A dense convolution, with its weights as the kernel reads them.
pub struct Dense {
    window: Window,
    /// `[output block][input block][row][column][input lane][output lane]`.
    weights: Floats,
    epilogue: Epilogue,
    input_blocks: usize,
    output_blocks: usize,
}

impl Dense {
    /// Of `inputs` channels in blocks of `input_lanes`: 1 for planes, or else `lanes`.
    pub fn new(convolution: &Convolution, inputs: usize, input_lanes: usize, lanes: usize) -> Self {
        let Convolution { window, bias, activation, .. } = convolution;
        let weights = pack(convolution, inputs, input_lanes, lanes);
        Self {
            window: *window,
            weights,
            epilogue: Epilogue::new(bias, &activation.slopes, activation.clip, lanes),
            input_blocks: inputs.div_ceil(input_lanes),
            output_blocks: bias.len().div_ceil(lanes),
        }
    }

    pub fn window(&self) -> Window {
        self.window
    }

    /// Computes some rows of the output.
    ///
    /// # Safety
    /// The instruction set and the shapes are those that it was made for; the input has all the rows
    /// that the window sees, and nobody else uses the output's rows.
    pub unsafe fn rows(&self, set: InstructionSet, input: Rows, output: Parts, rows: Range<usize>) {
        set.run(Work { dense: self, input, output, rows });
    }
}

/// The weights in the kernel's order; groups become zeros.
fn pack(convolution: &Convolution, inputs: usize, input_lanes: usize, lanes: usize) -> Floats {
    let Convolution { window, groups, weights, bias, .. } = convolution;
    let outputs = bias.len();
    let taps = window.kernel[0] * window.kernel[1];
    let (of_group, outputs_of_group) = (inputs / groups, outputs / groups);
    let input_blocks = inputs.div_ceil(input_lanes);
    let len = outputs.next_multiple_of(lanes) * input_blocks * taps * input_lanes;
    let mut packed = Floats::new(len);
    for (output, weights) in weights.chunks_exact(of_group * taps).enumerate() {
        let first = output / outputs_of_group * of_group;
        let (output_block, output_lane) = (output / lanes, output % lanes);
        for (input, weights) in (first..).zip(weights.chunks_exact(taps)) {
            let block = output_block * input_blocks + input / input_lanes;
            let start = (block * taps * input_lanes + input % input_lanes) * lanes + output_lane;
            let places = packed[start..].iter_mut().step_by(input_lanes * lanes);
            places.zip(weights).for_each(|(place, &weight)| *place = weight);
        }
    }
    packed
}

/// Adds to `sums`, `T` pixels of `G` blocks, what `lanes` channels of the pixels contribute. The pixels
/// are `pixel_step` floats apart, the weights of the blocks `weight_step`.
///
/// # Safety
/// All of these can be read.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "of sums in sums, and of pixels")]
pub(super) unsafe fn accumulate<S: Simd, const G: usize, const T: usize>(
    simd: S,
    sums: &mut [[S::f32s; T]; G],
    (pixels, pixel_step): (*const f32, usize),
    (weights, weight_step): (*const f32, usize),
    lanes: usize,
) {
    for lane in 0..lanes {
        // SAFETY: as the caller says.
        unsafe {
            let mut of_lane = [simd.splat_f32s(0.0); G];
            for (block, weight) in of_lane.iter_mut().enumerate() {
                *weight = load::<S>(weights.add(block * weight_step + lane * S::F32_LANES));
            }
            for pixel in 0..T {
                let value = simd.splat_f32s(*pixels.add(pixel * pixel_step + lane));
                for block in 0..G {
                    sums[block][pixel] =
                        simd.mul_add_e_f32s(value, of_lane[block], sums[block][pixel]);
                }
            }
        }
    }
}

/// What computes tiles: some pixels of some blocks, whose sums stay in registers.
pub(super) trait Tiles<S: Simd> {
    /// Computes `T` pixels, from `column` on, of `G` blocks, from `block` on.
    fn tile<const G: usize, const T: usize>(&self, simd: S, block: usize, column: usize);
}

/// Computes all of these blocks and columns in tiles of about the same size.
#[inline(always)]
pub(super) fn in_tiles<S: Simd>(
    simd: S,
    blocks: usize,
    columns: Range<usize>,
    tiles: &impl Tiles<S>,
) {
    let mut block = 0;
    while block < blocks {
        let left = blocks - block;
        // Each weight and each value is loaded once a tile. Unit tests try all sizes of tiles everywhere.
        if const { S::REGISTER_COUNT >= 32 || cfg!(test) } && left >= 4 {
            of_blocks::<S, 4>(simd, block, columns.clone(), tiles);
            block += 4;
        } else if left >= 2 {
            of_blocks::<S, 2>(simd, block, columns.clone(), tiles);
            block += 2;
        } else {
            of_blocks::<S, 1>(simd, block, columns.clone(), tiles);
            block += 1;
        }
    }
}

/// All columns of `G` blocks.
#[inline(always)]
fn of_blocks<S: Simd, const G: usize>(
    simd: S,
    block: usize,
    columns: Range<usize>,
    tiles: &impl Tiles<S>,
) {
    let most = if const { G == 1 } { 12 } else { 6 };
    let parts = columns.len().div_ceil(most);
    let mut column = columns.start;
    for part in 0..parts {
        let pixels = (columns.end - column).div_ceil(parts - part);
        match pixels {
            1 => tiles.tile::<G, 1>(simd, block, column),
            2 => tiles.tile::<G, 2>(simd, block, column),
            3 => tiles.tile::<G, 3>(simd, block, column),
            4 => tiles.tile::<G, 4>(simd, block, column),
            5 => tiles.tile::<G, 5>(simd, block, column),
            6 => tiles.tile::<G, 6>(simd, block, column),
            _ if const { G > 1 } => {}
            7 => tiles.tile::<1, 7>(simd, block, column),
            8 => tiles.tile::<1, 8>(simd, block, column),
            9 => tiles.tile::<1, 9>(simd, block, column),
            10 => tiles.tile::<1, 10>(simd, block, column),
            11 => tiles.tile::<1, 11>(simd, block, column),
            _ => tiles.tile::<1, 12>(simd, block, column),
        }
        column += pixels;
    }
}

/// Some rows of output.
struct Work<'a> {
    dense: &'a Dense,
    input: Rows,
    output: Parts<'a>,
    rows: Range<usize>,
}

impl WithSimd for Work<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let planes = self.input.lanes() != S::F32_LANES;
        let Window { kernel, stride, .. } = self.dense.window;
        // Constants for what is common, for the compiler to unroll.
        match (planes, kernel, stride[1]) {
            (false, [1, 1], 1) => self.compute::<S, false, 1, 1>(simd),
            (false, ..) => self.compute::<S, false, 0, 0>(simd),
            (true, _, 2) => self.compute::<S, true, 0, 2>(simd),
            (true, ..) => self.compute::<S, true, 0, 0>(simd),
        }
    }
}

impl Work<'_> {
    #[inline(always)]
    fn compute<S: Simd, const PLANES: bool, const KERNEL: usize, const STRIDE: usize>(
        &self,
        simd: S,
    ) {
        let Window { kernel, stride, pads } = self.dense.window;
        let (width, columns) = (self.input.width, self.output.width());
        let inside = inside(width, columns, kernel[1], stride[1], pads[1]);
        let blocks = self.dense.output_blocks;
        for row in self.rows.clone() {
            let tap_rows = taps(row * stride[0], pads[0], kernel[0], self.input.height);
            let mut lines = [std::ptr::null(); MOST_ROWS];
            for tap_row in tap_rows.clone() {
                // SAFETY: the window sees this row.
                let line = unsafe { self.input.at(0, row * stride[0] + tap_row - pads[0]) };
                lines[tap_row] = line.cast_const();
            }
            // SAFETY: the output has the row.
            let to = unsafe { self.output.line(row) };
            let line = Line { lines, tap_rows, to };
            for column in (0..inside.start).chain(inside.end..columns) {
                let tap_columns = taps(column * stride[1], pads[1], kernel[1], width);
                let tiles = RowTiles::<PLANES, 0, STRIDE> { work: self, line: &line, tap_columns };
                for block in 0..blocks {
                    tiles.tile::<1, 1>(simd, block, column);
                }
            }
            let tap_columns = 0..kernel[1];
            let tiles = RowTiles::<PLANES, KERNEL, STRIDE> { work: self, line: &line, tap_columns };
            in_tiles(simd, blocks, inside.clone(), &tiles);
        }
    }
}

/// A row of output, and what its windows see.
struct Line<'a> {
    /// The start of each row that the window sees, by the window's row.
    lines: [*const f32; MOST_ROWS],
    tap_rows: Range<usize>,
    to: rows::Line<'a>,
}

/// Tiles of a row whose windows see these columns. `KERNEL` and `STRIDE` are those of columns, or 0.
struct RowTiles<'a, const PLANES: bool, const KERNEL: usize, const STRIDE: usize> {
    work: &'a Work<'a>,
    line: &'a Line<'a>,
    tap_columns: Range<usize>,
}

impl<S: Simd, const PLANES: bool, const KERNEL: usize, const STRIDE: usize> Tiles<S>
    for RowTiles<'_, PLANES, KERNEL, STRIDE>
{
    #[inline(always)]
    fn tile<const G: usize, const T: usize>(&self, simd: S, block: usize, column: usize) {
        let Work { dense, input, .. } = self.work;
        let Line { lines, tap_rows, to } = self.line;
        let Window { kernel, stride, pads } = dense.window;
        let lanes = if PLANES { 1 } else { S::F32_LANES };
        let stride_columns = if STRIDE == 0 { stride[1] } else { STRIDE };
        let taps_across = if KERNEL == 0 { self.tap_columns.len() } else { KERNEL };
        let of_tap = lanes * S::F32_LANES;
        let weight_step = dense.input_blocks * kernel[0] * kernel[1] * of_tap;
        let first_column = column * stride_columns + self.tap_columns.start - pads[1];
        // SAFETY: the window's rows and columns are inside; there are weights for each.
        unsafe {
            let mut sums = [[simd.splat_f32s(0.0); T]; G];
            for (group, sums) in sums.iter_mut().enumerate() {
                *sums = [dense.epilogue.bias::<S>(block + group); T];
            }
            let first = dense.weights.as_ptr().add(block * weight_step).cast_const();
            for input_block in 0..dense.input_blocks {
                for tap_row in tap_rows.clone() {
                    let line = lines.get_unchecked(tap_row);
                    let line = line.add(input_block * input.block_step() + first_column * lanes);
                    let place = (input_block * kernel[0] + tap_row) * kernel[1];
                    let weights = first.add((place + self.tap_columns.start) * of_tap);
                    for tap in 0..taps_across {
                        let pixels = (line.add(tap * lanes), stride_columns * lanes);
                        let weights = (weights.add(tap * of_tap), weight_step);
                        accumulate::<S, G, T>(simd, &mut sums, pixels, weights, lanes);
                    }
                }
            }
            let mut places = [std::ptr::null_mut(); G];
            for (group, place) in places.iter_mut().enumerate() {
                *place = to.at(block + group).add(column * S::F32_LANES);
            }
            dense.epilogue.finish(simd, &mut sums, block, places);
        }
    }
}
