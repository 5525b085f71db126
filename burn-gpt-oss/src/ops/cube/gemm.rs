//! Products of matrices, alone or one for every expert.
//!
//! Tensor cores where there are and rows are whole vectors and factors of one dtype; else multiply-adds in
//! `f32`. Sums are in `f32` and have one order for given shapes and offsets.
#![allow(unsafe_code)]

mod element;
mod epilogue;
mod factor;
mod geometry;
mod launch;
mod multiply;
mod next;
mod packed;
mod plane_tile;
mod product;
mod registers;
mod shared;
mod stage;
mod tensor_cores;

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;

use super::contiguous;
use super::gemv::few_rows;
pub(in crate::ops) use factor::{Dense, Packed, Right};
pub(in crate::ops) use geometry::Grouping;
pub(in crate::ops) use product::{Product, RouteTensors};
#[cfg(all(test, feature = "cuda"))]
pub(in crate::ops) use {
    geometry::{GemmKind, GemmShapeCompilationArg},
    packed::PackedFormat,
    plane_tile::PlaneTile,
    tensor_cores::plane_tiles,
};

/// `lhs rhs`, with operands where they lie, transposed ones too.
///
/// # Shapes
/// - lhs: `[m, k]`
/// - rhs: `[k, n]`, any float dtype; tensor cores take that of `lhs`
/// - output: `[m, n]`
pub(in crate::ops) fn matmul(lhs: CubeTensor, rhs: CubeTensor, out_dtype: DType) -> CubeTensor {
    matmul_with_bias(lhs, rhs, None, out_dtype)
}

/// [`matmul`] with `[n]`, dtype of `lhs`, added to every row.
pub(in crate::ops) fn matmul_with_bias(
    lhs: CubeTensor,
    rhs: CubeTensor,
    bias: Option<CubeTensor>,
    out_dtype: DType,
) -> CubeTensor {
    let [m, k] = lhs.meta.shape().dims();
    let [inner, n] = rhs.meta.shape().dims();
    assert_eq!(k, inner, "inner axes of a product");
    if let Some(bias) = &bias {
        assert_eq!(bias.dtype, lhs.dtype, "dtype of a bias");
    }
    let (lhs, lhs_rows) = Dense::matrix(lhs);
    let (rhs, rhs_terms) = Dense::matrix(rhs);
    if lhs_rows
        && !rhs_terms
        && let Some(output) = few_rows(&lhs, &rhs, [m, n], bias.clone(), out_dtype)
    {
        return output;
    }
    Product {
        lhs,
        lhs_rows,
        lhs_gathered: false,
        rhs: Right::Dense(rhs),
        rhs_terms,
        rhs_gathered: false,
        rhs_rows: 0,
        grouping: Grouping::None,
        n_rows: m,
        n_columns: n,
        n_terms: k,
        routes: None,
        bias: bias.map(contiguous),
        scores: None,
    }
    .run([m, n], out_dtype)
}
