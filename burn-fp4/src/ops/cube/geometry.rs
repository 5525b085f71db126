//! Memory layouts as kernels take them.

use cubecl::calculate_cube_count_elemwise;
use cubecl::client::Client;
use cubecl::features::Plane;
use cubecl::prelude::*;

use super::buffer::{CUBE_UNITS, Strided};
use super::memory_layout::BlockLayout;
use crate::ops::kernels::columns::ColumnsLaunch;
use crate::ops::kernels::quantize::{BYTES_PER_WORD, CODES_PER_WORD};
use crate::ops::kernels::rows::{RowSplit, RowsLaunch};

/// Bytes that a unit loads at once.
const BYTES_IN_FLIGHT: usize = 64;

/// A launch over blocks whose elements are neighbours.
pub(super) struct RowGeometry {
    /// Words of a vector.
    pub vector: usize,
    pub split: RowSplit,
    pub n_blocks: usize,
    pub count: CubeCount,
    pub dim: CubeDim,
    blocks: usize,
    pitch: usize,
}

impl RowGeometry {
    /// Units that share a block have a vector each.
    pub fn new(input: &Strided, block_size: usize) -> Self {
        let block_words = block_size / input.floats.per_word();
        let block_vectors = block_words / input.vector_words().min(block_words);
        let lanes = lanes(&input.tensor.client, block_vectors, block_vectors);
        Self::with_lanes(input, block_size, lanes)
    }

    /// Units that share a block have a word of codes each, and those of four blocks are in a plane;
    /// else a unit has four blocks.
    pub fn packing(input: &Strided, block_size: usize) -> Self {
        let block_words = block_size / CODES_PER_WORD;
        let lanes = lanes(
            &input.tensor.client,
            block_words,
            block_words * BYTES_PER_WORD,
        );
        let mut geometry = Self::with_lanes(input, block_size, lanes);
        if lanes == 1 {
            geometry.split.in_flight = BYTES_PER_WORD;
            geometry.count = geometry.count(&input.tensor.client);
        }
        geometry
    }

    fn with_lanes(input: &Strided, block_size: usize, lanes: usize) -> Self {
        let BlockLayout::Rows { n_rows, len, pitch } = input.layout.blocks else {
            unreachable!("blocks in rows")
        };
        let client = &input.tensor.client;
        let block_words = block_size / input.floats.per_word();
        let vector = input.vector_words().min(block_words / lanes);
        let vectors = block_words / vector / lanes;
        let split = RowSplit {
            lanes,
            vectors,
            in_flight: (BYTES_IN_FLIGHT / (vectors * vector * 4)).max(1),
            pitched: pitch != len,
        };
        let mut geometry = Self {
            vector,
            split,
            n_blocks: n_rows * len / block_size,
            count: CubeCount::new_single(),
            dim: CubeDim::new_1d(CUBE_UNITS),
            blocks: len / block_size,
            pitch: pitch / input.floats.per_word() / vector,
        };
        geometry.count = geometry.count(client);
        geometry
    }

    fn count(&self, client: &Client) -> CubeCount {
        let n_units = self.n_blocks.div_ceil(self.split.in_flight) * self.split.lanes;
        calculate_cube_count_elemwise(client, n_units, self.dim)
    }

    pub fn rows(&self) -> RowsLaunch {
        RowsLaunch::new(self.n_blocks, self.blocks, self.pitch)
    }
}

/// Units that share a block that has as many shares: one each, or one alone where planes cannot
/// exchange values between `together` units.
fn lanes(client: &Client, shares: usize, together: usize) -> usize {
    let properties = client.properties();
    let plane = properties.hardware.plane_size_min as usize;
    let exchange = properties.features.plane.contains(Plane::Ops);
    if exchange && plane >= together && shares.is_power_of_two() {
        shares
    } else {
        1
    }
}

/// A launch over blocks whose elements are not neighbours.
pub(super) struct ColumnGeometry {
    /// Words of a vector.
    pub vector: usize,
    pub count: CubeCount,
    pub dim: CubeDim,
    geometry: [usize; 7],
}

impl ColumnGeometry {
    pub fn new(input: &Strided, block_size: usize) -> Self {
        let BlockLayout::Columns {
            outer,
            slab,
            len,
            stride,
            height,
            pitch,
            width,
        } = input.layout.blocks
        else {
            unreachable!("blocks in columns")
        };
        let client = &input.tensor.client;
        // A unit keeps a whole block of every column in registers, and a plane is wide enough to read
        // lines with one word each.
        let vector = 1;
        let vectors = |elements: usize| elements.div_ceil(input.floats.per_word() * vector);
        let (blocks, columns) = (len / block_size, vectors(width));
        let n_units = outer * blocks * height * columns;
        let dim = CubeDim::new(client, n_units);
        Self {
            vector,
            count: calculate_cube_count_elemwise(client, n_units, dim),
            dim,
            geometry: [
                outer,
                vectors(slab),
                blocks,
                vectors(stride),
                height,
                vectors(pitch),
                columns,
            ],
        }
    }

    pub fn columns(&self) -> ColumnsLaunch {
        let [outer, slab, blocks, stride, height, pitch, width] = self.geometry;
        ColumnsLaunch::new(outer, slab, blocks, stride, height, pitch, width)
    }
}
