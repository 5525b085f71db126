use cubecl::prelude::*;

use crate::ops::kernels::block_amax::block_amax;
use crate::ops::kernels::block_scale::block_scale;
use crate::ops::kernels::codes::byte_of;
use crate::ops::kernels::dequantize::Decoder;
use crate::ops::kernels::e2m1_rounding::Grid;
use crate::ops::kernels::float_words::{FloatWords, widen};
use crate::ops::kernels::format::KernelFormat;
use crate::ops::kernels::quantize::{BYTES_PER_WORD, CODES_PER_WORD};

/// How the elements of the base are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Base {
    /// `[experts, in, out]`
    Dense(FloatWords),
    /// Codes and scale bytes of `[experts, out, in]`.
    Packed(KernelFormat),
}

/// Lengths of a merge.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(crate) struct MergeShape {
    pub n_blocks: usize,
    pub d_input: usize,
    pub d_output: usize,
    pub rank: usize,
    /// Of the base: one, or one per expert.
    pub base_global_scales: usize,
    pub global_scales: usize,
}

/// A unit has four neighbouring blocks, whose scale bytes are a word.
///
/// # Shapes
///
/// - values, scales, base_global_scales: see [`Base`]
/// - a: `[experts, rank, in]`
/// - b: `[experts, rank, out]`
/// - merged_codes, merged_scales: words of `[experts, out, in]`
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(clippy::too_many_arguments)]
pub(crate) fn merge(
    values: &[u32],
    scales: &[u32],
    base_global_scales: &[u32],
    a: &[f32],
    b: &[f32],
    global_scales: &[u32],
    offsets: &[u32],
    merged_codes: &mut [u32],
    merged_scales: &mut [u32],
    shape: MergeShape,
    scaling: f32,
    zero: u32,
    #[comptime] base: Base,
    #[comptime] format: KernelFormat,
) {
    if ABSOLUTE_POS * BYTES_PER_WORD >= shape.n_blocks {
        terminate!();
    }
    let blocks = shape.d_input / format.block_size;
    let mut bytes = 0u32;
    for i in 0..BYTES_PER_WORD {
        let block = ABSOLUTE_POS * BYTES_PER_WORD + i;
        let row = block / blocks;
        let expert = row / shape.d_output;
        // Neither codes nor scales of an expert without rows are read.
        if block < shape.n_blocks && offsets[expert + 1] > offsets[expert] {
            let output = row % shape.d_output;
            let start = block % blocks * format.block_size;
            let sums = delta(a, b, &shape, expert, output, start, zero, format);
            let mut merged = Sequence::<Vector<u32, Const<1>>>::new();
            let scale_of_base = base_global_scales[expert % shape.base_global_scales];
            #[unroll]
            for w in 0..comptime!(format.block_size / CODES_PER_WORD) {
                let first = comptime!(w * CODES_PER_WORD);
                let input = start + first;
                let weights = match base {
                    Base::Dense(floats) => dense(values, &shape, expert, output, input, floats),
                    Base::Packed(base) => {
                        let element = row * shape.d_input + input;
                        packed(values, scales, element, scale_of_base, base)
                    }
                };
                #[unroll]
                for j in 0..CODES_PER_WORD {
                    let delta = rounded(scaling * sums[comptime!(first + j)], zero);
                    let weight = rounded(f32::reinterpret(*weights.index(j)), zero);
                    let sum = rounded(weight + delta, zero);
                    merged.push(Vector::new(u32::reinterpret(sum)));
                }
            }
            let global_scale = global_scales[expert % shape.global_scales];
            let scale = block_scale(block_amax(&merged, FloatWords::F32), global_scale, format);
            let grid = Grid::new(&scale, format);
            #[unroll]
            for w in 0..comptime!(format.block_size / CODES_PER_WORD) {
                let mut word = 0u32;
                #[unroll]
                for j in 0..CODES_PER_WORD {
                    let bits = merged
                        .index(comptime!(w * CODES_PER_WORD + j))
                        .extract(0usize);
                    let code = grid.code(bits & 0x7fff_ffffu32) | (grid.sign(bits) >> 28u32);
                    word |= code << comptime!(j as u32 * 4);
                }
                merged_codes[block * comptime!(format.block_size / CODES_PER_WORD) + w] = word;
            }
            bytes |= scale.byte << (i as u32 * 8u32);
        }
    }
    merged_scales[ABSOLUTE_POS] = bytes;
}

/// The sums over the rank for a block of inputs of one output.
#[cube]
#[allow(clippy::too_many_arguments)]
fn delta(
    a: &[f32],
    b: &[f32],
    shape: &MergeShape,
    expert: usize,
    output: usize,
    start: usize,
    zero: u32,
    #[comptime] format: KernelFormat,
) -> Array<f32> {
    let mut sums = Array::<f32>::new(format.block_size);
    #[unroll]
    for i in 0..comptime!(format.block_size) {
        sums[i] = 0.0f32;
    }
    for k in 0..shape.rank {
        let row = expert * shape.rank + k;
        let factor = b[row * shape.d_output + output];
        let first = row * shape.d_input + start;
        #[unroll]
        for i in 0..comptime!(format.block_size) {
            let product = rounded(a[first + i] * factor, zero);
            sums[i] = rounded(sums[i] + product, zero);
        }
    }
    sums
}

/// A value that no compiler can fuse with what it is an operand of next: it does not know that `zero` is zero.
#[cube]
fn rounded(value: f32, zero: u32) -> f32 {
    f32::reinterpret(u32::reinterpret(value) ^ zero)
}

/// Bits of eight neighbouring inputs of an output.
#[cube]
fn dense(
    values: &[u32],
    shape: &MergeShape,
    expert: usize,
    output: usize,
    input: usize,
    #[comptime] floats: FloatWords,
) -> Sequence<u32> {
    let mut weights = Sequence::<u32>::new();
    #[unroll]
    for j in 0..CODES_PER_WORD {
        let row = expert * shape.d_input + input + j;
        let at = row * shape.d_output + output;
        let per_word = comptime!(floats.per_word());
        let word = values[at / per_word];
        if comptime!(per_word == 1) {
            weights.push(word);
        } else {
            weights.push(widen(word >> (16u32 * (at % 2) as u32), 0usize, floats));
        }
    }
    weights
}

/// Bits of eight neighbours, `element` the first.
#[cube]
fn packed(
    codes: &[u32],
    scales: &[u32],
    element: usize,
    global_scale: u32,
    #[comptime] format: KernelFormat,
) -> Sequence<u32> {
    let block = element / format.block_size;
    let byte = byte_of(scales[block / BYTES_PER_WORD], block);
    let decoder = Decoder::new(byte, global_scale, format);
    let word = codes[element / CODES_PER_WORD];
    let mut weights = Sequence::<u32>::new();
    #[unroll]
    for j in 0..CODES_PER_WORD {
        weights.push(decoder.float(word, j, FloatWords::F32));
    }
    weights
}
