//! Forward pass.

use core::f32::consts::{LN_2, LOG2_E};

use cubecl::prelude::*;

use super::super::exponential::{Weights, ln, weight, whole};
use super::super::geometry::Geometry;
use super::fragments::{
    Pair, Wide, add_rows, add_scores, multiply, ones, result_operand, results, row_operands,
    store_band, unit_column,
};
use super::queries::{UnitRows, cube_keys, hide, plane_sight, unit_rows};
use super::sight::segment_range;
use super::tile::{Rows, Source, fetch, put, two_tiles};
use super::{BAND, MmaSplit};

/// Results of 16 x 8 in a row of values.
const VALUES: usize = super::DIM / 8;

/// The smallest power of two that a row may begin with. Weights of hidden keys are zero down to here,
/// and those of a sink that is not there up from here.
const LOWEST: f32 = -8_000.0;

/// The running softmax of the rows of a unit, two for every band.
#[derive(CubeType)]
struct Softmax {
    /// Largest score so far as a power of two, whole.
    shifts: Array<f32>,
    /// Sums of weights so far, of all keys in every column: products with ones, of weights as they are
    /// multiplied with values.
    sums: Sequence<Array<Wide>>,
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
    let geometry = geometry.of_group(split.group);
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

    let ones = ones::<F>();
    let mut keys = two_tiles::<F>(split);
    let mut values = two_tiles::<F>(split);
    let next = fetch::<F>(key, start, end, &geometry, Source::Keys, split);
    put::<F>(&next, &mut keys, 0usize, split);
    let next = fetch::<F>(value, start, end, &geometry, Source::Keys, split);
    put::<F>(&next, &mut values, 0usize, split);
    sync_cube();
    let n_tiles = (end - start).div_ceil(split.tile);
    for i in 0..n_tiles {
        let tile = start + i * split.tile;
        let at = i % 2 * split.tile;
        // The last tile again behind the end.
        let next_keys = fetch::<F>(key, tile + split.tile, end, &geometry, Source::Keys, split);
        let next_values = fetch::<F>(
            value,
            tile + split.tile,
            end,
            &geometry,
            Source::Keys,
            split,
        );
        let (low, high) = segment_range(segments, tile, end, &geometry, split);
        let seen = sight.judge(tile, low, high, split);
        if seen.any {
            let mut scores = results(comptime!(split.bands * split.scores()));
            #[unroll]
            for step in 0..comptime!(split.tile / BAND) {
                #[unroll]
                for band in 0..split.bands {
                    let first = comptime!(band * split.scores() + 2 * step);
                    let row = at + comptime!(step * BAND);
                    add_scores::<F>(&mut scores, first, queries.index(band), &keys, row);
                }
            }
            if !seen.all {
                #[unroll]
                for i in 0..comptime!(split.bands * split.scores()) {
                    let low = unit.rows.index(comptime!(i / split.scores() * 2));
                    let high = unit.rows.index(comptime!(i / split.scores() * 2 + 1));
                    let place = tile + comptime!(i % split.scores() * 8);
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
            for step in 0..comptime!(split.tile / BAND) {
                let mut weights = Sequence::<Array<Pair<F>>>::new();
                #[unroll]
                for band in 0..split.bands {
                    let first = comptime!(band * split.scores() + 2 * step);
                    let right = comptime!(first + 1);
                    let operand = result_operand::<F>(scores.index(first), scores.index(right));
                    multiply::<F>(state.sums.index_mut(band), &operand, &ones);
                    weights.push(operand);
                }
                let row = at + comptime!(step * BAND);
                add_rows::<F>(&mut state.outputs, &weights, &values, row, split.bands);
            }
        }
        put::<F>(&next_keys, &mut keys, split.tile - at, split);
        put::<F>(&next_values, &mut values, split.tile - at, split);
        sync_cube();
    }
    finish::<F>(&state, &unit, output, log_sum_exp, split);
}

/// The sink is what a row has seen before its first key. One of minus infinity is no sink; a finite one
/// keeps `inf - inf` away.
#[cube]
fn begin(unit: &UnitRows, sinks: &[f32], #[comptime] split: MmaSplit) -> Softmax {
    let mut shifts = Array::<f32>::new(comptime!(2 * split.bands));
    let mut sums = results(split.bands);
    #[unroll]
    for i in 0..comptime!(2 * split.bands) {
        let sink = max(sinks[unit.rows.index(i).head] * LOG2_E, LOWEST);
        shifts[i] = whole(sink);
        let sum = sums.index_mut(comptime!(i / 2));
        sum[comptime!(i % 2)] = Wide::new(weight(sink, 1.0f32, shifts[i]));
    }
    Softmax {
        shifts,
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
    let mut before = Array::<f32>::new(comptime!(2 * split.bands));
    #[unroll]
    for row in 0..comptime!(2 * split.bands) {
        let shift = max(state.shifts[row], largest_power(scores, row, factor, split));
        before[row] = weight(state.shifts[row], 1.0f32, shift);
        state.shifts[row] = shift;
        let weights = Weights::new(factor, shift);
        #[unroll]
        for i in 0..comptime!(split.scores()) {
            let result = scores.index_mut(comptime!(row / 2 * split.scores() + i));
            let pair = result[comptime!(row % 2)];
            let mut powers = Wide::empty();
            powers.insert(0usize, weights.of(pair.extract(0usize)));
            powers.insert(1usize, weights.of(pair.extract(1usize)));
            result[comptime!(row % 2)] = powers;
        }
    }
    rescale(state, &before, split);
}

/// The largest score of a row of a tile as a power of two, whole.
#[cube]
fn largest_power(
    scores: &mut Sequence<Array<Wide>>,
    #[comptime] row: usize,
    factor: f32,
    #[comptime] split: MmaSplit,
) -> f32 {
    let mut largest = f32::MIN.runtime();
    #[unroll]
    for i in 0..comptime!(split.scores()) {
        let pair = scores.index(comptime!(row / 2 * split.scores() + i))[comptime!(row % 2)];
        largest = max(largest, max(pair.extract(0usize), pair.extract(1usize)));
    }
    largest = max(largest, plane_shuffle_xor(largest, 1u32));
    largest = max(largest, plane_shuffle_xor(largest, 2u32));
    whole(max(largest * factor, LOWEST))
}

/// Whole powers of two change seldom.
#[cube]
fn rescale(state: &mut Softmax, before: &Array<f32>, #[comptime] split: MmaSplit) {
    let mut smallest = before[0];
    #[unroll]
    for row in 1..comptime!(2 * split.bands) {
        smallest = min(smallest, before[row]);
    }
    if plane_any(smallest < 1.0f32) {
        #[unroll]
        for band in 0..split.bands {
            let result = state.sums.index_mut(band);
            result[0] *= Wide::new(before[comptime!(2 * band)]);
            result[1] *= Wide::new(before[comptime!(2 * band + 1)]);
        }
        #[unroll]
        for i in 0..comptime!(split.bands * VALUES) {
            let result = state.outputs.index_mut(i);
            result[0] *= Wide::new(before[comptime!(i / VALUES * 2)]);
            result[1] *= Wide::new(before[comptime!(i / VALUES * 2 + 1)]);
        }
    }
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
        let sum = state.sums.index(comptime!(row / 2))[comptime!(row % 2)].extract(0usize);
        if *unit.inside.index(row) {
            let index = unit.rows.index(row).index;
            let (band, half) = comptime!((row / 2, row % 2));
            store_band::<F>(output, &state.outputs, band, half, index, 1.0f32 / sum);
            if unit_column() == 0 {
                log_sum_exp[index] = fma(state.shifts[row], LN_2, ln(sum, false));
            }
        }
    }
}
