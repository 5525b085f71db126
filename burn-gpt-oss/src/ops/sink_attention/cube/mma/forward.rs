//! Forward pass.

use core::f32::consts::{LN_2, LOG2_E};

use cubecl::prelude::*;

use super::super::exponential::{exp2, ln};
use super::super::geometry::Geometry;
use super::fragments::{
    Pair, Wide, add_rows, add_scores, result_operand, results, row_operands, store_band,
    unit_column,
};
use super::queries::{UnitRows, cube_keys, hide, plane_sight, unit_rows};
use super::sight::segment_range;
use super::tile::{Rows, Source, fetch, put, two_tiles};
use super::{BAND, MmaSplit, TILE};

/// Results of 16 x 8 in a row of scores of a tile, and in a row of values.
const SCORES: usize = TILE / 8;
const VALUES: usize = super::DIM / 8;

/// The running softmax of the rows of a unit, two for every band. Logarithms have base two.
#[derive(CubeType)]
struct Softmax {
    /// Largest score so far.
    maxima: Array<f32>,
    /// Sums of the weights of this unit's keys so far.
    sums: Array<f32>,
    /// Sums of weighted values so far.
    outputs: Sequence<Array<Wide>>,
}

/// Outputs and logarithms of sums for the queries of a key head.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(in super::super) fn attend_mma<F: Float>(
    query: &[Pair<F>],
    key: &[Rows<F>],
    value: &[Rows<F>],
    sinks: &[f32],
    segments: &[i32],
    output: &mut [Pair<F>],
    log_sum_exp: &mut [f32],
    geometry: Geometry,
    #[comptime] split: MmaSplit,
    #[define(F)] _dtype: ElemType,
) {
    let unit = unit_rows(segments, &geometry, split);
    let sight = plane_sight(segments, &geometry, split);
    let (start, end) = cube_keys(segments, &geometry, split);
    let mut queries = Sequence::<Sequence<Array<Pair<F>>>>::new();
    #[unroll]
    for band in 0..split.bands {
        let low = unit.rows.index(comptime!(2 * band)).index;
        let high = unit.rows.index(comptime!(2 * band + 1)).index;
        queries.push(row_operands::<F>(query, low, high));
    }
    let mut state = begin(&unit, sinks, split);
    let factor = geometry.scale * LOG2_E;

    let mut keys = two_tiles::<F>();
    let mut values = two_tiles::<F>();
    let next = fetch::<F>(key, start, end, &geometry, Source::Keys, split);
    put::<F>(&next, &mut keys, 0usize, split);
    let next = fetch::<F>(value, start, end, &geometry, Source::Keys, split);
    put::<F>(&next, &mut values, 0usize, split);
    sync_cube();
    let n_tiles = (end - start).div_ceil(TILE);
    for i in 0..n_tiles {
        let tile = start + i * TILE;
        let at = i % 2 * TILE;
        // The last tile again behind the end.
        let next_keys = fetch::<F>(key, tile + TILE, end, &geometry, Source::Keys, split);
        let next_values = fetch::<F>(value, tile + TILE, end, &geometry, Source::Keys, split);
        let (low, high) = segment_range(segments, tile, end, &geometry, split.segmented);
        let seen = sight.judge(tile, low, high, split.segmented);
        if seen.any {
            let mut scores = results(comptime!(split.bands * SCORES));
            #[unroll]
            for step in 0..comptime!(TILE / BAND) {
                #[unroll]
                for band in 0..split.bands {
                    let first = comptime!(band * SCORES + 2 * step);
                    let row = at + comptime!(step * BAND);
                    add_scores::<F>(&mut scores, first, queries.index(band), &keys, row);
                }
            }
            if !seen.all {
                #[unroll]
                for i in 0..comptime!(split.bands * SCORES) {
                    let low = unit.rows.index(comptime!(i / SCORES * 2));
                    let high = unit.rows.index(comptime!(i / SCORES * 2 + 1));
                    let place = tile + comptime!(i % SCORES * 8);
                    hide(
                        scores.index_mut(i),
                        low,
                        high,
                        segments,
                        place,
                        &geometry,
                        split,
                    );
                }
            }
            absorb(&mut state, &mut scores, factor, split);
            #[unroll]
            for step in 0..comptime!(TILE / BAND) {
                let mut weights = Sequence::<Array<Pair<F>>>::new();
                #[unroll]
                for band in 0..split.bands {
                    let first = comptime!(band * SCORES + 2 * step);
                    let right = comptime!(first + 1);
                    weights.push(result_operand::<F>(
                        scores.index(first),
                        scores.index(right),
                    ));
                }
                let row = at + comptime!(step * BAND);
                add_rows::<F>(&mut state.outputs, &weights, &values, row, split.bands);
            }
        }
        put::<F>(&next_keys, &mut keys, TILE - at, split);
        put::<F>(&next_values, &mut values, TILE - at, split);
        sync_cube();
    }
    finish::<F>(&state, &unit, output, log_sum_exp, split);
}

/// The sink is what a row has seen before its first key; one unit of four counts it. One of minus
/// infinity is no sink; a finite one keeps `inf - inf` away.
#[cube]
fn begin(unit: &UnitRows, sinks: &[f32], #[comptime] split: MmaSplit) -> Softmax {
    let mut maxima = Array::<f32>::new(comptime!(2 * split.bands));
    let mut sums = Array::<f32>::new(comptime!(2 * split.bands));
    #[unroll]
    for i in 0..comptime!(2 * split.bands) {
        maxima[i] = max(sinks[unit.rows.index(i).head] * LOG2_E, f32::MIN);
        sums[i] = select(unit_column() == 0, 1.0f32, 0.0f32);
    }
    Softmax {
        maxima,
        sums,
        outputs: results(comptime!(split.bands * VALUES)),
    }
}

/// Turns the scores of a tile into weights relative to the largest so far, and rescales what was
/// summed before.
#[cube]
fn absorb(
    state: &mut Softmax,
    scores: &mut Sequence<Array<Wide>>,
    factor: f32,
    #[comptime] split: MmaSplit,
) {
    #[unroll]
    for row in 0..comptime!(2 * split.bands) {
        let first = comptime!(row / 2 * SCORES);
        let half = comptime!(row % 2);
        let mut largest = f32::MIN.runtime();
        #[unroll]
        for i in 0..SCORES {
            let pair = scores.index(comptime!(first + i))[half];
            largest = max(largest, max(pair.extract(0usize), pair.extract(1usize)));
        }
        largest = max(largest, plane_shuffle_xor(largest, 1u32));
        largest = max(largest, plane_shuffle_xor(largest, 2u32));
        let maximum = max(state.maxima[row], max(largest * factor, f32::MIN));
        let before = exp2(state.maxima[row] - maximum);
        state.maxima[row] = maximum;
        let mut sum = Wide::new(0.0f32);
        #[unroll]
        for i in 0..SCORES {
            let pair = scores.index(comptime!(first + i))[half];
            let weights = powers(pair, factor, maximum);
            scores.index_mut(comptime!(first + i))[half] = weights;
            sum += weights;
        }
        let sum = sum.extract(0usize) + sum.extract(1usize);
        state.sums[row] = fma(state.sums[row], before, sum);
        #[unroll]
        for i in 0..VALUES {
            let at = comptime!(row / 2 * VALUES + i);
            let value = state.outputs.index(at)[half] * Wide::new(before);
            state.outputs.index_mut(at)[half] = value;
        }
    }
}

/// `2^(factor * score - shift)`
#[cube]
pub(super) fn powers(scores: Wide, factor: f32, shift: f32) -> Wide {
    let mut weights = Wide::empty();
    #[unroll]
    for i in 0..2usize {
        weights.insert(i, exp2(fma(scores.extract(i), factor, -shift)));
    }
    weights
}

#[cube]
fn finish<F: Float>(
    state: &Softmax,
    unit: &UnitRows,
    output: &mut [Pair<F>],
    log_sum_exp: &mut [f32],
    #[comptime] split: MmaSplit,
) {
    #[unroll]
    for row in 0..comptime!(2 * split.bands) {
        let mut sum = state.sums[row];
        sum += plane_shuffle_xor(sum, 1u32);
        sum += plane_shuffle_xor(sum, 2u32);
        if *unit.inside.index(row) {
            let index = unit.rows.index(row).index;
            let (band, half) = comptime!((row / 2, row % 2));
            store_band::<F>(output, &state.outputs, band, half, index, 1.0f32 / sum);
            if unit_column() == 0 {
                log_sum_exp[index] = fma(state.maxima[row], LN_2, ln(sum, false));
            }
        }
    }
}
