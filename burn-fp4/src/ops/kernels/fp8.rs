//! FP8 fake quantization: E4M3 with one scale for a whole tensor, see
//! [`fp8_fake_quantize_slice`](crate::fp8_fake_quantize_slice).

use cubecl::prelude::*;

use super::arithmetic::Arithmetic;
use super::e4m3::{E4m3, LARGEST};
use super::float_words::{FloatWords, join, narrow, widen};
use super::soft_float::{INFINITY, divide, multiply};

/// Bits of `2^-24`; magnitudes up to this one count as 1.
const SMALLEST_AMAX: u32 = 0x3380_0000;
/// Bits of 1.
const ONE: u32 = 0x3f80_0000;

/// Rounds every float of a tensor in rows of `width` vectors, `pitch` apart.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(crate) fn fp8_fake_quantize<N: Size>(
    input: &[Vector<u32, N>],
    amax: &[u32],
    output: &mut [Vector<u32, N>],
    n_vectors: usize,
    width: usize,
    pitch: usize,
    #[comptime] arithmetic: Arithmetic,
    #[comptime] floats: FloatWords,
) {
    if ABSOLUTE_POS >= n_vectors {
        terminate!();
    }
    let position = ABSOLUTE_POS / width * pitch + ABSOLUTE_POS % width;
    let amax = select(amax[0] <= SMALLEST_AMAX, ONE, amax[0]);
    let scale = quotient(LARGEST, amax, arithmetic);
    let inverse = quotient(ONE, scale, arithmetic);
    let vector = input[position];
    let mut out = Vector::<u32, N>::empty();
    #[unroll]
    for w in 0..N::value() {
        let word = vector.extract(w);
        let low = round(word, 0usize, scale, inverse, arithmetic, floats);
        let rounded = if comptime!(floats.per_word() == 1) {
            low
        } else {
            join(low, round(word, 1usize, scale, inverse, arithmetic, floats))
        };
        out.insert(w, rounded);
    }
    output[position] = out;
}

#[cube]
fn round(
    word: u32,
    #[comptime] index: usize,
    scale: u32,
    inverse: u32,
    #[comptime] arithmetic: Arithmetic,
    #[comptime] floats: FloatWords,
) -> u32 {
    let bits = widen(word, index, floats);
    let magnitude = bits & 0x7fff_ffffu32;
    let finite = min(magnitude, INFINITY - 1u32);
    let rounded = E4m3::of(product(finite, scale, arithmetic), arithmetic).magnitude;
    // Infinity saturates.
    let rounded = select(magnitude == INFINITY, LARGEST, rounded);
    let value = product(rounded, inverse, arithmetic);
    let value = select(magnitude > INFINITY, magnitude, value);
    narrow(value | (bits & 0x8000_0000u32), false, floats)
}

#[cube]
fn product(a: u32, b: u32, #[comptime] arithmetic: Arithmetic) -> u32 {
    match arithmetic {
        Arithmetic::Float => u32::reinterpret(f32::reinterpret(a) * f32::reinterpret(b)),
        Arithmetic::Integer => multiply(a, b),
    }
}

#[cube]
fn quotient(a: u32, b: u32, #[comptime] arithmetic: Arithmetic) -> u32 {
    match arithmetic {
        Arithmetic::Float => u32::reinterpret(f32::reinterpret(a) / f32::reinterpret(b)),
        Arithmetic::Integer => divide(a, b),
    }
}
