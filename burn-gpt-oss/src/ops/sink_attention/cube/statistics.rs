//! What the backward pass knows about rows beforehand, and the gradient of the sinks from it.

use cubecl::prelude::*;

use super::exponential::exp;
use super::geometry::Four;

/// How sums are divided among units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SumSplit {
    /// Terms of a sum, vectors of them for [`statistics`].
    pub terms: usize,
    /// Units that share a sum, neighbours of one plane; a power of two.
    pub lanes: usize,
    /// Units of a cube.
    pub units: usize,
    /// Whether to use the exponential of the runtime.
    pub native: bool,
}

/// The place of a unit in all cubes of the grid, which may have two axes.
#[cube]
fn place(#[comptime] split: SumSplit) -> usize {
    let cube = CUBE_POS_Y as usize * CUBE_COUNT_X as usize + CUBE_POS_X as usize;
    cube * split.units + UNIT_POS as usize
}

/// The logarithm of the sum, and the product of gradient and output, of every row.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn statistics<F: Float>(
    output: &[Vector<F, Const<4>>],
    grad: &[Vector<F, Const<4>>],
    log_sum_exp: &[f32],
    to: &mut [Vector<f32, Const<2>>],
    rows: usize,
    #[comptime] split: SumSplit,
    #[define(F)] _dtype: ElemType,
) {
    let unit = place(split);
    let (row, lane) = (unit / split.lanes, unit % split.lanes);
    // Those beyond the end do the last one again: all must take part in what units exchange.
    let first = min(row, rows - 1) * split.terms;
    let mut sum = Four::new(0.0f32);
    for i in range_stepped(lane, split.terms, split.lanes) {
        let value = Four::cast_from(output[first + i]);
        sum = fma(value, Four::cast_from(grad[first + i]), sum);
    }
    let sum =
        sum.extract(0usize) + sum.extract(1usize) + (sum.extract(2usize) + sum.extract(3usize));
    let delta = sum_of_lanes(sum, split);
    if lane == 0 && row < rows {
        let mut pair = Vector::<f32, Const<2>>::empty();
        pair.insert(0usize, log_sum_exp[row]);
        pair.insert(1usize, delta);
        to[row] = pair;
    }
}

/// Gradients of the sinks from `split.terms` queries each, `[cubes of queries, heads]`. A sink has a
/// weight but no value, so all its gradient comes from the sum of weights.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn sink_parts(
    statistics: &[Vector<f32, Const<2>>],
    sinks: &[f32],
    to: &mut [f32],
    queries: usize,
    heads: usize,
    #[comptime] split: SumSplit,
) {
    let unit = place(split);
    let (part, head) = (unit / heads, unit % heads);
    let first = part * split.terms;
    if first < queries {
        let sink = max(sinks[head], f32::MIN);
        let mut sum = 0.0f32;
        for query in first..min(first + split.terms, queries) {
            let pair = statistics[query * heads + head];
            let weight = exp(sink - pair.extract(0usize), split.native);
            sum = fma(weight, -pair.extract(1usize), sum);
        }
        to[unit] = sum;
    }
}

/// Sums over parts, `[parts, heads]` to `[heads]`.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn sink_sums(
    from: &[f32],
    to: &mut [f32],
    parts: usize,
    heads: usize,
    #[comptime] split: SumSplit,
) {
    let unit = place(split);
    let (head, lane) = (unit / split.lanes, unit % split.lanes);
    let own = min(head, heads - 1);
    let mut sum = 0.0f32;
    for part in range_stepped(lane, parts, split.lanes) {
        sum += from[part * heads + own];
    }
    let sum = sum_of_lanes(sum, split);
    if lane == 0 && head < heads {
        to[head] = sum;
    }
}

#[cube]
fn sum_of_lanes(value: f32, #[comptime] split: SumSplit) -> f32 {
    let mut sum = value;
    #[unroll]
    for step in 0..comptime!(split.lanes.ilog2()) {
        sum += plane_shuffle_xor(sum, comptime!(1u32 << step));
    }
    sum
}
