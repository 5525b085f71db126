//! The running softmax of the rows of a unit (Milakov and Gimelshein 2018, algorithm 3).

use core::f32::consts::LOG2_E;

use cubecl::prelude::*;

use super::super::exponential::{Weights, weight, whole};
use super::fragments::{Wide, results};
use super::queries::UnitRows;
use super::{DIM, MmaSplit};

/// Results of 16 x 8 in a row of values.
const VALUES: usize = DIM / 8;

/// The smallest power of two that a row may begin with. Weights of hidden keys are zero down to here,
/// and those of a sink that is not there up from here.
const LOWEST: f32 = -8_000.0;

/// The running softmax of the rows of a unit, two for every band.
#[derive(CubeType)]
pub(super) struct Softmax {
    /// Largest score so far as a power of two, whole.
    pub shifts: Array<f32>,
    /// Sums of weights so far, of all keys in every column: products with ones, of weights as they are
    /// multiplied with values.
    pub sums: Sequence<Array<Wide>>,
    /// Sums of weighted values so far.
    pub outputs: Sequence<Array<Wide>>,
}

/// The sink is what a row has seen before its first key. One of minus infinity is no sink; a finite one
/// keeps `inf - inf` away.
#[cube]
pub(super) fn begin(unit: &UnitRows, sinks: &[f32], #[comptime] split: MmaSplit) -> Softmax {
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
pub(super) fn absorb(
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
