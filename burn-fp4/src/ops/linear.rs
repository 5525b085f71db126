//! Products with a packed weight, for any backend that can decode one.
//!
//! A tile of output rows is decoded to `f32`, multiplied and forgotten; there is never a dense copy of
//! the weight.

use core::ops::Range;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{FloatDType, Slice};

use super::{Fp4Backend, Fp4Primitive};
use crate::scheme::Fp4Scheme;

/// Elements of a tile: 4 MiB, which the outer caches hold.
const TILE: usize = 1 << 20;

/// `[n, in] x [out, in]^T -> [n, out]`
pub(super) fn forward<B: Fp4Backend>(
    rows: FloatTensor<B>,
    weight: &Fp4Primitive<B>,
    scheme: Fp4Scheme,
) -> FloatTensor<B> {
    let dtype = rows.dtype();
    let rows = B::float_cast(rows, FloatDType::F32);
    let products = tiles(weight).map(|tile| {
        let tile = B::float_swap_dims(decode(weight, tile, scheme), 0, 1);
        B::float_matmul(rows.clone(), tile)
    });
    B::float_cast(B::float_cat(products.collect(), 1), dtype.into())
}

/// `[n, out] x [out, in] -> [n, in]`
pub(super) fn backward<B: Fp4Backend>(
    grad: FloatTensor<B>,
    weight: &Fp4Primitive<B>,
    scheme: Fp4Scheme,
) -> FloatTensor<B> {
    let dtype = grad.dtype();
    let grad = B::float_cast(grad, FloatDType::F32);
    let products = tiles(weight).map(|tile| {
        let columns = [Slice::full(), Slice::from(tile.clone())];
        let grad = B::float_slice(grad.clone(), &columns);
        B::float_matmul(grad, decode(weight, tile, scheme))
    });
    match products.reduce(B::float_add) {
        Some(sum) => B::float_cast(sum, dtype.into()),
        None => panic!("fp4_linear: the weight has no output rows"),
    }
}

/// Ranges of output rows.
fn tiles<B: Backend>(weight: &Fp4Primitive<B>) -> impl Iterator<Item = Range<usize>> {
    let [n_rows, row_bytes] = weight.codes.shape().dims();
    let tile = (TILE / (2 * row_bytes).max(1)).max(1);
    (0..n_rows)
        .step_by(tile)
        .map(move |start| start..n_rows.min(start + tile))
}

/// Rows `range` of the weight, `[range, in]`.
fn decode<B: Fp4Backend>(
    weight: &Fp4Primitive<B>,
    range: Range<usize>,
    scheme: Fp4Scheme,
) -> FloatTensor<B> {
    let rows = [Slice::from(range.clone()), Slice::full()];
    let global_scales = weight.global_scales.clone();
    let tile = Fp4Primitive {
        codes: B::int_slice(weight.codes.clone(), &rows),
        scales: B::int_slice(weight.scales.clone(), &rows),
        global_scales: if scheme.has_expert_scales() {
            B::float_slice(global_scales, &[Slice::from(range)])
        } else {
            global_scales
        },
    };
    B::fp4_dequantize(tile, 1, FloatDType::F32, scheme)
}
