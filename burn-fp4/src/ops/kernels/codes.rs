//! Packed codes as products read them.

use cubecl::prelude::*;
use half::f16;

use super::arithmetic::Arithmetic;

/// The byte at a position in words.
#[cube]
pub(crate) fn byte_of(word: u32, position: usize) -> u32 {
    (word >> (8u32 * (position % 4) as u32)) & 0xffu32
}

/// What the values of [`decode`] must be multiplied with.
pub(crate) const fn lift(arithmetic: Arithmetic) -> f32 {
    match arithmetic {
        Arithmetic::Float => 16384.0,
        Arithmetic::Integer => 1.0,
    }
}

/// The values of the eight codes of a word, lowest nibble first, but for a power of two: [`lift`].
///
/// A code has the bits of an `f16` in their order. Placed at the lower end of its exponent, two codes
/// at a time, they are a value `2^14` times too small, a subnormal number if that of the code is
/// (as in [`cubecl::post_processing`]). Where those are not safe, each code becomes an `f32`.
#[cube]
pub(crate) fn decode(word: u32, #[comptime] arithmetic: Arithmetic) -> Sequence<f32> {
    let mut values = Sequence::<f32>::new();
    match arithmetic {
        Arithmetic::Float => {
            let mut high = Sequence::<f32>::new();
            #[unroll]
            for j in 0..4usize {
                let codes = word >> comptime!(4 * j as u32);
                let bits = ((codes & 0x0007_0007u32) << 9u32) | ((codes & 0x0008_0008u32) << 12u32);
                let pair = Vector::<f16, Const<2>>::reinterpret(bits);
                values.push(f32::cast_from(pair.extract(0usize)));
                high.push(f32::cast_from(pair.extract(1usize)));
            }
            #[unroll]
            for j in 0..4usize {
                values.push(*high.index(j));
            }
        }
        Arithmetic::Integer =>
        {
            #[unroll]
            for j in 0..8usize {
                values.push(code_value(word >> comptime!(4 * j as u32)));
            }
        }
    }
    values
}

/// The value of the code in the low nibble.
#[cube]
pub(crate) fn code_value(code: u32) -> f32 {
    let half = 126u32 << 23u32;
    let magnitude = code & 7u32;
    let subnormal = select(magnitude == 1u32, half, 0u32);
    let bits = select(magnitude > 1u32, (magnitude << 22u32) + half, subnormal);
    f32::reinterpret(bits | ((code & 8u32) << 28u32))
}
