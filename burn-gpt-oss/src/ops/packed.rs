//! Groups of rows times the packed matrices of their experts, for any backend with FP4 operations.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{Shape, Slice};
use burn_fp4::{Fp4Backend, Fp4Primitive, Fp4Scheme, GlobalScope};

use super::extension::{occupied, rows_of};

/// `[rows, in] x [groups, out, in]^T -> [rows, out]`
pub(super) fn forward<B: Fp4Backend>(
    rows: FloatTensor<B>,
    weight: &Fp4Primitive<B>,
    counts: &[usize],
    scheme: Fp4Scheme,
) -> FloatTensor<B> {
    per_group::<B>(&rows, weight, counts, scheme, B::fp4_linear)
}

/// Gradient of the rows: `[rows, out] x [groups, out, in] -> [rows, in]`
pub(super) fn rows_gradient<B: Fp4Backend>(
    grad: &FloatTensor<B>,
    weight: &Fp4Primitive<B>,
    counts: &[usize],
    scheme: Fp4Scheme,
) -> FloatTensor<B> {
    per_group::<B>(grad, weight, counts, scheme, B::fp4_linear_backward)
}

type Product<B> = fn(FloatTensor<B>, Fp4Primitive<B>, Fp4Scheme) -> FloatTensor<B>;

fn per_group<B: Fp4Backend>(
    rows: &FloatTensor<B>,
    weight: &Fp4Primitive<B>,
    counts: &[usize],
    scheme: Fp4Scheme,
    product: Product<B>,
) -> FloatTensor<B> {
    // The scope of one matrix: if there was a scale per expert, only its own is left.
    let matrix_scheme = scheme.with_global_scope(GlobalScope::Tensor);
    let products = occupied(counts).map(|(group, range)| {
        let matrix = matrix_of::<B>(weight, group, scheme);
        product(rows_of::<B>(rows, range), matrix, matrix_scheme)
    });
    B::float_cat(products.collect(), 0)
}

/// The matrix of one expert, `[out, in]`. Backends slice the leading axis without a copy.
fn matrix_of<B: Backend>(
    weight: &Fp4Primitive<B>,
    group: usize,
    scheme: Fp4Scheme,
) -> Fp4Primitive<B> {
    let range = || Slice::from(group..group + 1);
    let slice = |bytes: &B::IntTensorPrimitive| {
        let [_, rows, columns] = bytes.shape().dims();
        let slices = [range(), Slice::full(), Slice::full()];
        let matrix = B::int_slice(bytes.clone(), &slices);
        B::int_reshape(matrix, Shape::new([rows, columns]))
    };
    let global_scales = weight.global_scales.clone();
    let n_groups = weight.codes.shape()[0];
    Fp4Primitive {
        codes: slice(&weight.codes),
        scales: slice(&weight.scales),
        global_scales: if scheme.n_global_scales(&weight.codes.shape()) == n_groups {
            B::float_slice(global_scales, &[range()])
        } else {
            global_scales
        },
    }
}
