//! Gradients of keys and of values.

use cubecl::prelude::*;

use super::super::exponential::exp;
use super::super::geometry::{Four, Geometry, KeyRow};
use super::RowSplit;
use super::vectors::{Elements, add, dot, load, share_queries, store, zeros};

/// Which gradient. Both at a time would be more than registers hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum Side {
    Key,
    Value,
}

/// A key, multiplied by the scale, and its value.
#[derive(CubeType)]
struct Known {
    key: Array<Four>,
    /// One vector that nothing reads for the gradient of the value.
    value: Array<Four>,
}

/// Gradients of the keys, or values, of a key head, a row per unit (FlashAttention-2, Dao 2023,
/// algorithm 2); `statistics` is that of `query_gradient_rows`.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(in super::super) fn key_gradient_rows<F: Float>(
    query: &[Elements<F>],
    key: &[Elements<F>],
    value: &[Elements<F>],
    grad: &[Elements<F>],
    statistics: &[Vector<f32, Const<2>>],
    segments: &[i32],
    output: &mut [Elements<F>],
    geometry: Geometry,
    #[comptime] side: Side,
    #[comptime] split: RowSplit,
    #[define(F)] _dtype: ElemType,
) {
    let first = CUBE_POS_X as usize * split.units;
    let own = first + UNIT_POS as usize;
    let row = geometry.key(segments, min(own, geometry.keys - 1), split.segmented);
    let value_vectors = comptime!(match side {
        Side::Key => split.vectors,
        Side::Value => 1,
    });
    let known = Known {
        key: load(key, row.index, geometry.scale, split.vectors),
        value: load(value, row.index, 1.0f32, value_vectors),
    };
    let mut sum = zeros(split.vectors);
    if comptime!(split.tile == 0) {
        for position in row.start..row.end {
            if seen(segments, &row, position, &geometry, split) {
                for head in 0..geometry.group {
                    let at = geometry.query_index(position * geometry.group + head);
                    let pair = statistics[at];
                    add_query(&mut sum, &known, query, grad, pair, at, side, split);
                }
            }
        }
    } else {
        let size = comptime!(split.tile * split.vectors);
        let mut queries = Shared::<[Elements<F>]>::new_slice(size);
        let mut grads = Shared::<[Elements<F>]>::new_slice(size);
        let start = geometry.key(segments, first, false).start * geometry.group;
        let last = min(first + split.units, geometry.keys) - 1;
        let end = geometry.key(segments, last, false).end * geometry.group;
        for tile in range_stepped(start, end, split.tile) {
            sync_cube();
            share_queries(query, &mut queries, tile, end, &geometry, split);
            share_queries(grad, &mut grads, tile, end, &geometry, split);
            sync_cube();
            let from = max(tile, row.start * geometry.group);
            let to = min(tile + split.tile, row.end * geometry.group);
            for place in from..to {
                if seen(segments, &row, place / geometry.group, &geometry, split) {
                    let pair = statistics[geometry.query_index(place)];
                    let at = place - tile;
                    add_query(&mut sum, &known, &queries, &grads, pair, at, side, split);
                }
            }
        }
    }
    if own < geometry.keys {
        let factor = match side {
            Side::Key => geometry.scale,
            Side::Value => 1.0f32.runtime(),
        };
        store(output, row.index, &sum, factor, split.vectors);
    }
}

/// Whether the document of a query is that of a key.
#[cube]
fn seen(
    segments: &[i32],
    row: &KeyRow,
    query: usize,
    geometry: &Geometry,
    #[comptime] split: RowSplit,
) -> bool {
    if comptime!(split.segmented) {
        geometry.document(segments, query, true) == row.segment
    } else {
        true.runtime()
    }
}

/// Adds what a query and its gradient, row `at` of both, give.
#[cube]
#[allow(clippy::too_many_arguments)]
fn add_query<F: Float>(
    sum: &mut Array<Four>,
    known: &Known,
    queries: &[Elements<F>],
    grads: &[Elements<F>],
    statistics: Vector<f32, Const<2>>,
    at: usize,
    #[comptime] side: Side,
    #[comptime] split: RowSplit,
) {
    let score = dot(&known.key, queries, at, split.vectors);
    let weight = exp(score - statistics.extract(0usize), split.native);
    match side {
        Side::Value => add(sum, weight, grads, at, split.vectors),
        Side::Key => {
            let weight_grad = dot(&known.value, grads, at, split.vectors);
            let factor = weight * (weight_grad - statistics.extract(1usize));
            add(sum, factor, queries, at, split.vectors);
        }
    }
}
