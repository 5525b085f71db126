use cubecl::prelude::*;

use super::pass_float;
use crate::ops::kernels::block_amax::column_amax;
use crate::ops::kernels::block_scale::block_scale;
use crate::ops::kernels::columns::{Columns, column_position};
use crate::ops::kernels::e2m1_rounding::Grid;
use crate::ops::kernels::float_words::FloatWords;
use crate::ops::kernels::format::KernelFormat;

/// The clipped gradient where neighbours in memory belong to neighbouring blocks; the memory layout is that
/// of [`fake_quantize_columns`](crate::ops::kernels::fake_quantize::fake_quantize_columns).
#[cube(launch_unchecked, address_type = "dynamic")]
pub(crate) fn clip_gradient_columns<N: Size>(
    input: &[Vector<u32, N>],
    grad: &[Vector<u32, N>],
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
        let at = first + row * columns.stride;
        output[at] = pass_row(*rows.index(row), grad[at], &grids, floats);
    }
}

#[cube]
fn pass_row<N: Size>(
    row: Vector<u32, N>,
    grad: Vector<u32, N>,
    grids: &Sequence<Grid>,
    #[comptime] floats: FloatWords,
) -> Vector<u32, N> {
    let mut out = Vector::<u32, N>::empty();
    #[unroll]
    for w in 0..N::value() {
        let mut passed = 0u32;
        #[unroll]
        for i in 0..comptime!(floats.per_word()) {
            let grid = grids.index(comptime!(w * floats.per_word() + i));
            passed |= pass_float(row.extract(w), grad.extract(w), i, grid, floats);
        }
        out.insert(w, passed);
    }
    out
}
