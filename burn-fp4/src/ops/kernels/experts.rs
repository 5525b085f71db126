//! Rows in the order of their experts.

use cubecl::prelude::*;

/// Counts the rows of every expert, and gives each row a place among those of its expert.
///
/// Which place depends on chance; the product of a row does not depend on its place.
#[cube(launch_unchecked)]
pub(crate) fn count_rows(
    experts: &[u32],
    counts: &[Atomic<u32>],
    places: &mut [u32],
    n_rows: usize,
    n_experts: usize,
) {
    if ABSOLUTE_POS >= n_rows {
        terminate!();
    }
    let expert = min(experts[ABSOLUTE_POS] as usize, n_experts - 1);
    places[ABSOLUTE_POS] = counts[expert].fetch_add(1u32);
}

/// Writes the rows of every expert one after another.
#[cube(launch_unchecked)]
pub(crate) fn order_rows(
    experts: &[u32],
    counts: &[u32],
    places: &[u32],
    order: &mut [u32],
    n_rows: usize,
    n_experts: usize,
) {
    if ABSOLUTE_POS >= n_rows {
        terminate!();
    }
    let expert = min(experts[ABSOLUTE_POS] as usize, n_experts - 1);
    let mut first = 0u32;
    for before in 0..expert {
        first += counts[before];
    }
    order[(first + places[ABSOLUTE_POS]) as usize] = ABSOLUTE_POS as u32;
}

/// Neighbouring rows in the order, of one expert.
#[derive(CubeType, Clone, Copy)]
pub(crate) struct RowTile {
    pub expert: usize,
    /// Place of the first row in the order.
    pub first: usize,
    /// Rows; none beyond the last tile.
    pub len: usize,
}

/// Tile number `tile` if rows are divided into tiles of `height`, those of an expert by themselves.
#[cube]
pub(crate) fn row_tile(
    counts: &[u32],
    n_experts: usize,
    tile: usize,
    #[comptime] height: usize,
) -> RowTile {
    let mut found = RowTile {
        expert: 0usize,
        first: 0usize,
        len: 0usize,
    };
    let mut first_tile = 0usize;
    let mut first_row = 0usize;
    for expert in 0..n_experts {
        let rows = counts[expert] as usize;
        let tiles = rows.div_ceil(height);
        if tile >= first_tile && tile < first_tile + tiles {
            let skipped = (tile - first_tile) * height;
            found.expert = expert;
            found.first = first_row + skipped;
            found.len = min(rows - skipped, height);
        }
        first_tile += tiles;
        first_row += rows;
    }
    found
}
