//! Quantize and dequantize without anything in between.

mod columns;
mod rows;

use cubecl::prelude::*;

use super::e2m1_rounding::Grid;
use super::float_words::{FloatWords, join, narrow, widen};

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
        out.insert(w, round_word(vector.extract(w), grid, grid, floats));
    }
    out
}

/// Rounds the floats of a word, each to a grid.
#[cube]
fn round_word(word: u32, low: &Grid, high: &Grid, #[comptime] floats: FloatWords) -> u32 {
    let exact = comptime!(low.format.scales.exact_in_bf16());
    if comptime!(floats.per_word() == 1) {
        round_float(word, 0usize, low, floats)
    } else if comptime!(exact && floats == FloatWords::BF16) {
        let first = low.round(widen(word, 0usize, floats) & MAGNITUDE);
        let second = high.round(widen(word, 1usize, floats) & MAGNITUDE);
        // The lower half of a value is zero.
        (first >> 16u32) | second | (word & 0x8000_8000u32)
    } else {
        let first = round_float(word, 0usize, low, floats);
        join(first, round_float(word, 1usize, high, floats))
    }
}

/// Without the sign.
const MAGNITUDE: u32 = 0x7fff_ffff;

#[cube]
fn round_float(
    word: u32,
    #[comptime] index: usize,
    grid: &Grid,
    #[comptime] floats: FloatWords,
) -> u32 {
    let bits = widen(word, index, floats);
    let value = grid.round(bits & MAGNITUDE) | grid.sign(bits);
    narrow(value, comptime!(grid.format.scales.exact_in_bf16()), floats)
}
