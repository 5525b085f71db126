//! Products of matrices, alone or one for every expert.
//!
//! Tensor cores where there are and rows are whole vectors and factors of one dtype; else multiply-adds in
//! `f32`. Sums are in `f32` and have one order for given shapes and offsets.
#![allow(unsafe_code)]

pub(crate) mod element;
mod epilogue;
pub(crate) mod geometry;
mod launch;
mod multiply;
mod next;
pub(crate) mod operands;
pub(crate) mod plane_tile;
pub(crate) mod product;
mod registers;
mod shared;
mod stage;
pub(crate) mod tensor_cores;

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;

use geometry::Grouping;
use operands::{Dense, Right};
use product::Product;

/// `lhs rhs`, with operands where they lie, transposed ones too.
///
/// # Shapes
/// - lhs: `[m, k]`
/// - rhs: `[k, n]`, any float dtype; tensor cores take that of `lhs`
/// - output: `[m, n]`
///
/// # Panics
/// If the shapes do not fit together.
pub(crate) fn matmul(lhs: CubeTensor, rhs: CubeTensor, out_dtype: DType) -> CubeTensor {
    let [m, k] = lhs.meta.shape().dims();
    let [inner, n] = rhs.meta.shape().dims();
    assert_eq!(k, inner, "inner axes of a product");
    let (lhs, lhs_rows) = Dense::matrix(lhs);
    let (rhs, rhs_terms) = Dense::matrix(rhs);
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
        bias: None,
        scores: None,
    }
    .run([m, n], out_dtype)
}
