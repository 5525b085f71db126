#[cfg(feature = "flex")]
use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata, backend_extension};
use burn::tensor::{Shape, Slice};
use burn_fp4::{Fp4Backend, Fp4Primitive, Fp4Scheme};

use super::packed;

/// Backends that multiply groups of rows with one matrix each.
#[backend_extension(Autodiff, Flex: cfg(feature = "flex"))]
pub trait GroupedBackend: Fp4Backend {
    /// See [`grouped_matmul`](crate::ops::grouped_matmul).
    fn grouped_matmul(
        rows: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        counts: Vec<usize>,
    ) -> FloatTensor<Self>;

    /// See [`grouped_fp4_linear`](crate::ops::grouped_fp4_linear).
    fn grouped_fp4_linear(
        rows: FloatTensor<Self>,
        #[extension_type] weight: Fp4Primitive<Self>,
        counts: Vec<usize>,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self>;
}

#[cfg(feature = "flex")]
impl GroupedBackend for Flex {
    fn grouped_matmul(
        rows: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        counts: Vec<usize>,
    ) -> FloatTensor<Self> {
        forward::<Self>(rows, weight, &counts)
    }

    fn grouped_fp4_linear(
        rows: FloatTensor<Self>,
        weight: Fp4Primitive<Self>,
        counts: Vec<usize>,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self> {
        packed::forward::<Self>(rows, &weight, &counts, scheme)
    }
}

/// Group index and row range of every group that has rows.
pub(super) fn occupied(
    counts: &[usize],
) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> + '_ {
    let mut start = 0;
    counts.iter().enumerate().filter_map(move |(group, count)| {
        let range = start..start + count;
        start = range.end;
        (!range.is_empty()).then_some((group, range))
    })
}

pub(super) fn rows_of<B: Backend>(
    x: &FloatTensor<B>,
    range: std::ops::Range<usize>,
) -> FloatTensor<B> {
    B::float_slice(x.clone(), &[Slice::from(range), Slice::full()])
}

fn matrix_of<B: Backend>(weight: &FloatTensor<B>, group: usize) -> FloatTensor<B> {
    let [_, d_in, d_out] = weight.shape().dims();
    let slices = [Slice::from(group..group + 1), Slice::full(), Slice::full()];
    B::float_reshape(
        B::float_slice(weight.clone(), &slices),
        Shape::new([d_in, d_out]),
    )
}

/// `[rows, in] x [groups, in, out] -> [rows, out]`
pub(super) fn forward<B: Backend>(
    rows: FloatTensor<B>,
    weight: FloatTensor<B>,
    counts: &[usize],
) -> FloatTensor<B> {
    let outputs = occupied(counts)
        .map(|(group, range)| {
            B::float_matmul(rows_of::<B>(&rows, range), matrix_of::<B>(&weight, group))
        })
        .collect();
    B::float_cat(outputs, 0)
}

/// Gradient of the rows: `[rows, out] x [groups, in, out]^T -> [rows, in]`
pub(super) fn rows_gradient<B: Backend>(
    grad: &FloatTensor<B>,
    weight: FloatTensor<B>,
    counts: &[usize],
) -> FloatTensor<B> {
    forward::<B>(grad.clone(), B::float_swap_dims(weight, 1, 2), counts)
}

/// Gradient of the weight: per group `[rows, in]^T x [rows, out] -> [in, out]`, zero where a group
/// has no rows.
pub(super) fn weight_gradient<B: Backend>(
    grad: &FloatTensor<B>,
    rows: FloatTensor<B>,
    counts: &[usize],
) -> FloatTensor<B> {
    let [_, d_in] = rows.shape().dims();
    let [_, d_out] = grad.shape().dims();
    let matrix = Shape::new([1, d_in, d_out]);
    let zeros = || B::float_zeros(matrix.clone(), &grad.device(), grad.dtype().into());
    let mut groups: Vec<_> = counts.iter().map(|_| None).collect();
    for (group, range) in occupied(counts) {
        let x = B::float_swap_dims(rows_of::<B>(&rows, range.clone()), 0, 1);
        let product = B::float_matmul(x, rows_of::<B>(grad, range));
        groups[group] = Some(B::float_reshape(product, matrix.clone()));
    }
    B::float_cat(
        groups
            .into_iter()
            .map(|group| group.unwrap_or_else(zeros))
            .collect(),
        0,
    )
}
