//! Gradient of the queries.

use core::f32::consts::LOG2_E;

use cubecl::prelude::*;

use super::super::exponential::{base_two, weight};
use super::super::geometry::Geometry;
use super::fragments::{
    Pair, Wide, add_rows, add_scores, result_operand, results, row_operands, store_band,
};
use super::queries::{cube_keys, hide, plane_sight, unit_rows};
use super::sight::{range, segment_pair};
use super::tile::{Rows, Source, fetch, put, two_tiles};
use super::{BAND, DIM, MmaSplit};

/// Gradients of the queries of a key head, a band for a plane (FlashAttention-2, Dao 2023,
/// algorithm 2).
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(in super::super) fn query_gradient_mma<F: Float>(
    query: &[Pair<F>],
    key: &[Rows<F>],
    value: &[Rows<F>],
    grad: &[Pair<F>],
    statistics: &[Wide],
    segments: &[i32],
    query_grad: &mut [Pair<F>],
    geometry: Geometry,
    #[comptime] split: MmaSplit,
    #[define(F)] _dtype: ElemType,
) {
    let geometry = geometry.of_group(split.group);
    let unit = unit_rows(segments, &geometry, split);
    let sight = plane_sight(segments, &geometry, split);
    let (start, end) = cube_keys(segments, &geometry, split);
    let (low, high) = (unit.rows.index(0usize), unit.rows.index(1usize));
    let queries = row_operands::<F>(query, low.index, high.index);
    let grads = row_operands::<F>(grad, low.index, high.index);
    let (of_low, of_high) = (
        base_two(statistics[low.index]),
        base_two(statistics[high.index]),
    );
    let mut sums = results(comptime!(DIM / 8));
    let factor = geometry.scale * LOG2_E;

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
            #[unroll]
            for step in 0..comptime!(split.tile / BAND) {
                let row = at + comptime!(step * BAND);
                let mut scores = results(2usize);
                let mut gradients = results(2usize);
                add_scores::<F>(&mut scores, 0usize, &queries, &keys, row);
                add_scores::<F>(&mut gradients, 0usize, &grads, &values, row);
                if !seen.all {
                    #[unroll]
                    for i in 0..2usize {
                        let place = tile + comptime!(step * BAND + 8 * i);
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
                #[unroll]
                for i in 0..2usize {
                    let scores = scores.index(i);
                    let gradients = gradients.index_mut(i);
                    gradients[0] = score_gradient(scores[0], gradients[0], of_low, factor);
                    gradients[1] = score_gradient(scores[1], gradients[1], of_high, factor);
                }
                let mut lefts = Sequence::<Array<Pair<F>>>::new();
                lefts.push(result_operand::<F>(
                    gradients.index(0usize),
                    gradients.index(1usize),
                ));
                add_rows::<F>(&mut sums, &lefts, &keys, row, 1usize);
            }
        }
        put::<F>(&next_keys, &mut keys, split.tile - at, split);
        put::<F>(&next_values, &mut values, split.tile - at, split);
        sync_cube();
    }
    #[unroll]
    for half in 0..2usize {
        if *unit.inside.index(half) {
            let row = unit.rows.index(half).index;
            store_band::<F>(query_grad, &sums, 0usize, half, row, geometry.scale);
        }
    }
}

/// The gradients of two scores of a row from those of their weights.
#[cube]
fn score_gradient(scores: Wide, gradients: Wide, statistics: Wide, factor: f32) -> Wide {
    let mut weights = Wide::empty();
    #[unroll]
    for i in 0..2usize {
        weights.insert(
            i,
            weight(scores.extract(i), factor, statistics.extract(0usize)),
        );
    }
    weights * (gradients - Wide::new(statistics.extract(1usize)))
}
