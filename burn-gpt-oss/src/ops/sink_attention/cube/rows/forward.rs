//! Forward pass.

use cubecl::prelude::*;

use super::super::exponential::exp;
use super::super::geometry::{Four, Geometry, QueryRow};
use super::RowSplit;
use super::vectors::{Elements, add, dot, load, share_keys, store, zeros};
use crate::ops::exponential::cube::ln;

/// The running softmax of a row (Milakov and Gimelshein 2018, algorithm 3).
#[derive(CubeType)]
struct Softmax {
    /// Largest score so far.
    maximum: f32,
    /// Sum of weights relative to it.
    sum: f32,
    /// Sum of weighted values.
    output: Array<Four>,
}

/// Outputs and logarithms of sums for the queries of a key head, a row per unit.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(in super::super) fn attend_rows<F: Float>(
    query: &[Elements<F>],
    key: &[Elements<F>],
    value: &[Elements<F>],
    sinks: &[f32],
    segments: &[i32],
    output: &mut [Elements<F>],
    log_sum_exp: &mut [f32],
    geometry: Geometry,
    #[comptime] split: RowSplit,
    #[define(F)] _dtype: ElemType,
) {
    let rows = geometry.len * geometry.group;
    let first = CUBE_POS_X as usize * split.units;
    let own = first + UNIT_POS as usize;
    let row = geometry.query(segments, min(own, rows - 1), split.segmented);
    let scaled = load(query, row.index, geometry.scale, split.vectors);
    // The sink is what a row has seen before its first key. One of minus infinity is no sink; a
    // finite one keeps `inf - inf` away.
    let mut state = Softmax {
        maximum: max(sinks[row.head], f32::MIN),
        sum: 1.0f32,
        output: zeros(split.vectors),
    };
    if comptime!(split.tile == 0) {
        for position in row.start..row.end {
            let at = geometry.key_index(position);
            if sees(segments, &row, position, &geometry, split) {
                absorb(&mut state, &scaled, key, value, at, split);
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
                    absorb(&mut state, &scaled, &keys, &values, position - tile, split);
                }
            }
        }
    }
    if own < rows {
        store(
            output,
            row.index,
            &state.output,
            1.0f32 / state.sum,
            split.vectors,
        );
        log_sum_exp[row.index] = state.maximum + ln(state.sum);
    }
}

/// Whether the document of a query is that of a key.
#[cube]
pub(super) fn sees(
    segments: &[i32],
    row: &QueryRow,
    position: usize,
    geometry: &Geometry,
    #[comptime] split: RowSplit,
) -> bool {
    if comptime!(split.segmented) {
        geometry.segment(segments, position, true) == row.document
    } else {
        true.runtime()
    }
}

/// Adds a key and its value, row `at` of both.
#[cube]
fn absorb<F: Float>(
    state: &mut Softmax,
    query: &Array<Four>,
    keys: &[Elements<F>],
    values: &[Elements<F>],
    at: usize,
    #[comptime] split: RowSplit,
) {
    let score = dot(query, keys, at, split.vectors);
    if score > state.maximum {
        let before = exp(state.maximum - score, split.native);
        state.maximum = score;
        state.sum *= before;
        #[unroll]
        for i in 0..split.vectors {
            state.output[i] *= Four::new(before);
        }
    }
    let weight = exp(score - state.maximum, split.native);
    state.sum += weight;
    add(&mut state.output, weight, values, at, split.vectors);
}
