//! Packed weights as products read them.

use cubecl::prelude::*;
use half::f16;

use super::arithmetic::Arithmetic;
use super::block_scale::factor;
use super::format::KernelFormat;

/// The geometry of packed weights `[experts, out, in]`, rows of all experts one after another.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(crate) struct PackedWeight {
    pub experts: usize,
    /// Rows of an expert.
    pub d_output: usize,
    /// Elements of a row.
    pub d_input: usize,
    /// Vectors of words from one row of codes to the next.
    pub code_pitch: usize,
    /// Bytes from one row of scales to the next.
    pub scale_pitch: usize,
    /// Rows, of all experts, that share a global scale.
    pub rows_per_global_scale: usize,
}

/// The expert of a row; one that does not exist is the last one.
#[cube]
pub(crate) fn expert_of(
    experts: &[u32],
    row: usize,
    weight: &PackedWeight,
    #[comptime] indexed: bool,
) -> usize {
    if comptime!(indexed) {
        min(experts[row] as usize, weight.experts - 1)
    } else {
        0usize.runtime()
    }
}

/// Number of this cube along the rows, which take two axes of the grid: runtimes with few cubes along
/// one have 65535. Cubes beyond the last row have nothing to write.
#[cube]
pub(crate) fn row_cube() -> usize {
    CUBE_POS_Z as usize * CUBE_COUNT_Y as usize + CUBE_POS_Y as usize
}

/// The factor of a block of row `row`, one of all experts' rows.
///
/// Products need not have the same bits everywhere, so a scale is a plain product of floats.
#[cube]
pub(crate) fn block_factor(
    scales: &[u32],
    global_scale: u32,
    weight: &PackedWeight,
    row: usize,
    block: usize,
    #[comptime] format: KernelFormat,
) -> f32 {
    let position = row * weight.scale_pitch + block;
    let byte = (scales[position / 4] >> (8u32 * (position % 4) as u32)) & 0xffu32;
    f32::reinterpret(factor(byte, global_scale, comptime!(format.in_floats())))
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
fn code_value(code: u32) -> f32 {
    let half = 126u32 << 23u32;
    let magnitude = code & 7u32;
    let subnormal = select(magnitude == 1u32, half, 0u32);
    let bits = select(magnitude > 1u32, (magnitude << 22u32) + half, subnormal);
    f32::reinterpret(bits | ((code & 8u32) << 28u32))
}
