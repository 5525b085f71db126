//! Rows times the matrices of their experts.

use rayon::prelude::*;

use super::routes::{Routes, Rows};
use crate::product::flex::matrices::{Matrices, PreparedRows};
use crate::product::flex::matrix::MatrixMut;
use crate::written::written;

/// Columns of a product that are computed together: a multiple of all block sizes.
pub(super) const TILE: usize = 256;

/// `rows x matrices (+ bias)`, a row per choice.
#[allow(unsafe_code)]
pub(super) fn linear(
    rows: Rows<'_>,
    matrices: &Matrices<'_>,
    bias: Option<&[f32]>,
    routes: &Routes<'_>,
) -> Vec<f32> {
    let width = matrices.width();
    let write = |out: &mut [f32]| linear_into(out, rows, matrices, bias, routes);
    // SAFETY: every row belongs to an expert, and all tiles of its columns are products.
    unsafe { written(routes.n_rows() * width, write) }
}

fn linear_into(
    out: &mut [f32],
    rows: Rows<'_>,
    matrices: &Matrices<'_>,
    bias: Option<&[f32]>,
    routes: &Routes<'_>,
) {
    let width = matrices.width();
    let groups = routes.split(out, width).into_par_iter();
    groups.for_each(|(group, out)| {
        let values = rows.of(&group);
        let left = PreparedRows::new(&values, rows.width, matrices);
        let tiles = MatrixMut::row_major(out, width)
            .into_tiles(TILE)
            .into_par_iter();
        tiles.for_each_init(Vec::new, |scratch, (columns, mut tile)| {
            let bias = bias.map(|bias| &bias[group.expert * width..][columns.clone()]);
            matrices.multiply(group.expert, &left, columns, bias, &mut tile, scratch);
        });
    });
}

/// The sum over the rows of every token of `score * (rows x matrices + bias)`.
///
/// A tile of columns runs through all experts: sums have one order, and products stay in caches.
pub(super) fn combine(
    rows: &[f32],
    matrices: &Matrices<'_>,
    bias: Option<&[f32]>,
    scores: Option<&[f32]>,
    routes: &Routes<'_>,
) -> Vec<f32> {
    let width = matrices.width();
    let rows = Rows::sorted(rows, rows.len() / routes.n_rows().max(1));
    let groups: Vec<_> = routes
        .groups()
        .map(|group| (rows.of(&group), group))
        .collect();
    let prepare = |(values, group)| (PreparedRows::new(values, rows.width, matrices), group);
    let groups: Vec<_> = groups
        .iter()
        .map(|(values, group)| prepare((values, group)))
        .collect();
    let mut out = vec![0.0; routes.n_tokens() * width];
    let tiles = MatrixMut::row_major(&mut out, width)
        .into_tiles(TILE / 2)
        .into_par_iter();
    tiles.for_each_init(
        Default::default,
        |(decoded, product), (columns, mut tile)| {
            for (left, group) in &groups {
                Vec::resize(product, group.range.len() * columns.len(), 0.0);
                let mut sum = MatrixMut::row_major(product, columns.len());
                let bias = bias.map(|bias| &bias[group.expert * width..][columns.clone()]);
                matrices.multiply(group.expert, left, columns.clone(), bias, &mut sum, decoded);
                let products = product.chunks_exact(columns.len());
                for ((token, choice), product) in group.tokens().zip(group.choices()).zip(products)
                {
                    let score = scores.map_or(1.0, |scores| scores[choice]);
                    for (sum, value) in tile.row(token).iter_mut().zip(product) {
                        *sum += score * value;
                    }
                }
            }
        },
    );
    out
}
