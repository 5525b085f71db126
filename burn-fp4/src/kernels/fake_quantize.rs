//! Quantize and dequantize without anything in between.

mod columns;
mod rows;

use cubecl::prelude::*;

use super::float_words::{FloatWords, join, narrow, widen};
use super::grid::Grid;

pub(crate) use columns::fake_quantize_columns;
pub(crate) use rows::fake_quantize_rows;

/// Rounds all floats in a vector of words to the grid.
#[cube]
fn round_vector<N: Size>(
    vector: Vector<u32, N>,
    grid: &Grid,
    #[comptime] floats: FloatWords,
) -> Vector<u32, N> {
    let mut out = Vector::<u32, N>::empty();
    #[unroll]
    for w in 0..N::value() {
        let word = vector.extract(w);
        let low = round_float(word, 0usize, grid, floats);
        let rounded = if comptime!(floats.per_word() == 1) {
            low
        } else {
            join(low, round_float(word, 1usize, grid, floats))
        };
        out.insert(w, rounded);
    }
    out
}

#[cube]
fn round_float(
    word: u32,
    #[comptime] index: usize,
    grid: &Grid,
    #[comptime] floats: FloatWords,
) -> u32 {
    let bits = widen(word, index, floats);
    let value = grid.round(bits & 0x7fff_ffffu32) | grid.sign(bits);
    narrow(value, comptime!(grid.format.scales.exact_in_bf16()), floats)
}
