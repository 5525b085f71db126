use cubecl::prelude::*;

use super::round_word;
use crate::ops::kernels::block_amax::column_amax;
use crate::ops::kernels::block_scale::block_scale;
use crate::ops::kernels::columns::{Columns, column_position};
use crate::ops::kernels::e2m1_rounding::Grid;
use crate::ops::kernels::float_words::FloatWords;
use crate::ops::kernels::format::KernelFormat;

/// Fake quantization where neighbours in memory belong to neighbouring blocks.
///
/// A unit has a vector of columns and all rows of one block in registers: as many loads under way
/// as a block has elements, and a plane reads a line of every row.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(crate) fn fake_quantize_columns<N: Size>(
    input: &[Vector<u32, N>],
    global_scales: &[u32],
    output: &mut [Vector<u32, N>],
    columns: Columns,
    outer_per_global_scale: usize,
    #[comptime] format: KernelFormat,
    #[comptime] floats: FloatWords,
) {
    let position = column_position(&columns);
    if position.outer >= columns.outer {
        terminate!();
    }
    let first = position.first(&columns, format.block_size);
    let mut rows = Sequence::<Vector<u32, N>>::new();
    #[unroll]
    for row in 0..comptime!(format.block_size) {
        rows.push(input[first + row * columns.stride]);
    }
    let global_scale = global_scales[position.outer / outer_per_global_scale];
    let mut grids = Sequence::<Grid>::new();
    let width = N::value().comptime();
    #[unroll]
    for column in 0..comptime!(width * floats.per_word()) {
        let amax = column_amax(&rows, column, floats);
        let scale = block_scale(amax, global_scale, format);
        grids.push(Grid::new(&scale, format));
    }
    #[unroll]
    for row in 0..comptime!(format.block_size) {
        output[first + row * columns.stride] = round_row(*rows.index(row), &grids, floats);
    }
}

/// Rounds every float of a vector to a grid of its own.
#[cube]
fn round_row<N: Size>(
    row: Vector<u32, N>,
    grids: &Sequence<Grid>,
    #[comptime] floats: FloatWords,
) -> Vector<u32, N> {
    let mut out = Vector::<u32, N>::empty();
    #[unroll]
    for w in 0..N::value() {
        let (low, high) = comptime!(match floats.per_word() {
            1 => (w, w),
            _ => (2 * w, 2 * w + 1),
        });
        let (low, high) = (grids.index(low), grids.index(high));
        out.insert(w, round_word(row.extract(w), low, high, floats));
    }
    out
}
