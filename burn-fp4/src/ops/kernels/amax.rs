//! The largest magnitude of a tensor, or of each of its experts; NaN does not take part, and infinity
//! counts as the largest `f32`.

use cubecl::prelude::*;

use super::block_amax::block_amax;
use super::float_words::FloatWords;

/// Vectors that a unit loads at a time.
pub(crate) const IN_FLIGHT: usize = 4;

/// The geometry of a tensor of rows; all numbers count vectors.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(crate) struct AmaxRows {
    /// In everything that one magnitude is for.
    pub n_vectors: usize,
    /// In a row.
    pub width: usize,
    /// From one row to the next.
    pub pitch: usize,
}

/// Raises every `amax` to the largest magnitude of what it is for, index `CUBE_POS_Y`.
///
/// Magnitudes order as their bits do, so the maximum of integers is that of the numbers.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(crate) fn raise_amax<N: Size>(
    input: &[Vector<u32, N>],
    amax: &[Atomic<u32>],
    rows: AmaxRows,
    #[comptime] planes: bool,
    #[comptime] floats: FloatWords,
) {
    let unit = CUBE_POS_X as usize * CUBE_DIM as usize + UNIT_POS as usize;
    let step = CUBE_COUNT_X as usize * CUBE_DIM as usize;
    let rows_before = CUBE_POS_Y as usize * (rows.n_vectors / rows.width);
    let mut largest = 0u32;
    for i in range_stepped(unit, rows.n_vectors, step * IN_FLIGHT) {
        let mut vectors = Sequence::<Vector<u32, N>>::new();
        #[unroll]
        for j in 0..IN_FLIGHT {
            // The last vector again does no harm.
            let vector = min(i + j * step, rows.n_vectors - 1);
            let row = rows_before + vector / rows.width;
            vectors.push(input[row * rows.pitch + vector % rows.width]);
        }
        largest = max(largest, block_amax(&vectors, floats) >> 1u32);
    }
    if comptime!(planes) {
        let of_plane = plane_max(largest);
        if UNIT_POS_PLANE == 0u32 {
            amax[CUBE_POS_Y as usize].fetch_max(of_plane);
        }
    } else {
        amax[CUBE_POS_Y as usize].fetch_max(largest);
    }
}
