//! Quantization to codes and scale bytes.

mod columns;
mod rows;

use cubecl::prelude::*;

use super::e2m1_rounding::Grid;
use super::float_words::{FloatWords, widen};

pub(crate) use columns::quantize_columns;
pub(crate) use rows::quantize_rows;

/// Codes in a word, the first in the lowest bits.
pub(crate) const CODES_PER_WORD: usize = 8;

/// Scale bytes in a word.
pub(crate) const BYTES_PER_WORD: usize = 4;

/// The code of a float, with its sign.
#[cube]
fn code(word: u32, #[comptime] index: usize, grid: &Grid, #[comptime] floats: FloatWords) -> u32 {
    let bits = widen(word, index, floats);
    grid.code(bits & 0x7fff_ffffu32) | (grid.sign(bits) >> 28u32)
}
