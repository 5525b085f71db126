//! The largest magnitude of a block. NaN is ignored, infinity counts as the largest finite number.

use cubecl::prelude::*;

use super::float_words::{FloatWords, widen};
use super::format::{BlockScales, KernelFormat};
use super::rows::{RowSplit, block_max};
use super::soft_float::INFINITY;

impl BlockScales {
    /// Bits of a magnitude that gives a block the scale 1.
    const fn amax_of_one(self) -> u32 {
        match self {
            Self::Mx { .. } => 0x4080_0000,
            Self::Nv => 0,
        }
    }
}

/// Bits of the magnitude that the scale of a block follows from; this unit has `vectors` of it.
#[cube]
pub(crate) fn block_amax<N: Size>(
    vectors: &Sequence<Vector<u32, N>>,
    #[comptime] split: RowSplit,
    #[comptime] format: KernelFormat,
    #[comptime] floats: FloatWords,
) -> u32 {
    let mut amax = block_max(vectors_amax(vectors, false, floats), split);
    // Rare, so it may cost; a whole plane takes part in what planes exchange.
    let any = if comptime!(split.lanes == 1) {
        amax >= INFINITY
    } else {
        plane_any(amax >= INFINITY)
    };
    if any {
        let finite = block_max(vectors_amax(vectors, true, floats), split);
        amax = of_finite(finite, amax, format);
    }
    amax
}

/// Bits of the magnitude for the scale of a block with the largest finite magnitude `finite`, if
/// `amax` is its largest one. A block of zeros and NaN has scale 1.
#[cube]
fn of_finite(finite: u32, amax: u32, #[comptime] format: KernelFormat) -> u32 {
    let one = comptime!(format.scales.amax_of_one());
    select(finite == 0u32 && amax > INFINITY, one.runtime(), finite)
}

/// Bits of the largest finite magnitude in vectors of words.
#[cube]
pub(crate) fn finite_amax<N: Size>(
    vectors: &Sequence<Vector<u32, N>>,
    #[comptime] floats: FloatWords,
) -> u32 {
    let mut amax = vectors_amax(vectors, false, floats);
    if amax >= INFINITY {
        amax = vectors_amax(vectors, true, floats);
    }
    amax
}

#[cube]
fn vectors_amax<N: Size>(
    vectors: &Sequence<Vector<u32, N>>,
    #[comptime] only_finite: bool,
    #[comptime] floats: FloatWords,
) -> u32 {
    let mut amax = 0u32;
    #[unroll]
    for v in 0..comptime!(vectors.len()) {
        amax = max(amax, vector_amax(*vectors.index(v), only_finite, floats));
    }
    amax
}

/// [`block_amax`] of the block that is one column of vectors of words.
#[cube]
pub(crate) fn column_amax<N: Size>(
    vectors: &Sequence<Vector<u32, N>>,
    #[comptime] column: usize,
    #[comptime] format: KernelFormat,
    #[comptime] floats: FloatWords,
) -> u32 {
    let mut amax = words_amax(vectors, column, false, floats);
    if amax >= INFINITY {
        let finite = words_amax(vectors, column, true, floats);
        amax = of_finite(finite, amax, format);
    }
    amax
}

#[cube]
fn words_amax<N: Size>(
    vectors: &Sequence<Vector<u32, N>>,
    #[comptime] column: usize,
    #[comptime] only_finite: bool,
    #[comptime] floats: FloatWords,
) -> u32 {
    let word = comptime!(column / floats.per_word());
    let index = comptime!(column % floats.per_word());
    let mut amax = 0u32;
    #[unroll]
    for v in 0..comptime!(vectors.len()) {
        let vector = *vectors.index(v);
        amax = max(
            amax,
            magnitude(vector.extract(word), index, only_finite, floats),
        );
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

/// Bits of the magnitude of a float; if `only_finite`, zero instead of NaN and the largest number
/// instead of infinity.
#[cube]
fn magnitude(
    word: u32,
    #[comptime] index: usize,
    #[comptime] only_finite: bool,
    #[comptime] floats: FloatWords,
) -> u32 {
    let bits = widen(word, index, floats) & 0x7fff_ffffu32;
    if comptime!(only_finite) {
        select(bits > INFINITY, 0u32, min(bits, INFINITY - 1u32))
    } else {
        bits
    }
}
