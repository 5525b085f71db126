//! Block scales: from the largest magnitude to the byte, from the byte to the factor.

use cubecl::prelude::*;

use super::arithmetic::Arithmetic;
use super::block_amax::ONLY_NAN;
use super::format::{BlockScales, KernelFormat};
use super::soft_float::{MIN_NORMAL, divide, multiply};

/// Bits of 6, the largest magnitude of E2M1.
const SIX: u32 = 0x40c0_0000;
/// Bits of `2^-6`, the smallest normal number of E4M3.
const E4M3_MIN_NORMAL: u32 = 0x3c80_0000;
/// Bits of `2^-9`, its smallest number.
const E4M3_MIN_POSITIVE: u32 = 0x3b00_0000;
/// Code of 448, its largest.
const E4M3_MAX: u32 = 0x7e;
/// Code of 1.
const E4M3_ONE: u32 = 0x38;
/// Byte of 1 in E8M0.
const E8M0_ONE: u32 = 127;

/// Byte of the scale of a block with the largest magnitude `amax`, as
/// [`block_amax`](super::block_amax::block_amax) gives it; the global scale is bits of a finite number.
#[cube]
pub(crate) fn scale_byte(amax: u32, global_scale: u32, #[comptime] format: KernelFormat) -> u32 {
    let bits = amax >> 1u32;
    match format.scales {
        BlockScales::Mx { bias } => {
            let byte = max((bits + bias) >> 23u32, 2u32) - 2u32;
            select(amax == ONLY_NAN, E8M0_ONE, byte)
        }
        // A block of zeros has scale 1, too.
        BlockScales::Nv => e4m3_byte(bits, global_scale, format.arithmetic),
    }
}

#[cube]
fn e4m3_byte(amax: u32, global_scale: u32, #[comptime] arithmetic: Arithmetic) -> u32 {
    let ratio = match arithmetic {
        Arithmetic::Float => {
            let six = 6.0f32 * f32::reinterpret(global_scale);
            u32::reinterpret(f32::reinterpret(amax) / six)
        }
        Arithmetic::Integer => {
            let six = multiply(SIX, global_scale);
            // A quotient by zero is infinite.
            select(six == 0u32, 0x7f80_0000u32, divide(amax, max(six, 1u32)))
        }
    };
    let code = e4m3_code(max(ratio, E4M3_MIN_POSITIVE));
    select(amax == 0u32, E4M3_ONE, code)
}

/// Code of the E4M3 value nearest to a magnitude, ties to the even code, saturating.
#[cube]
pub(crate) fn e4m3_code(bits: u32) -> u32 {
    // The exponent is biased by 7 instead of 127.
    let rounded = min(bits, 0x7f00_0000u32) + 0x7_ffffu32 + ((bits >> 20u32) & 1u32);
    let normal = (rounded >> 20u32) - 960u32;
    // Below 2^-6 the last place is 2^-9: at most three bits of the significand stay.
    let shift = min(141u32 - min(bits >> 23u32, 120u32), 31u32);
    let significand = (bits & (MIN_NORMAL - 1u32)) | MIN_NORMAL;
    let ties = (1u32 << (shift - 1u32)) - 1u32 + ((significand >> shift) & 1u32);
    let subnormal = (significand + ties) >> shift;
    select(bits < E4M3_MIN_NORMAL, subnormal, min(normal, E4M3_MAX))
}

/// Bits of what a value of the grid is multiplied with; any byte is allowed.
#[cube]
pub(crate) fn factor(byte: u32, global_scale: u32, #[comptime] format: KernelFormat) -> u32 {
    match format.scales {
        BlockScales::Mx { .. } => {
            // 2^-127 is subnormal, and 255 means NaN.
            let power = select(byte == 0u32, 0x0040_0000u32, byte << 23u32);
            select(byte == 255u32, 0x7fc0_0000u32, power)
        }
        BlockScales::Nv => {
            let scale = e4m3_magnitude(byte & 0x7fu32);
            let product = match format.arithmetic {
                Arithmetic::Float => {
                    u32::reinterpret(f32::reinterpret(scale) * f32::reinterpret(global_scale))
                }
                Arithmetic::Integer => multiply(scale, global_scale),
            };
            let sign = (byte & 0x80u32) << 24u32;
            select(byte & 0x7fu32 == 0x7fu32, 0x7fc0_0000u32, product) | sign
        }
    }
}

/// Bits of the value of an E4M3 code without a sign, not NaN.
#[cube]
pub(crate) fn e4m3_magnitude(code: u32) -> u32 {
    let normal = (code + 960u32) << 20u32;
    // A count of 2^-9.
    let up = u32::leading_zeros(code | 1u32) - 8u32;
    let subnormal = ((140u32 - up) << 23u32) + (code << up);
    let subnormal = select(code == 0u32, 0u32, subnormal);
    select(code < 8u32, subnormal, normal)
}
