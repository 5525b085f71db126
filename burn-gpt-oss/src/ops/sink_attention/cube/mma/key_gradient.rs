//! Gradients of keys and values.

use core::f32::consts::LOG2_E;

use cubecl::prelude::*;

use super::super::exponential::{base_two, weight};
use super::super::geometry::Geometry;
use super::fragments::{
    Pair, Wide, add_rows, add_scores, result_operand, results, row_operands, store_band,
    unit_column, unit_row,
};
use super::keys::{hide, key_rows, plane_sight};
use super::sight::{document_pair, pair_of, range};
use super::tile::{Rows, Source, fetch, put, two_tiles};
use super::{BAND, DIM, MmaSplit, PLANE};

/// Gradients of the keys and values of a key head, a band for a plane (FlashAttention-2, Dao 2023,
/// algorithm 2). Scores are transposed: keys are rows, and queries the other side.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(in super::super) fn key_gradient_mma<F: Float>(
    query: &[Rows<F>],
    key: &[Pair<F>],
    value: &[Pair<F>],
    grad: &[Rows<F>],
    statistics: &[Wide],
    segments: &[i32],
    key_grad: &mut [Pair<F>],
    value_grad: &mut [Pair<F>],
    geometry: Geometry,
    #[comptime] split: MmaSplit,
    #[define(F)] _dtype: ElemType,
) {
    let geometry = geometry.of_group(split.group);
    let cube_start = CUBE_POS_X as usize * comptime!(split.rows());
    let plane_start = cube_start + UNIT_POS as usize / PLANE * BAND;
    let first = plane_start + unit_row();
    let last = geometry.keys - 1;
    let low = key_rows(segments, min(first, last), &geometry, split);
    let high = key_rows(segments, min(first + 8, last), &geometry, split);
    let sight = plane_sight(segments, plane_start, &geometry, split);
    let cube_last = min(cube_start + comptime!(split.rows()), geometry.keys) - 1;
    let start = key_rows(segments, cube_start, &geometry, split).start;
    let end = key_rows(segments, cube_last, &geometry, split).end;
    let own_keys = row_operands::<F>(key, low.index, high.index);
    let own_values = row_operands::<F>(value, low.index, high.index);
    let mut key_sums = results(comptime!(DIM / 8));
    let mut value_sums = results(comptime!(DIM / 8));
    let factor = geometry.scale * LOG2_E;

    let mut queries = two_tiles::<F>(split);
    let mut grads = two_tiles::<F>(split);
    let mut known = Shared::<[Wide]>::new_slice(comptime!(2 * split.tile));
    let mut pair = pair_of(0i32.runtime(), 0i32.runtime());
    if start < end {
        let next = fetch::<F>(query, start, end, &geometry, Source::Queries, split);
        put::<F>(&next, &mut queries, 0usize, split);
        let next = fetch::<F>(grad, start, end, &geometry, Source::Queries, split);
        put::<F>(&next, &mut grads, 0usize, split);
        let next = fetch_statistics(statistics, start, end, &geometry, split);
        put_statistics(next, &mut known, 0usize, split);
        pair = document_pair(segments, start, end, &geometry, split);
    }
    sync_cube();
    let n_tiles = (max(start, end) - start).div_ceil(split.tile);
    for i in 0..n_tiles {
        let tile = start + i * split.tile;
        let at = i % 2 * split.tile;
        // The last tile again behind the end.
        let next = tile + split.tile;
        let next_queries = fetch::<F>(query, next, end, &geometry, Source::Queries, split);
        let next_grads = fetch::<F>(grad, next, end, &geometry, Source::Queries, split);
        let next_known = fetch_statistics(statistics, next, end, &geometry, split);
        let seen = sight.judge(tile, range(pair, split), split);
        pair = document_pair(segments, next, end, &geometry, split);
        if seen.any {
            #[unroll]
            for step in 0..comptime!(split.tile / BAND) {
                let row = at + comptime!(step * BAND);
                let mut scores = results(2usize);
                let mut gradients = results(2usize);
                add_scores::<F>(&mut scores, 0usize, &own_keys, &queries, row);
                add_scores::<F>(&mut gradients, 0usize, &own_values, &grads, row);
                #[unroll]
                for i in 0..2usize {
                    let column = comptime!(step * BAND + 8 * i);
                    let scores = scores.index_mut(i);
                    if !seen.all {
                        let place = tile + column + 2 * unit_column();
                        hide(scores, &low, &high, segments, place, &geometry, split);
                    }
                    let at = at + column + 2 * unit_column();
                    weigh(
                        scores,
                        gradients.index_mut(i),
                        known[at],
                        known[at + 1],
                        factor,
                    );
                }
                let mut lefts = Sequence::<Array<Pair<F>>>::new();
                lefts.push(result_operand::<F>(
                    scores.index(0usize),
                    scores.index(1usize),
                ));
                add_rows::<F>(&mut value_sums, &lefts, &grads, row, 1usize);
                let mut lefts = Sequence::<Array<Pair<F>>>::new();
                lefts.push(result_operand::<F>(
                    gradients.index(0usize),
                    gradients.index(1usize),
                ));
                add_rows::<F>(&mut key_sums, &lefts, &queries, row, 1usize);
            }
        }
        put::<F>(&next_queries, &mut queries, split.tile - at, split);
        put::<F>(&next_grads, &mut grads, split.tile - at, split);
        put_statistics(next_known, &mut known, split.tile - at, split);
        sync_cube();
    }
    #[unroll]
    for half in 0..2usize {
        let row = if comptime!(half == 0) {
            low.index
        } else {
            high.index
        };
        if first + 8 * half < geometry.keys {
            store_band::<F>(key_grad, &key_sums, 0usize, half, row, geometry.scale);
            store_band::<F>(value_grad, &value_sums, 0usize, half, row, 1.0f32);
        }
    }
}

/// The statistics that a unit takes of a tile of rows, the last row again behind `end`.
#[cube]
fn fetch_statistics(
    statistics: &[Wide],
    start: usize,
    end: usize,
    geometry: &Geometry,
    #[comptime] split: MmaSplit,
) -> Wide {
    let own = start + UNIT_POS as usize % split.tile;
    base_two(statistics[geometry.query_index(min(own, end - 1))])
}

/// Puts them into shared memory.
#[cube]
fn put_statistics(known: Wide, to: &mut Shared<[Wide]>, at: usize, #[comptime] split: MmaSplit) {
    if (UNIT_POS as usize) < split.tile {
        to[at + UNIT_POS as usize] = known;
    }
}

/// Turns scores into weights, and gradients of weights into those of scores, for a result of two keys
/// and two queries, whose statistics `first` and `second` are.
#[cube]
fn weigh(
    scores: &mut Array<Wide>,
    gradients: &mut Array<Wide>,
    first: Wide,
    second: Wide,
    factor: f32,
) {
    #[unroll]
    for half in 0..2usize {
        let (score, gradient) = (scores[half], gradients[half]);
        let mut weights = Wide::empty();
        let mut score_grads = Wide::empty();
        #[unroll]
        for i in 0..2usize {
            let known = if comptime!(i == 0) { first } else { second };
            let weight = weight(score.extract(i), factor, known.extract(0usize));
            weights.insert(i, weight);
            score_grads.insert(i, weight * (gradient.extract(i) - known.extract(1usize)));
        }
        scores[half] = weights;
        gradients[half] = score_grads;
    }
}
