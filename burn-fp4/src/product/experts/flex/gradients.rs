//! Gradients of matrices, biases and scores.

use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::products::TILE;
use super::routes::{Routes, Rows};
use super::written::Written;
use crate::product::flex::matrix::{Matrix, MatrixMut};
use crate::product::flex::product::multiply;
use crate::product::flex::tensor;
use crate::simd::dot;
use crate::written::written;

/// `input^T x grad` per expert, written to its place in `[experts, in, out]`.
#[allow(unsafe_code)]
pub(super) fn weight<T: Written>(
    input: Rows<'_>,
    grad: Rows<'_>,
    routes: &Routes<'_>,
) -> FlexTensor {
    let shape = [routes.n_experts(), input.width, grad.width];
    // SAFETY: every expert has its part, which is zero or a product.
    let out = unsafe {
        written(shape.iter().product(), |out: &mut [T]| {
            weight_into(out, input, grad, routes);
        })
    };
    tensor(out, shape)
}

fn weight_into<T: Written>(out: &mut [T], input: Rows<'_>, grad: Rows<'_>, routes: &Routes<'_>) {
    let experts = out
        .par_chunks_mut((input.width * grad.width).max(1))
        .enumerate();
    experts.for_each(|(expert, out)| {
        let group = routes.group(expert);
        if group.range.is_empty() {
            out.fill(T::zeroed());
            return;
        }
        let (left, right) = (input.of(&group), grad.of(&group));
        let left = Matrix::row_major(&left, input.width).transposed();
        let right = Matrix::row_major(&right, grad.width);
        let tiles = MatrixMut::row_major(out, grad.width)
            .into_tiles(TILE)
            .into_par_iter();
        tiles.for_each_init(Vec::new, |scratch, (columns, tile)| {
            T::write(tile, scratch, |tile| {
                multiply(tile, left, right.columns(columns), false);
            });
        });
    });
}

/// The sum of the rows of every expert.
pub(super) fn bias(rows: Rows<'_>, routes: &Routes<'_>) -> Vec<f32> {
    let mut out = vec![0.0; routes.n_experts() * rows.width];
    let experts = out.par_chunks_mut(rows.width.max(1)).enumerate();
    experts.for_each(|(expert, out)| {
        for row in rows.of(&routes.group(expert)).chunks_exact(rows.width) {
            for (sum, value) in out.iter_mut().zip(row) {
                *sum += value;
            }
        }
    });
    out
}

/// Gradient of the scores, `[tokens, top_k]`; multiplies `products`, the rows `grad x weight^T`, by
/// them.
pub(super) fn scores(
    products: &mut [f32],
    rows: &[f32],
    grad: Rows<'_>,
    bias: &[f32],
    scores: &[f32],
    routes: &Routes<'_>,
) -> Vec<f32> {
    let width = products.len() / routes.n_rows().max(1);
    let groups = routes.split(products, width).into_par_iter();
    let sums = groups.map(|(group, products)| {
        let bias = &bias[group.expert * grad.width..][..grad.width];
        let rows = rows[group.range.start * width..].chunks_exact(width);
        let products = products.chunks_exact_mut(width).zip(rows);
        let choices = group.tokens().zip(group.choices());
        let sums = products
            .zip(choices)
            .map(|((product, row), (token, choice))| {
                let sum = dot(product, row) + dot(bias, grad.of_token(token));
                for value in product {
                    *value *= scores[choice];
                }
                sum
            });
        sums.collect::<Vec<_>>()
    });
    let sums: Vec<_> = sums.collect();
    let mut out = vec![0.0; routes.n_rows()];
    for (choice, sum) in routes.order().zip(sums.into_iter().flatten()) {
        out[choice] = sum;
    }
    out
}
