//! Gradient of the queries.

use cubecl::prelude::*;

use super::super::exponential::exp;
use super::super::geometry::{Four, Geometry};
use super::RowSplit;
use super::forward::sees;
use super::vectors::{Elements, add, dot, load, share_keys, store, zeros};

/// A row of queries, and what is known about it.
#[derive(CubeType)]
struct Known {
    /// Multiplied by the scale.
    query: Array<Four>,
    /// Gradient of the output.
    grad: Array<Four>,
    log_sum_exp: f32,
    delta: f32,
}

/// Gradients of the queries of a key head, a row per unit (FlashAttention-2, Dao 2023, algorithm 2).
///
/// `statistics` has the logarithm of the sum and the product of gradient and output of every row.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(in super::super) fn query_gradient_rows<F: Float>(
    query: &[Elements<F>],
    key: &[Elements<F>],
    value: &[Elements<F>],
    grad: &[Elements<F>],
    statistics: &[Vector<f32, Const<2>>],
    segments: &[i32],
    query_grad: &mut [Elements<F>],
    geometry: Geometry,
    #[comptime] split: RowSplit,
    #[define(F)] _dtype: ElemType,
) {
    let rows = geometry.len * geometry.group;
    let first = CUBE_POS_X as usize * split.units;
    let own = first + UNIT_POS as usize;
    let row = geometry.query(segments, min(own, rows - 1), split.segmented);
    let pair = statistics[row.index];
    let known = Known {
        query: load(query, row.index, geometry.scale, split.vectors),
        grad: load(grad, row.index, 1.0f32, split.vectors),
        log_sum_exp: pair.extract(0usize),
        delta: pair.extract(1usize),
    };
    let mut sum = zeros(split.vectors);
    if comptime!(split.tile == 0) {
        for position in row.start..row.end {
            let at = geometry.key_index(position);
            if sees(segments, &row, position, &geometry, split) {
                add_key(&mut sum, &known, key, value, at, split);
            }
        }
    } else {
        let size = comptime!(split.tile * split.vectors);
        let mut keys = Shared::<[Elements<F>]>::new_slice(size);
        let mut values = Shared::<[Elements<F>]>::new_slice(size);
        let start = geometry.query(segments, first, false).start;
        let last = min(first + split.units, rows) - 1;
        let end = geometry.query(segments, last, false).end;
        for tile in range_stepped(start, end, split.tile) {
            sync_cube();
            share_keys(key, &mut keys, tile, end, &geometry, split);
            share_keys(value, &mut values, tile, end, &geometry, split);
            sync_cube();
            for position in max(tile, row.start)..min(tile + split.tile, row.end) {
                if sees(segments, &row, position, &geometry, split) {
                    add_key(&mut sum, &known, &keys, &values, position - tile, split);
                }
            }
        }
    }
    if own < rows {
        store(query_grad, row.index, &sum, geometry.scale, split.vectors);
    }
}

/// Adds what a key and its value, row `at` of both, give.
#[cube]
fn add_key<F: Float>(
    sum: &mut Array<Four>,
    known: &Known,
    keys: &[Elements<F>],
    values: &[Elements<F>],
    at: usize,
    #[comptime] split: RowSplit,
) {
    let score = dot(&known.query, keys, at, split.vectors);
    let weight = exp(score - known.log_sum_exp, split.native);
    let weight_grad = dot(&known.grad, values, at, split.vectors);
    add(
        sum,
        weight * (weight_grad - known.delta),
        keys,
        at,
        split.vectors,
    );
}
