//! Gradients of a few rows: products with a packed weight that is not transposed.

use cubecl::prelude::*;

use super::float_words::{FloatWords, element, join, narrow_sum};
use super::format::KernelFormat;
use super::packed_weight::{PackedWeight, block_factor, decode, expert_of, lift, row_cube};

/// The geometry of the rows, in elements and words.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(crate) struct GradientRows {
    pub n_rows: usize,
    /// Elements from one row to the next.
    pub pitch: usize,
    /// Words from one row of the output to the next.
    pub output_pitch: usize,
}

/// Rows times weight.
///
/// A unit has a word of codes, eight columns, of every row of the weight, one after another;
/// neighbours have neighbouring words.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(crate) fn gemv_backward(
    grad: &[u32],
    experts: &[u32],
    codes: &[u32],
    scales: &[u32],
    global_scales: &[u32],
    output: &mut [u32],
    rows: GradientRows,
    weight: PackedWeight,
    #[comptime] rows_of_unit: usize,
    #[comptime] indexed: bool,
    #[comptime] format: KernelFormat,
    #[comptime] floats: FloatWords,
) {
    let word = CUBE_POS_X as usize * CUBE_DIM as usize + UNIT_POS as usize;
    if word >= weight.d_input / 8 {
        terminate!();
    }
    let first_row = row_cube() * rows_of_unit;
    let row = min(first_row, rows.n_rows - 1);
    let first = expert_of(experts, row, &weight, indexed) * weight.d_output;
    let mut sums = Array::<f32>::new(comptime!(8 * rows_of_unit));
    #[unroll]
    for i in 0..comptime!(8 * rows_of_unit) {
        sums[i] = 0.0f32;
    }
    for o in 0..weight.d_output {
        let row = first + o;
        let global_scale = global_scales[row / weight.rows_per_global_scale];
        let block = word * 8 / format.block_size;
        let factor = block_factor(scales, global_scale, &weight, row, block, format);
        let values = decode(codes[row * weight.code_pitch + word], format.arithmetic);
        #[unroll]
        for r in 0..comptime!(rows_of_unit) {
            let row = min(first_row + r, rows.n_rows - 1);
            let g = element(grad, row * rows.pitch + o, floats);
            #[unroll]
            for i in 0..8usize {
                let value = *values.index(i) * comptime!(lift(format.arithmetic)) * factor;
                let at = comptime!(8 * r + i);
                sums[at] = fma(g, value, sums[at]);
            }
        }
    }
    let per_word = comptime!(floats.per_word());
    #[unroll]
    for r in 0..comptime!(rows_of_unit) {
        if first_row + r < rows.n_rows {
            let at = (first_row + r) * rows.output_pitch + word * comptime!(8 / per_word);
            #[unroll]
            for i in 0..comptime!(8 / per_word) {
                let low = narrow_sum(sums[comptime!(8 * r + i * per_word)], floats);
                output[at + i] = if comptime!(per_word == 1) {
                    low
                } else {
                    join(low, narrow_sum(sums[comptime!(8 * r + i * 2 + 1)], floats))
                };
            }
        }
    }
}
