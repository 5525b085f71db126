//! Block scales: from the largest magnitude to the byte, from the byte to the factor.

use cubecl::prelude::*;

use super::arithmetic::Arithmetic;
use super::block_amax::ONLY_NAN;
use super::e4m3::{E4m3, e4m3_magnitude};
use super::format::{BlockScales, KernelFormat};
use super::soft_float::{INFINITY, divide, multiply};

/// Bits of 6, the largest magnitude of E2M1.
const SIX: u32 = 0x40c0_0000;
/// Bits of `2^-9`, the smallest number of E4M3.
const E4M3_MIN_POSITIVE: u32 = 0x3b00_0000;
/// Bits of 1.
const ONE: u32 = 0x3f80_0000;
/// Byte of 1 in E8M0.
const E8M0_ONE: u32 = 127;

/// The scale of a block.
#[derive(CubeType, Clone, Copy)]
pub(crate) struct BlockScale {
    pub byte: u32,
    /// Bits of what a value of the grid is multiplied with.
    pub unit: u32,
}

/// The scale of a block with the largest magnitude `amax`, as
/// [`block_amax`](super::block_amax::block_amax) gives it; the global scale is bits of a finite number.
#[cube]
pub(crate) fn block_scale(
    amax: u32,
    global_scale: u32,
    #[comptime] format: KernelFormat,
) -> BlockScale {
    let bits = amax >> 1u32;
    match format.scales {
        BlockScales::Mx { bias } => {
            let byte = max((bits + bias) >> 23u32, 2u32) - 2u32;
            let byte = select(amax == ONLY_NAN, E8M0_ONE, byte);
            BlockScale {
                byte,
                unit: factor(byte, global_scale, format),
            }
        }
        BlockScales::Nv => {
            // A block of zeros has scale 1, too.
            let ratio = ratio_of_six(bits, global_scale, format.arithmetic);
            let ratio = select(bits == 0u32, ONE, max(ratio, E4M3_MIN_POSITIVE));
            let scale = E4m3::of(ratio, format.arithmetic);
            BlockScale {
                byte: scale.code,
                unit: product(scale.magnitude, global_scale, format.arithmetic),
            }
        }
    }
}

/// Bits of the block scale, not yet rounded, that brings a magnitude to 6.
#[cube]
fn ratio_of_six(amax: u32, global_scale: u32, #[comptime] arithmetic: Arithmetic) -> u32 {
    let six = product(SIX, global_scale, arithmetic);
    match arithmetic {
        Arithmetic::Float => u32::reinterpret(f32::reinterpret(amax) / f32::reinterpret(six)),
        // A quotient by zero is infinite.
        Arithmetic::Integer => select(six == 0u32, INFINITY, divide(amax, max(six, 1u32))),
    }
}

#[cube]
fn product(a: u32, b: u32, #[comptime] arithmetic: Arithmetic) -> u32 {
    match arithmetic {
        Arithmetic::Float => u32::reinterpret(f32::reinterpret(a) * f32::reinterpret(b)),
        Arithmetic::Integer => multiply(a, b),
    }
}

/// Bits of what a value of the grid is multiplied with; any byte is allowed.
#[cube]
pub(crate) fn factor(byte: u32, global_scale: u32, #[comptime] format: KernelFormat) -> u32 {
    match format.scales {
        BlockScales::Mx { .. } => e8m0(byte),
        BlockScales::Nv => {
            let scale = e4m3_magnitude(byte & 0x7fu32);
            e4m3(byte, product(scale, global_scale, format.arithmetic))
        }
    }
}

/// What a scale byte stands for, without the global scale; any byte is allowed.
#[cube]
pub(crate) fn scale_value(byte: u32, #[comptime] scales: BlockScales) -> f32 {
    match scales {
        BlockScales::Mx { .. } => f32::reinterpret(e8m0(byte)),
        BlockScales::Nv => f32::reinterpret(e4m3(byte, e4m3_magnitude(byte & 0x7fu32))),
    }
}

/// Bits of the value of a byte in E8M0.
#[cube]
fn e8m0(byte: u32) -> u32 {
    // 2^-127 is subnormal, and 255 means NaN.
    let power = select(byte == 0u32, 0x0040_0000u32, byte << 23u32);
    select(byte == 255u32, 0x7fc0_0000u32, power)
}

/// The bits of a magnitude with the sign of a byte in E4M3, or NaN.
#[cube]
fn e4m3(byte: u32, magnitude: u32) -> u32 {
    let sign = (byte & 0x80u32) << 24u32;
    select(byte & 0x7fu32 == 0x7fu32, 0x7fc0_0000u32, magnitude) | sign
}
