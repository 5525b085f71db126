//! Rounding magnitudes to E4M3, the type of NVFP4's block scales and of FP8 activations.

use cubecl::prelude::*;

use super::arithmetic::Arithmetic;
use super::soft_float::MIN_NORMAL;

/// Bits of `2^-6`, the smallest normal number.
const SMALLEST_NORMAL: u32 = 0x3c80_0000;
/// Bits of 448, the largest number.
pub(crate) const LARGEST: u32 = 0x43e0_0000;
/// Code of 448.
const LARGEST_CODE: u32 = 0x7e;
/// `2^20`: this times a power of two has the step of E4M3 above that power as its last place.
const ANCHOR: f32 = 1_048_576.0;

/// A magnitude of E4M3.
#[derive(CubeType, Clone, Copy)]
pub(crate) struct E4m3 {
    pub code: u32,
    /// Bits of the value as `f32`.
    pub magnitude: u32,
}

#[cube]
impl E4m3 {
    /// The one nearest to a magnitude that is not NaN, ties to the even code, saturating.
    pub fn of(bits: u32, #[comptime] arithmetic: Arithmetic) -> E4m3 {
        match arithmetic {
            Arithmetic::Float => {
                let bits = min(bits, LARGEST);
                // The power of two below; subnormal numbers have the step of the smallest normal one.
                let exponent = max(bits, SMALLEST_NORMAL) & 0x7f80_0000u32;
                let power = f32::reinterpret(exponent);
                let sum = fma(power, ANCHOR, f32::reinterpret(bits));
                let steps = u32::reinterpret(sum) - (exponent + (20u32 << 23u32));
                E4m3 {
                    // The exponent, in steps of a mantissa, is biased by 7 instead of 127; 8 steps
                    // are the hidden bit.
                    code: steps + (exponent >> 20u32) - 968u32,
                    magnitude: u32::reinterpret(fma(-power, ANCHOR, sum)),
                }
            }
            Arithmetic::Integer => {
                let code = e4m3_code(bits);
                E4m3 {
                    code,
                    magnitude: e4m3_magnitude(code),
                }
            }
        }
    }
}

/// The code, by integers alone.
#[cube]
fn e4m3_code(bits: u32) -> u32 {
    // The exponent is biased by 7 instead of 127.
    let rounded = min(bits, 0x7f00_0000u32) + 0x7_ffffu32 + ((bits >> 20u32) & 1u32);
    let normal = (rounded >> 20u32) - 960u32;
    // Below 2^-6 the last place is 2^-9: at most three bits of the significand stay.
    let shift = min(141u32 - min(bits >> 23u32, 120u32), 31u32);
    let significand = (bits & (MIN_NORMAL - 1u32)) | MIN_NORMAL;
    let ties = (1u32 << (shift - 1u32)) - 1u32 + ((significand >> shift) & 1u32);
    let subnormal = (significand + ties) >> shift;
    select(bits < SMALLEST_NORMAL, subnormal, min(normal, LARGEST_CODE))
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
