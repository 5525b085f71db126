//! Flex, Burn's pure Rust CPU backend.
//!
//! All is computed as `f32`; other dtypes are widened as a whole.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::LinearBackend;
use crate::ops::flex::{Matrix, floats, fresh_product, narrowed};

/// Rows whose sums are one term of the gradient of a bias, whatever the number of threads.
const CHUNK: usize = 256;

impl LinearBackend for Flex {
    fn linear_plain(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        multiply(&x, &weight, None)
    }

    fn linear_with_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        multiply(&x, &weight, Some(&floats(&bias)))
    }

    fn linear_backward(grad: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let ([rows, _], [d_input, _]) = (grad.shape().dims(), weight.shape().dims::<2>());
        let (grads, values) = (floats(&grad), floats(&weight));
        let weight = Matrix::new(&values, weight.shape().dims()).transposed();
        let out = fresh_product(Matrix::new(&grads, grad.shape().dims()), weight, None);
        narrowed(out, [rows, d_input], grad.dtype())
    }

    fn linear_weight_gradient(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        let ([_, d_input], [_, d_output]) = (x.shape().dims::<2>(), grad.shape().dims::<2>());
        let (values, grads) = (floats(&x), floats(&grad));
        let left = Matrix::new(&values, x.shape().dims()).transposed();
        let out = fresh_product(left, Matrix::new(&grads, grad.shape().dims()), None);
        narrowed(out, [d_input, d_output], x.dtype())
    }

    fn linear_bias_gradient(grad: FloatTensor<Self>) -> FloatTensor<Self> {
        let [_, width] = grad.shape().dims();
        let sums = column_sums(&floats(&grad), width);
        narrowed(sums, [width], grad.dtype())
    }
}

fn multiply(x: &FlexTensor, weight: &FlexTensor, bias: Option<&[f32]>) -> FlexTensor {
    let ([rows, _], [_, d_output]) = (x.shape().dims(), weight.shape().dims::<2>());
    let (values, weights) = (floats(x), floats(weight));
    let left = Matrix::new(&values, x.shape().dims());
    let right = Matrix::new(&weights, weight.shape().dims());
    narrowed(
        fresh_product(left, right, bias),
        [rows, d_output],
        x.dtype(),
    )
}

/// The sums of chunks of rows, and the sum of these.
fn column_sums(values: &[f32], width: usize) -> Vec<f32> {
    let chunks = values.par_chunks((CHUNK * width).max(1));
    let sums = chunks.map(|rows| added_up(rows.chunks(width), width));
    let sums = sums.collect::<Vec<_>>();
    added_up(sums.iter().map(Vec::as_slice), width)
}

fn added_up<'a>(rows: impl Iterator<Item = &'a [f32]>, width: usize) -> Vec<f32> {
    let mut sums = vec![0.0; width];
    for row in rows {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
    sums
}
