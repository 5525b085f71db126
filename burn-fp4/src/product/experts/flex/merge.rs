//! Codes of a weight with a low-rank delta.

use burn::backend::{Flex, TensorMetadata};
use rayon::prelude::*;

use super::super::ExpertRoutes;
use super::routes::Routes;
use crate::codec::block_axis::BlockAxis;
use crate::codec::format::with_format;
use crate::ops::Fp4Primitive;
use crate::packed::Pack;
use crate::product::flex::matrices::Matrices;
use crate::product::flex::{elements, tensor};
use crate::product::low_rank::LowRankPrimitive;
use crate::product::operand::OperandPrimitive;
use crate::scheme::Fp4Scheme;
use crate::simd::{Kernel, dispatch};

/// Outputs that are merged together.
const TILE: usize = 32;

/// See [`ExpertBackend::expert_merge`](super::super::ExpertBackend::expert_merge).
pub(super) fn merge(
    base: &OperandPrimitive<Flex>,
    delta: &LowRankPrimitive<Flex>,
    global_scales: &[f32],
    routes: &ExpertRoutes<Flex>,
    scheme: Fp4Scheme,
) -> Fp4Primitive<Flex> {
    let [n_experts, d_input, rank] = delta.a.shape().dims();
    let [_, _, d_output] = delta.b.shape().dims();
    if let Err(error) = BlockAxis::new(&[n_experts, d_output, d_input], 2, &scheme) {
        panic!("expert_merge: {error}");
    }
    let (a, b) = (elements::<f32>(&delta.a), elements::<f32>(&delta.b));
    let (base, routes) = (Matrices::new(base), Routes::new(routes));
    let code_row = d_input / 2;
    let scale_row = d_input / scheme.block_size();
    let mut codes = vec![0u8; n_experts * d_output * code_row];
    let mut scales = vec![0u8; n_experts * d_output * scale_row];
    let experts = codes
        .par_chunks_mut((d_output * code_row).max(1))
        .zip(scales.par_chunks_mut((d_output * scale_row).max(1)));
    experts.enumerate().for_each(|(expert, (codes, scales))| {
        if routes.group(expert).range.is_empty() {
            return;
        }
        let factors = Factors {
            a: transposed(&a[expert * d_input * rank..][..d_input * rank], rank),
            b: &b[expert * rank * d_output..][..rank * d_output],
            scaling: delta.scaling,
        };
        let global_scales = match global_scales {
            [] | [_] => global_scales,
            scales => &scales[expert..=expert],
        };
        let tiles = codes
            .par_chunks_mut(TILE * code_row)
            .zip(scales.par_chunks_mut(TILE * scale_row));
        tiles.enumerate().for_each_init(
            <[Vec<f32>; 2]>::default,
            |[decoded, merged], (tile, (codes, scales))| {
                let start = tile * TILE;
                let outputs = start..d_output.min(start + TILE);
                let weight = base.tile(expert, outputs.clone(), decoded).transposed();
                merged.clear();
                for row in 0..outputs.len() {
                    weight.extend_row(row, merged);
                }
                dispatch(AddDelta {
                    rows: merged,
                    factors: &factors,
                    start,
                    d_output,
                });
                let pack = Pack {
                    values: merged,
                    geometry: BlockAxis {
                        outer: outputs.len(),
                        len: d_input,
                        inner: 1,
                    },
                    codes,
                    scales,
                };
                // What is not finite saturates.
                with_format(&scheme, global_scales, pack);
            },
        );
    });
    Fp4Primitive {
        codes: tensor(codes, [n_experts, d_output, code_row]),
        scales: tensor(scales, [n_experts, d_output, scale_row]),
        global_scales: tensor(global_scales.to_vec(), [global_scales.len()]),
    }
}

/// Those of one expert.
struct Factors<'a> {
    /// `[rank, in]`
    a: Vec<f32>,
    /// `[rank, out]`
    b: &'a [f32],
    scaling: f32,
}

/// `[rank, in]` from `[in, rank]`.
fn transposed(a: &[f32], rank: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(a.len());
    for k in 0..rank {
        out.extend(a.iter().skip(k).step_by(rank));
    }
    out
}

/// Elements of a row that are merged together, two registers of eight.
const LANES: usize = 16;

/// Rows that read the same elements of `a` together.
const ROWS: usize = 4;

/// Adds the delta to rows of inputs, one for each output from `start` on.
struct AddDelta<'a> {
    rows: &'a mut [f32],
    factors: &'a Factors<'a>,
    start: usize,
    d_output: usize,
}

impl Kernel for AddDelta<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let width = self.factors.a.len() / (self.factors.b.len() / self.d_output);
        for (group, rows) in self.rows.chunks_mut(ROWS * width).enumerate() {
            let first = self.start + group * ROWS;
            match rows.len() == ROWS * width {
                true => add::<ROWS>(rows, self.factors, first, self.d_output),
                false => {
                    for (row, values) in rows.chunks_exact_mut(width).enumerate() {
                        add::<1>(values, self.factors, first + row, self.d_output);
                    }
                }
            }
        }
    }
}

/// `N` rows.
#[inline(always)]
fn add<const N: usize>(rows: &mut [f32], factors: &Factors<'_>, first: usize, d_output: usize) {
    let width = rows.len() / N;
    for start in (0..width).step_by(LANES) {
        // Widths are multiples of a block, which has at least 16 elements.
        let mut sums = [[0f32; LANES]; N];
        let a = factors.a.chunks_exact(width);
        for (a, b) in a.zip(factors.b.chunks_exact(d_output)) {
            let a: &[f32; LANES] = lanes(&a[start..]);
            for (row, sums) in sums.iter_mut().enumerate() {
                let b = b[first + row];
                for (sum, &a) in sums.iter_mut().zip(a) {
                    *sum += a * b;
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            let values = &mut rows[row * width + start..][..LANES];
            for (value, sum) in values.iter_mut().zip(sums) {
                *value += factors.scaling * sum;
            }
        }
    }
}

#[inline(always)]
fn lanes(values: &[f32]) -> &[f32; LANES] {
    match values.first_chunk() {
        Some(lanes) => lanes,
        None => unreachable!("a width that is a multiple of a block"),
    }
}
