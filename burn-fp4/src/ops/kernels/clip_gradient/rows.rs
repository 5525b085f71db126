use cubecl::prelude::*;

use super::pass_float;
use crate::ops::kernels::block_amax::block_amax;
use crate::ops::kernels::block_scale::block_scale;
use crate::ops::kernels::e2m1_rounding::Grid;
use crate::ops::kernels::float_words::FloatWords;
use crate::ops::kernels::format::KernelFormat;
use crate::ops::kernels::rows::{
    RowSplit, Rows, block_max, blocks_at_a_time, first_block, vector_position,
};

/// The clipped gradient where the elements of a block are neighbours; the memory layout is that of
/// [`fake_quantize_rows`](crate::ops::kernels::fake_quantize::fake_quantize_rows).
#[cube(launch_unchecked, address_type = "dynamic")]
pub(crate) fn clip_gradient_rows<N: Size>(
    input: &[Vector<u32, N>],
    grad: &[Vector<u32, N>],
    global_scales: &[u32],
    output: &mut [Vector<u32, N>],
    rows: Rows,
    blocks_per_global_scale: usize,
    #[comptime] split: RowSplit,
    #[comptime] format: KernelFormat,
    #[comptime] floats: FloatWords,
) {
    #[unroll]
    for j in 0..comptime!(split.in_flight) {
        let block = first_block(split) + j * blocks_at_a_time(split);
        let safe = min(block, rows.n_blocks - 1);
        let mut vectors = Sequence::<Vector<u32, N>>::new();
        #[unroll]
        for v in 0..comptime!(split.vectors) {
            vectors.push(input[vector_position(&rows, safe, v, split)]);
        }
        let amax = block_max(block_amax(&vectors, floats), split);
        let global_scale = global_scales[safe / blocks_per_global_scale];
        let grid = Grid::new(&block_scale(amax, global_scale, format), format);
        if block < rows.n_blocks {
            #[unroll]
            for v in 0..comptime!(split.vectors) {
                let position = vector_position(&rows, block, v, split);
                output[position] = pass_vector(*vectors.index(v), grad[position], &grid, floats);
            }
        }
    }
}

#[cube]
fn pass_vector<N: Size>(
    vector: Vector<u32, N>,
    grad: Vector<u32, N>,
    grid: &Grid,
    #[comptime] floats: FloatWords,
) -> Vector<u32, N> {
    let mut out = Vector::<u32, N>::empty();
    #[unroll]
    for w in 0..N::value() {
        let mut passed = 0u32;
        #[unroll]
        for i in 0..comptime!(floats.per_word()) {
            passed |= pass_float(vector.extract(w), grad.extract(w), i, grid, floats);
        }
        out.insert(w, passed);
    }
    out
}
