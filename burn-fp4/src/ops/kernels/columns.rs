//! Walking over blocks whose elements are not neighbours.

use cubecl::prelude::*;

/// The geometry; strides count vectors.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(crate) struct Columns {
    /// Slabs of layers.
    pub outer: usize,
    /// From one slab to the next.
    pub slab: usize,
    /// Blocks from the first layer of a slab to the last.
    pub blocks: usize,
    /// From one layer to the next.
    pub stride: usize,
    /// Lines in a layer.
    pub height: usize,
    /// From one line to the next.
    pub pitch: usize,
    /// Vectors in a line.
    pub width: usize,
}

/// The block that a unit has; all columns of a vector are one.
#[derive(CubeType, Clone, Copy)]
pub(crate) struct ColumnPosition {
    pub outer: usize,
    pub block: usize,
    pub line: usize,
    pub column: usize,
}

/// The position of this unit, neighbours in neighbouring columns.
#[cube]
pub(crate) fn column_position(columns: &Columns) -> ColumnPosition {
    let lines = ABSOLUTE_POS / columns.width;
    let blocks = lines / columns.height;
    ColumnPosition {
        outer: blocks / columns.blocks,
        block: blocks % columns.blocks,
        line: lines % columns.height,
        column: ABSOLUTE_POS % columns.width,
    }
}

#[cube]
impl ColumnPosition {
    /// Where the first vector of the block is.
    pub fn first(&self, columns: &Columns, #[comptime] block_size: usize) -> usize {
        self.outer * columns.slab
            + self.block * block_size * columns.stride
            + self.line * columns.pitch
            + self.column
    }
}
