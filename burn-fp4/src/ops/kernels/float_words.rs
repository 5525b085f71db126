//! Float tensors as kernels see them: buffers of 32-bit words.
//!
//! No runtime needs the type itself, and a conversion cannot flush a subnormal number.

use burn::tensor::DType;
use cubecl::prelude::*;

use super::soft_float::INFINITY;

/// The type of the floats in the words of a buffer, the lower half of a word first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FloatWords {
    F32,
    BF16,
    F16,
}

impl FloatWords {
    /// The type for a dtype, if it is one of the three.
    pub fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::F32 => Some(Self::F32),
            DType::BF16 => Some(Self::BF16),
            DType::F16 => Some(Self::F16),
            _ => None,
        }
    }

    /// Floats in a word.
    pub const fn per_word(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::BF16 | Self::F16 => 2,
        }
    }
}

/// Bits of the `f32` equal to float `index` of a word.
#[cube]
pub(crate) fn widen(word: u32, #[comptime] index: usize, #[comptime] floats: FloatWords) -> u32 {
    match floats {
        FloatWords::F32 => word,
        FloatWords::BF16 => {
            if comptime!(index == 0) {
                word << 16u32
            } else {
                word & 0xffff_0000u32
            }
        }
        FloatWords::F16 => {
            if comptime!(index == 0) {
                widen_f16(word & 0xffffu32)
            } else {
                widen_f16(word >> 16u32)
            }
        }
    }
}

#[cube]
fn widen_f16(half: u32) -> u32 {
    let magnitude = half & 0x7fffu32;
    let sign = (half & 0x8000u32) << 16u32;
    // The exponent is biased by 15 instead of 127; that of infinity and NaN becomes 255.
    let rebias = select(magnitude >= 0x7c00u32, 224u32 << 23u32, 112u32 << 23u32);
    let normal = (magnitude << 13u32) + rebias;
    // A subnormal number is a count of 2^-24.
    let up = u32::leading_zeros(magnitude | 1u32) - 8u32;
    let subnormal = ((125u32 - up) << 23u32) + (magnitude << up);
    let subnormal = select(magnitude == 0u32, 0u32, subnormal);
    sign | select(magnitude < 0x400u32, subnormal, normal)
}

/// The low bits of the float nearest to an `f32`, ties to even, from its bits; `exact` if the low half
/// of the `f32` is zero, or it is NaN.
#[cube]
pub(crate) fn narrow(bits: u32, #[comptime] exact: bool, #[comptime] floats: FloatWords) -> u32 {
    match floats {
        FloatWords::F32 => bits,
        FloatWords::BF16 => {
            if comptime!(exact) {
                bits >> 16u32
            } else {
                (bits + 0x7fffu32 + ((bits >> 16u32) & 1u32)) >> 16u32
            }
        }
        FloatWords::F16 => narrow_f16(bits),
    }
}

#[cube]
fn narrow_f16(bits: u32) -> u32 {
    let sign = (bits >> 16u32) & 0x8000u32;
    let magnitude = bits & 0x7fff_ffffu32;
    let exponent = magnitude >> 23u32;
    // Half of the last place that stays, less one for ties to even, carries upwards.
    let rebiased = magnitude - (112u32 << 23u32);
    let normal = (rebiased + 0xfffu32 + ((rebiased >> 13u32) & 1u32)) >> 13u32;
    // Below 2^-14 the last place is 2^-24: the significand, an integer of that many places.
    let shift = min(126u32 - min(exponent, 113u32), 31u32);
    let significand = (magnitude & 0x7f_ffffu32) | 0x80_0000u32;
    let kept = significand >> shift;
    let dropped = significand - (kept << shift);
    let half = 1u32 << (shift - 1u32);
    let up = dropped > half || (dropped == half && kept & 1u32 == 1u32);
    let subnormal = kept + u32::cast_from(up);
    let finite = select(exponent < 113u32, subnormal, min(normal, 0x7c00u32));
    // NaN stays quiet and keeps what fits of its payload.
    let nan = 0x7e00u32 | ((magnitude >> 13u32) & 0x1ffu32);
    sign | select(magnitude > INFINITY, nan, finite)
}

/// A word of the low bits of its floats.
#[cube]
pub(crate) fn join(low: u32, high: u32) -> u32 {
    low | (high << 16u32)
}
