//! The gradient of fake quantization that is zero where an element saturates.

mod columns;
mod rows;

use cubecl::prelude::*;

use super::e2m1_rounding::Grid;
use super::float_words::{FloatWords, widen};

pub(crate) use columns::clip_gradient_columns;
pub(crate) use rows::clip_gradient_rows;

/// A word of gradients where the float of a tensor does not saturate, zero elsewhere.
#[cube]
fn pass_float(
    word: u32,
    grad: u32,
    #[comptime] index: usize,
    grid: &Grid,
    #[comptime] floats: FloatWords,
) -> u32 {
    let magnitude = widen(word, index, floats) & 0x7fff_ffffu32;
    let mask = comptime!(match (floats, index) {
        (FloatWords::F32, _) => 0xffff_ffffu32,
        (_, 0) => 0xffffu32,
        _ => 0xffff_0000u32,
    });
    select(grid.saturates(magnitude), 0u32, grad & mask)
}
