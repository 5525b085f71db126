//! Values of packed FP4 matrices.

use burn_fp4::Fp4Scheme;
use cubecl::prelude::*;

/// Codes in a word, the first in the lowest bits.
pub(crate) const CODES_PER_WORD: usize = 8;

/// The packed format of a right factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PackedFormat {
    /// Scales are E4M3, relative to a global scale, instead of E8M0.
    pub e4m3: bool,
    pub block_size: usize,
}

impl PackedFormat {
    pub fn of(scheme: &Fp4Scheme) -> Self {
        Self {
            e4m3: matches!(scheme, Fp4Scheme::Nvfp4 { .. }),
            block_size: scheme.block_size(),
        }
    }
}

/// The byte at a position in words.
#[cube]
pub(crate) fn byte_of(word: u32, position: usize) -> u32 {
    (word >> (8u32 * (position % 4) as u32)) & 0xffu32
}

/// What a scale byte stands for; any byte is allowed.
#[cube]
pub(crate) fn block_factor(byte: u32, #[comptime] format: PackedFormat) -> f32 {
    if comptime!(format.e4m3) {
        let mantissa = byte & 7u32;
        let exponent = (byte >> 3u32) & 15u32;
        // Exponents are biased by 7 instead of 127; below 2^-6 steps are 2^-9.
        let normal =
            f32::reinterpret((exponent << 23u32) + (120u32 << 23u32) + (mantissa << 20u32));
        let subnormal = f32::cast_from(mantissa) * 0.001953125f32;
        let magnitude = select(exponent == 0u32, subnormal, normal);
        let sign = (byte & 0x80u32) << 24u32;
        let bits = u32::reinterpret(magnitude) | sign;
        f32::reinterpret(select(byte & 0x7fu32 == 0x7fu32, 0x7fc0_0000u32, bits))
    } else {
        // 2^-127 is subnormal, and 255 means NaN.
        let power = select(byte == 0u32, 0x0040_0000u32, byte << 23u32);
        f32::reinterpret(select(byte == 255u32, 0x7fc0_0000u32, power))
    }
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

/// The eight values of a word of codes times the factor of their block, which is exact in `bf16`: a value
/// has six significant bits at most.
#[cube]
pub(crate) fn decode_bf16<F: Float>(word: u32, factor: f32) -> Vector<u32, Const<4>> {
    let factor = Vector::<F, Const<2>>::new(F::cast_from(factor));
    // The three bits of a magnitude are those of a `bf16` with a tiny exponent, also where both are
    // subnormal; 2^126 brings them to their value.
    let lift = Vector::<F, Const<2>>::new(F::cast_from(f32::reinterpret(0x7e80_0000u32.runtime())));
    let mut values = Vector::<u32, Const<4>>::empty();
    #[unroll]
    for pair in 0..4usize {
        let codes = word >> comptime!(8 * pair as u32);
        let spread = (codes & 0xfu32) | ((codes & 0xf0u32) << 12u32);
        let bits = ((spread & 0x0007_0007u32) << 6u32) | ((spread & 0x0008_0008u32) << 12u32);
        let two = Vector::<F, Const<2>>::reinterpret(bits) * lift * factor;
        values.insert(pair, u32::reinterpret(two));
    }
    values
}
