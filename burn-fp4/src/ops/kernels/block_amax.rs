//! The largest magnitude of a block, and what stands for one that is not finite.
//!
//! As in [`crate::codec::block_scales`], NaN does not take part, infinity counts as the largest `f32`, and a
//! block left without a magnitude has scale 1. A magnitude is kept as twice its bits, plus one if
//! there is a NaN: the maximum of such numbers is the one of the block, and 1 the block left without.

use cubecl::prelude::*;

use super::float_words::{FloatWords, widen};
use super::soft_float::INFINITY;

/// What [`block_amax`] gives for NaN and zeros.
pub(crate) const ONLY_NAN: u32 = 1;

/// The largest magnitude in vectors of words, as twice its bits; see the module.
#[cube]
pub(crate) fn block_amax<N: Size>(
    vectors: &Sequence<Vector<u32, N>>,
    #[comptime] floats: FloatWords,
) -> u32 {
    let mut amax = largest(vectors, false, floats);
    // Rare, so it may cost.
    if amax >= comptime!(INFINITY << 1) {
        amax = largest(vectors, true, floats);
    }
    amax
}

/// The largest magnitude in one column of vectors of words, as twice its bits; see the module.
#[cube]
pub(crate) fn column_amax<N: Size>(
    vectors: &Sequence<Vector<u32, N>>,
    #[comptime] column: usize,
    #[comptime] floats: FloatWords,
) -> u32 {
    let word = comptime!(column / floats.per_word());
    let index = comptime!(column % floats.per_word());
    let mut amax = 0u32;
    #[unroll]
    for v in 0..comptime!(vectors.len()) {
        let vector = *vectors.index(v);
        amax = max(amax, magnitude(vector.extract(word), index, false, floats));
    }
    if amax >= comptime!(INFINITY << 1) {
        amax = 0u32;
        #[unroll]
        for v in 0..comptime!(vectors.len()) {
            let vector = *vectors.index(v);
            let word = vector.extract(word);
            amax = max(amax, magnitude(word, index, true, floats));
        }
    }
    amax
}

#[cube]
fn largest<N: Size>(
    vectors: &Sequence<Vector<u32, N>>,
    #[comptime] saturates: bool,
    #[comptime] floats: FloatWords,
) -> u32 {
    let mut amax = 0u32;
    #[unroll]
    for v in 0..comptime!(vectors.len()) {
        let vector = *vectors.index(v);
        #[unroll]
        for w in 0..N::value() {
            #[unroll]
            for i in 0..comptime!(floats.per_word()) {
                amax = max(amax, magnitude(vector.extract(w), i, saturates, floats));
            }
        }
    }
    amax
}

/// Twice the bits of the magnitude of a float, which the sign is shifted out of. What is not finite
/// stays larger than all others unless it `saturates`, as the module says.
#[cube]
fn magnitude(
    word: u32,
    #[comptime] index: usize,
    #[comptime] saturates: bool,
    #[comptime] floats: FloatWords,
) -> u32 {
    let bits = widen(word, index, floats) << 1u32;
    if comptime!(saturates) {
        let finite = min(bits, comptime!((INFINITY << 1) - 2));
        select(bits > comptime!(INFINITY << 1), ONLY_NAN, finite)
    } else {
        bits
    }
}
