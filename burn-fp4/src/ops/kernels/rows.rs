//! Walking over blocks whose elements are neighbours.

use cubecl::prelude::*;

/// The geometry; `pitch` counts vectors.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(crate) struct Rows {
    pub n_blocks: usize,
    /// Blocks in a row.
    pub blocks: usize,
    /// From one row to the next.
    pub pitch: usize,
}

/// The division of blocks among the units of a cube.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RowSplit {
    /// Units that share a block, neighbours in a plane; one where planes cannot exchange values.
    pub lanes: usize,
    /// Vectors of a block that each of them has.
    pub vectors: usize,
    /// Blocks that a unit has under way at a time.
    pub in_flight: usize,
    /// Whether rows have a gap between them.
    pub pitched: bool,
}

/// Blocks that a cube has at a time.
#[cube]
pub(crate) fn blocks_at_a_time(#[comptime] split: RowSplit) -> usize {
    CUBE_DIM as usize / split.lanes
}

/// The first block of this unit; the next ones are [`blocks_at_a_time`] apart.
#[cube]
pub(crate) fn first_block(#[comptime] split: RowSplit) -> usize {
    let cube = CUBE_POS * split.in_flight * blocks_at_a_time(split);
    cube + UNIT_POS as usize / split.lanes
}

/// Where vector `vector` of this unit's share of a block is. The shares interleave, so that
/// neighbouring units have neighbouring vectors.
#[cube]
pub(crate) fn vector_position(
    rows: &Rows,
    block: usize,
    #[comptime] vector: usize,
    #[comptime] split: RowSplit,
) -> usize {
    let first = block_position(rows, block, split);
    first + comptime!(vector * split.lanes) + UNIT_POS as usize % split.lanes
}

/// Where the first vector of this unit's share of a block is, if shares do not interleave.
#[cube]
pub(crate) fn share_position(rows: &Rows, block: usize, #[comptime] split: RowSplit) -> usize {
    block_position(rows, block, split) + UNIT_POS as usize % split.lanes * split.vectors
}

#[cube]
fn block_position(rows: &Rows, block: usize, #[comptime] split: RowSplit) -> usize {
    let size = comptime!(split.vectors * split.lanes);
    if comptime!(split.pitched) {
        block / rows.blocks * rows.pitch + block % rows.blocks * size
    } else {
        block * size
    }
}

/// The largest of the values of the units that share a block.
#[cube]
pub(crate) fn block_max(value: u32, #[comptime] split: RowSplit) -> u32 {
    let mut largest = value;
    #[unroll]
    for step in 0..comptime!(split.lanes.ilog2()) {
        largest = max(largest, plane_shuffle_xor(largest, comptime!(1u32 << step)));
    }
    largest
}
