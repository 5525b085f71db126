//! Vector registers, and the instructions for them, as products of few rows need them.
//!
//! A *chunk* is what one register of codes holds: eight codes in each of its `L` lanes of 32 bits, so
//! `8 * L` elements.

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod avx2;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod avx512;
mod portable;

use half::bf16;

use super::packed_product::matrix::ScaleFormat;
use crate::simd::Kernel;

pub(super) use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub(super) use {avx2::Avx2, avx512::Avx512};

/// A register of `L` lanes of 32 bits, and the instructions for it. A value of such a type is the proof
/// that the processor has them.
///
/// All methods but [`run`](Self::run) must be inlined into a function that is compiled for these
/// instructions. Closures are not always: loops that call them do without.
pub(super) trait Lanes<const L: usize>: Copy {
    /// Outputs with registers enough to be computed together with four rows: one or two.
    const OUTPUTS: usize;
    /// `f32` lanes.
    type Floats: Copy;
    /// Bytes, which are also `u32` lanes.
    type Words: Copy;

    /// Runs a loop compiled for these instructions.
    fn run<K: Kernel>(self, kernel: K) -> K::Output;
    /// All lanes zero.
    fn zero(self) -> Self::Floats;
    /// All bytes zero.
    fn zero_words(self) -> Self::Words;
    /// A register from memory.
    fn load(self, values: &[f32; L]) -> Self::Floats;
    /// A register from memory.
    fn words(self, bytes: &[[u8; 4]; L]) -> Self::Words;
    /// A register from memory that is too short, filled up with zeros.
    fn part(self, bytes: &[u8]) -> Self::Words;
    /// A register from half as much memory.
    #[cfg_attr(not(feature = "flex"), allow(dead_code))]
    fn widen(self, values: &[bf16; L]) -> Self::Floats;
    /// Asks for the cache line `ahead` elements behind the first value, which is read once: caches beyond
    /// the first do without it.
    fn prefetch<T>(self, values: &[T], ahead: usize);
    /// The E2M1 values of the low nibbles of the lanes.
    fn values(self, codes: Self::Words) -> Self::Floats;
    /// The lanes shifted down to the next nibble.
    fn next(self, codes: Self::Words) -> Self::Words;
    /// What the scale bytes of a chunk, lowest first, mean for each lane. The E8M0 byte for NaN may give
    /// infinity.
    fn scales(self, format: ScaleFormat, bytes: u64) -> Self::Floats;
    /// `a * b`.
    fn multiply(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b + c`.
    fn multiply_add(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// `a + b`.
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// The sum of all lanes.
    fn sum(self, values: Self::Floats) -> f32;
}

/// Asks for the scale bytes that are as many rows ahead as the codes. They are too few for the processor to
/// notice that they follow each other.
#[inline(always)]
pub(super) fn prefetch_scales<G: Lanes<L>, const L: usize>(lanes: G, scales: &[u8], ahead: usize) {
    let ahead = ahead / 8;
    for line in 0..scales.len().div_ceil(64) {
        lanes.prefetch(scales, ahead + 64 * line);
    }
}

/// Scale bytes as one number, the first one lowest. At most eight.
#[inline(always)]
pub(super) fn scale_word(bytes: &[u8]) -> u64 {
    // Whole numbers from memory, which the instructions for registers take from there.
    if let Ok(bytes) = bytes.try_into() {
        return u64::from(u32::from_le_bytes(bytes));
    }
    if let Ok(bytes) = bytes.try_into() {
        return u64::from_le_bytes(bytes);
    }
    if let Ok(bytes) = bytes.try_into() {
        return u64::from(u16::from_le_bytes(bytes));
    }
    let bytes = bytes.iter().rev();
    bytes.fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// E2M1 values by code.
pub(super) const VALUES: [f32; 16] = crate::codec::e2m1::VALUES;
