//! From global to shared memory.

use cubecl::prelude::*;

use super::{Four, GemmTile};
use crate::ops::kernels::float_words::{FloatWords, element};
use crate::ops::kernels::format::KernelFormat;
use crate::ops::kernels::packed_weight::{PackedWeight, block_factor, decode, lift};

/// Loads a tile of the rows, zeros beyond the last term. Neighbouring units have neighbouring terms.
#[cube]
#[allow(clippy::too_many_arguments)]
pub(super) fn load_rows(
    input: &[u32],
    row_numbers: &Shared<[u32]>,
    to: &mut Shared<[Four]>,
    first_term: usize,
    terms: usize,
    pitch: usize,
    #[comptime] tile: GemmTile,
    #[comptime] floats: FloatWords,
) {
    let tasks = comptime!(tile.depth * tile.height() / 4);
    for task in range_stepped(UNIT_POS as usize, tasks, comptime!(tile.n_units())) {
        let (at, quad) = (task % tile.depth, task / tile.depth);
        let term = first_term + at;
        let mut vector = Four::empty();
        #[unroll]
        for i in 0..4usize {
            let row = row_numbers[4 * quad + i] as usize * pitch;
            let value = element(input, row + min(term, terms - 1), floats);
            vector.insert(i, select(term < terms, value, 0.0f32));
        }
        to[at * comptime!(tile.row_stride()) + quad] = vector;
    }
}

/// Loads and decodes a tile of the weight, zeros beyond the last term.
#[cube]
#[allow(clippy::too_many_arguments)]
pub(super) fn load_weight(
    codes: &[u32],
    scales: &[u32],
    global_scales: &[u32],
    to: &mut Shared<[Four]>,
    expert: usize,
    first_column: usize,
    first_term: usize,
    weight: &PackedWeight,
    #[comptime] tile: GemmTile,
    #[comptime] backward: bool,
    #[comptime] format: KernelFormat,
) {
    let stride = comptime!(tile.column_stride());
    let first_row = expert * weight.d_output;
    if comptime!(backward) {
        // A word holds eight columns of one term.
        let words = comptime!(tile.width() / 8);
        let tasks = comptime!(tile.depth * words);
        for task in range_stepped(UNIT_POS as usize, tasks, comptime!(tile.n_units())) {
            let (at, word) = (task / words, task % words);
            let row = first_row + min(first_term + at, weight.d_output - 1);
            let column = min(first_column / 8 + word, weight.d_input / 8 - 1);
            let values = load_word(codes, scales, global_scales, row, column, weight, format);
            let inside = first_term + at < weight.d_output;
            #[unroll]
            for v in 0..2usize {
                let mut vector = Four::empty();
                #[unroll]
                for i in 0..4usize {
                    vector.insert(i, select(inside, *values.index(4 * v + i), 0.0f32));
                }
                to[at * stride + 2 * word + v] = vector;
            }
        }
    } else {
        // A word holds eight terms of one column: four columns at a time. Neighbouring units have
        // neighbouring columns, for the banks of shared memory.
        let quads = comptime!(tile.width() / 4);
        let tasks = comptime!(tile.depth / 8 * quads);
        for task in range_stepped(UNIT_POS as usize, tasks, comptime!(tile.n_units())) {
            let (word, quad) = (task / quads, task % quads);
            let term = first_term / 8 + word;
            let inside = term < weight.d_input / 8;
            let mut columns = Sequence::<Sequence<f32>>::new();
            #[unroll]
            for j in 0..4usize {
                let row = first_row + min(first_column + 4 * quad + j, weight.d_output - 1);
                let at = min(term, weight.d_input / 8 - 1);
                columns.push(load_word(
                    codes,
                    scales,
                    global_scales,
                    row,
                    at,
                    weight,
                    format,
                ));
            }
            #[unroll]
            for i in 0..8usize {
                let mut vector = Four::empty();
                #[unroll]
                for j in 0..4usize {
                    vector.insert(j, select(inside, *columns.index(j).index(i), 0.0f32));
                }
                to[(8 * word + i) * stride + quad] = vector;
            }
        }
    }
}

/// The eight values of a word of a row of the weight.
#[cube]
fn load_word(
    codes: &[u32],
    scales: &[u32],
    global_scales: &[u32],
    row: usize,
    word: usize,
    weight: &PackedWeight,
    #[comptime] format: KernelFormat,
) -> Sequence<f32> {
    let global_scale = global_scales[row / weight.rows_per_global_scale];
    let block = word * 8 / format.block_size;
    let factor = block_factor(scales, global_scale, weight, row, block, format);
    let codes = decode(codes[row * weight.code_pitch + word], format.arithmetic);
    let mut values = Sequence::<f32>::new();
    #[unroll]
    for i in 0..8usize {
        values.push(*codes.index(i) * comptime!(lift(format.arithmetic)) * factor);
    }
    values
}
