use cubecl::prelude::*;

use super::{BYTES_PER_WORD, CODES_PER_WORD, code};
use crate::ops::kernels::block_amax::column_amax;
use crate::ops::kernels::block_scale::block_scale;
use crate::ops::kernels::columns::{Columns, column_position};
use crate::ops::kernels::e2m1_rounding::Grid;
use crate::ops::kernels::float_words::FloatWords;
use crate::ops::kernels::format::KernelFormat;

/// Packing where neighbours in memory belong to neighbouring blocks.
///
/// A unit has a vector of columns and all rows of one block in registers. The codes of a block are
/// neighbours in the output, `M` words. The bytes of neighbouring blocks share a word but belong to
/// units far apart, so they are added to it atomically.
///
/// # Shapes
///
/// - codes: `[outer, height, n_columns, blocks]` vectors of a block each
/// - scales: `[outer, height, n_columns, blocks]` bytes, zeros before
#[cube(launch_unchecked, address_type = "dynamic")]
pub(crate) fn quantize_columns<N: Size, M: Size>(
    input: &[Vector<u32, N>],
    global_scales: &[u32],
    codes: &mut [Vector<u32, M>],
    scales: &[Atomic<u32>],
    columns: Columns,
    n_columns: usize,
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
    let line = (position.outer * columns.height + position.line) * n_columns;
    let size = N::value().comptime();
    let per_vector = comptime!(size * floats.per_word());
    #[unroll]
    for i in 0..per_vector {
        let column = position.column * per_vector + i;
        // The last vector of a line may reach into a gap.
        if column < n_columns {
            let scale = block_scale(column_amax(&rows, i, floats), global_scale, format);
            let grid = Grid::new(&scale, format);
            let block = (line + column) * columns.blocks + position.block;
            codes[block] = pack_column::<N, M>(&rows, i, &grid, floats);
            let shift = block as u32 % 4u32 * 8u32;
            scales[block / BYTES_PER_WORD].fetch_or(scale.byte << shift);
        }
    }
}

/// The codes of a column.
#[cube]
fn pack_column<N: Size, M: Size>(
    rows: &Sequence<Vector<u32, N>>,
    #[comptime] column: usize,
    grid: &Grid,
    #[comptime] floats: FloatWords,
) -> Vector<u32, M> {
    let word = comptime!(column / floats.per_word());
    let index = comptime!(column % floats.per_word());
    let mut out = Vector::<u32, M>::empty();
    #[unroll]
    for w in 0..M::value() {
        let mut codes = 0u32;
        #[unroll]
        for i in 0..CODES_PER_WORD {
            let row = rows.index(w * CODES_PER_WORD + i);
            codes |= code(row.extract(word), index, grid, floats) << comptime!(i as u32 * 4);
        }
        out.insert(w, codes);
    }
    out
}
