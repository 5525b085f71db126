use cubecl::prelude::*;

use super::round_vector;
use crate::ops::kernels::block_amax::block_amax;
use crate::ops::kernels::block_scale::block_scale;
use crate::ops::kernels::e2m1_rounding::Grid;
use crate::ops::kernels::float_words::FloatWords;
use crate::ops::kernels::format::KernelFormat;
use crate::ops::kernels::rows::{
    RowSplit, Rows, block_max, blocks_at_a_time, first_block, vector_position,
};

/// Fake quantization where the elements of a block are neighbours.
///
/// The units of a block are neighbours in a plane and so are their vectors: a plane reads and writes
/// whole lines. All loads of a unit, those of `split.in_flight` blocks, are under way at once.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(crate) fn fake_quantize_rows<N: Size>(
    input: &[Vector<u32, N>],
    global_scales: &[u32],
    output: &mut [Vector<u32, N>],
    rows: Rows,
    blocks_per_global_scale: usize,
    #[comptime] split: RowSplit,
    #[comptime] format: KernelFormat,
    #[comptime] floats: FloatWords,
) {
    let first = first_block(split);
    let mut blocks = Sequence::<Sequence<Vector<u32, N>>>::new();
    #[unroll]
    for j in 0..comptime!(split.in_flight) {
        // Units beyond the end read the last block: all must take part in what planes exchange.
        let block = min(first + j * blocks_at_a_time(split), rows.n_blocks - 1);
        let mut vectors = Sequence::<Vector<u32, N>>::new();
        #[unroll]
        for v in 0..comptime!(split.vectors) {
            vectors.push(input[vector_position(&rows, block, v, split)]);
        }
        blocks.push(vectors);
    }
    #[unroll]
    for j in 0..comptime!(split.in_flight) {
        let block = first + j * blocks_at_a_time(split);
        let vectors = blocks.index(j);
        let amax = block_max(block_amax(vectors, floats), split);
        let scale = min(block, rows.n_blocks - 1) / blocks_per_global_scale;
        let global_scale = global_scales[scale];
        let grid = Grid::new(&block_scale(amax, global_scale, format), format);
        if block < rows.n_blocks {
            #[unroll]
            for v in 0..comptime!(split.vectors) {
                let position = vector_position(&rows, block, v, split);
                output[position] = round_vector(*vectors.index(v), &grid, floats);
            }
        }
    }
}
