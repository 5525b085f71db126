//! Products with floats.

use cubecl::prelude::*;

use super::kernel::FewRowsSplit;
use crate::product::cube::gemm::geometry::GemmShape;

/// The sums of a unit, over its share of the vectors.
#[cube]
#[allow(clippy::too_many_arguments)]
pub(super) fn add_dense<F: Float, R: Float, N: Size>(
    rows: &[Vector<F, N>],
    dense: &[Vector<R, N>],
    sources: &Sequence<usize>,
    weights: &Sequence<usize>,
    sums: &mut Array<f32>,
    shape: &GemmShape,
    rank: usize,
    #[comptime] split: FewRowsSplit,
) {
    let (row_pitch, pitch) = (shape.lhs_pitch / N::value(), shape.rhs_pitch / N::value());
    let mut parts = Array::<Vector<f32, N>>::new(comptime!(split.sums()));
    #[unroll]
    for i in 0..comptime!(split.sums()) {
        parts[i] = Vector::new(0.0f32);
    }
    for vector in range_stepped(rank, shape.n_terms / N::value(), split.team.units) {
        let mut values = Sequence::<Vector<f32, N>>::new();
        #[unroll]
        for j in 0..comptime!(split.outputs) {
            let weight = dense[*weights.index(j) * pitch + vector];
            values.push(Vector::cast_from(weight));
        }
        #[unroll]
        for r in 0..comptime!(split.rows) {
            let x = rows[*sources.index(r) * row_pitch + vector];
            let x = Vector::<f32, N>::cast_from(x);
            #[unroll]
            for j in 0..comptime!(split.outputs) {
                let i = comptime!(r * split.outputs + j);
                parts[i] = fma(x, *values.index(j), parts[i]);
            }
        }
    }
    #[unroll]
    for i in 0..comptime!(split.sums()) {
        sums[i] = parts[i].vector_sum();
    }
}
