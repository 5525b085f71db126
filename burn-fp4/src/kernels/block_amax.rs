//! The largest finite magnitude of a block.

use cubecl::prelude::*;

use super::float_words::{FloatWords, widen};
use super::soft_float::INFINITY;

/// Bits of the largest finite magnitude in vectors of words.
#[cube]
pub(crate) fn finite_amax<N: Size>(
    vectors: &Sequence<Vector<u32, N>>,
    #[comptime] floats: FloatWords,
) -> u32 {
    let mut amax = 0u32;
    #[unroll]
    for v in 0..comptime!(vectors.len()) {
        amax = max(amax, vector_amax(*vectors.index(v), false, floats));
    }
    // Rare, so it may cost.
    if amax >= INFINITY {
        amax = 0u32;
        #[unroll]
        for v in 0..comptime!(vectors.len()) {
            amax = max(amax, vector_amax(*vectors.index(v), true, floats));
        }
    }
    amax
}

/// Bits of the largest finite magnitude in one column of vectors of words.
#[cube]
pub(crate) fn finite_column_amax<N: Size>(
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
    if amax >= INFINITY {
        amax = 0u32;
        #[unroll]
        for v in 0..comptime!(vectors.len()) {
            let vector = *vectors.index(v);
            amax = max(amax, magnitude(vector.extract(word), index, true, floats));
        }
    }
    amax
}

#[cube]
fn vector_amax<N: Size>(
    vector: Vector<u32, N>,
    #[comptime] only_finite: bool,
    #[comptime] floats: FloatWords,
) -> u32 {
    let mut amax = 0u32;
    #[unroll]
    for w in 0..N::value() {
        #[unroll]
        for i in 0..comptime!(floats.per_word()) {
            amax = max(amax, magnitude(vector.extract(w), i, only_finite, floats));
        }
    }
    amax
}

/// Bits of the magnitude of a float, zero instead of one that is not finite if `only_finite`.
#[cube]
fn magnitude(
    word: u32,
    #[comptime] index: usize,
    #[comptime] only_finite: bool,
    #[comptime] floats: FloatWords,
) -> u32 {
    let bits = widen(word, index, floats) & 0x7fff_ffffu32;
    if comptime!(only_finite) {
        select(bits < INFINITY, bits, 0u32)
    } else {
        bits
    }
}
