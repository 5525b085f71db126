//! Forward pass.

use core::f32::consts::{LN_2, LOG2_E};

use cubecl::prelude::*;

use super::super::geometry::Geometry;
use super::fragments::{
    Pair, add_rows, add_scores, multiply, ones, result_operand, results, row_operands, store_band,
    unit_column,
};
use super::queries::{UnitRows, cube_keys, hide, plane_sight, unit_rows};
use super::sight::{range, segment_pair};
use super::softmax::{Softmax, absorb, begin};
use super::tile::{Rows, Source, fetch, put, two_tiles};
use super::{BAND, MmaSplit};
use crate::ops::exponential::cube::ln;

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
    let mut pair = segment_pair(segments, start, end, &geometry, split);
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
        let seen = sight.judge(tile, range(pair, split), split);
        pair = segment_pair(segments, tile + split.tile, end, &geometry, split);
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
                log_sum_exp[index] = fma(state.shifts[row], LN_2, ln(sum));
            }
        }
    }
}
