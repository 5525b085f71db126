//! Tiles of the other side in shared memory.

use cubecl::prelude::*;

use super::super::geometry::Geometry;
use super::{DIM, MmaSplit};

/// Eight neighbours in a row: 16 bytes.
pub(super) type Rows<F> = Vector<F, Const<8>>;

/// Vectors of a row of a tensor.
pub(super) const VECTORS: usize = DIM / 8;
/// Vectors from one row to the next in shared memory. One more than needed, so that the same place of
/// eight rows is in different banks.
pub(super) const PITCH: usize = VECTORS + 1;

/// Rows of which tensors a tile consists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// `[batch, keys, kv_heads, head_dim]`
    Keys,
    /// `[batch, len, heads, head_dim]`
    Queries,
}

/// Room for two tiles.
#[cube]
pub(super) fn two_tiles<F: Float>(#[comptime] split: MmaSplit) -> Shared<[Rows<F>]> {
    Shared::<[Rows<F>]>::new_aligned_slice(comptime!(2 * split.tile * PITCH), 16usize)
}

/// The vectors of a tile that a unit has.
const fn share(split: MmaSplit) -> usize {
    split.tile * VECTORS / split.units()
}

/// Loads what a unit has of a tile, the last row again behind `end`.
#[cube]
pub(super) fn fetch<F: Float>(
    from: &[Rows<F>],
    start: usize,
    end: usize,
    geometry: &Geometry,
    #[comptime] source: Source,
    #[comptime] split: MmaSplit,
) -> Array<Rows<F>> {
    let mut vectors = Array::<Rows<F>>::new(comptime!(share(split)));
    #[unroll]
    for i in 0..comptime!(share(split)) {
        let task = UNIT_POS as usize + comptime!(i * split.units());
        let place = min(start + task / VECTORS, end - 1);
        let row = match source {
            Source::Keys => geometry.key_index(place),
            Source::Queries => geometry.query_index(place),
        };
        vectors[i] = from[row * VECTORS + task % VECTORS];
    }
    vectors
}

/// Puts it into shared memory, `first_row` the first row of the tile there.
#[cube]
pub(super) fn put<F: Float>(
    vectors: &Array<Rows<F>>,
    to: &mut Shared<[Rows<F>]>,
    first_row: usize,
    #[comptime] split: MmaSplit,
) {
    #[unroll]
    for i in 0..comptime!(share(split)) {
        let task = UNIT_POS as usize + comptime!(i * split.units());
        to[(first_row + task / VECTORS) * PITCH + task % VECTORS] = vectors[i];
    }
}
