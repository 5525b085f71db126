//! Products with packed codes. A unit loads the codes of all its outputs before it needs the first; a code
//! is decoded once for all rows. Codes are multiplied as they are, and their sum by the block scale.

use cubecl::prelude::*;

use super::kernel::FewRowsSplit;
use crate::ops::kernels::block_scale::scale_value;
use crate::ops::kernels::codes::{byte_of, decode, lift};
use crate::ops::kernels::format::KernelFormat;
use crate::ops::kernels::quantize::CODES_PER_WORD;
use crate::product::cube::gemm::geometry::GemmShape;

/// The sums of a unit, over its share of the vectors.
#[cube]
#[allow(clippy::too_many_arguments)]
pub(super) fn add_packed<F: Float, N: Size, M: Size>(
    rows: &[Vector<F, N>],
    codes: &[Vector<u32, M>],
    scales: &[u32],
    sources: &Sequence<usize>,
    weights: &Sequence<usize>,
    sums: &mut Array<f32>,
    shape: &GemmShape,
    rank: usize,
    #[comptime] split: FewRowsSplit,
    #[comptime] format: KernelFormat,
) {
    let len = M::value() * CODES_PER_WORD;
    let pitch = shape.rhs_pitch / len;
    #[unroll]
    for i in 0..comptime!(split.sums()) {
        sums[i] = 0.0f32;
    }
    for vector in range_stepped(rank, shape.n_terms / len, split.team.units) {
        let mut words = Sequence::<Vector<u32, M>>::new();
        let mut factors = Sequence::<Sequence<f32>>::new();
        #[unroll]
        for j in 0..comptime!(split.outputs) {
            let row = *weights.index(j);
            words.push(codes[row * pitch + vector]);
            let first = row * shape.scale_pitch + vector * len / format.block_size;
            factors.push(factors_of::<M>(scales, first, format));
        }
        add_vector::<F, N, M>(
            rows, sources, vector, &words, &factors, sums, shape, split, format,
        );
    }
}

/// Words with the same block scale, of a vector of `width`.
const fn words_of_a_block(width: usize, block_size: usize) -> usize {
    let words = block_size / CODES_PER_WORD;
    if words < width { words } else { width }
}

/// The scales of the blocks in a vector of codes, the first one at byte `first`.
#[cube]
fn factors_of<M: Size>(
    scales: &[u32],
    first: usize,
    #[comptime] format: KernelFormat,
) -> Sequence<f32> {
    let width = M::value();
    let words = comptime!(words_of_a_block(width, format.block_size));
    let mut factors = Sequence::<f32>::new();
    #[unroll]
    for i in 0..comptime!(width / words) {
        let position = first + i;
        let byte = byte_of(scales[position / 4], position);
        factors.push(scale_value(byte, format.scales));
    }
    factors
}

/// Adds the products of a vector of codes, for all rows and outputs of a unit.
#[cube]
#[allow(clippy::too_many_arguments)]
fn add_vector<F: Float, N: Size, M: Size>(
    rows: &[Vector<F, N>],
    sources: &Sequence<usize>,
    vector: usize,
    words: &Sequence<Vector<u32, M>>,
    factors: &Sequence<Sequence<f32>>,
    sums: &mut Array<f32>,
    shape: &GemmShape,
    #[comptime] split: FewRowsSplit,
    #[comptime] format: KernelFormat,
) {
    let width = M::value();
    let row_vectors = N::value();
    let row_vectors = comptime!(CODES_PER_WORD / row_vectors);
    let block_words = comptime!(words_of_a_block(width, format.block_size));
    let mut partial = Array::<f32>::new(comptime!(split.sums()));
    #[unroll]
    for w in 0..comptime!(width) {
        let mut values = Sequence::<Sequence<f32>>::new();
        #[unroll]
        for j in 0..comptime!(split.outputs) {
            values.push(decode(words.index(j).extract(w), format.arithmetic));
        }
        #[unroll]
        for r in 0..comptime!(split.rows) {
            let row = *sources.index(r) * (shape.lhs_pitch / N::value());
            let x = eight_of::<F, N>(rows, row + (vector * width + w) * row_vectors);
            #[unroll]
            for j in 0..comptime!(split.outputs) {
                let i = comptime!(r * split.outputs + j);
                let product = dot(&x, values.index(j));
                if comptime!(w % block_words == 0) {
                    partial[i] = product;
                } else {
                    partial[i] += product;
                }
                if comptime!(w % block_words == block_words - 1) {
                    let factor = *factors.index(j).index(comptime!(w / block_words));
                    let lifted = partial[i] * comptime!(lift(format.arithmetic));
                    sums[i] = fma(lifted, factor, sums[i]);
                }
            }
        }
    }
}

/// Eight neighbouring floats.
#[cube]
fn eight_of<F: Float, N: Size>(rows: &[Vector<F, N>], first: usize) -> Sequence<f32> {
    let width = N::value();
    let mut values = Sequence::<f32>::new();
    #[unroll]
    for v in 0..comptime!(CODES_PER_WORD / width) {
        let vector = Vector::<f32, N>::cast_from(rows[first + v]);
        #[unroll]
        for i in 0..width {
            values.push(vector.extract(i));
        }
    }
    values
}

#[cube]
fn dot(a: &Sequence<f32>, b: &Sequence<f32>) -> f32 {
    let mut sum = *a.index(0usize) * *b.index(0usize);
    #[unroll]
    for i in 1..8usize {
        sum = fma(*a.index(i), *b.index(i), sum);
    }
    sum
}
