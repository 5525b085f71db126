//! Flex, Burn's pure Rust CPU backend.
//!
//! All is computed as `f32`; rows of other dtypes are widened as a whole, matrices tile by tile.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::DType;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::LinearBackend;
use crate::ops::flex::matrices::{Factor, Matrices, MatrixMut};
use crate::ops::flex::{Matrix, floats, fresh_product, narrowed};

/// Rows whose sums are one term of the gradient of a bias, whatever the number of threads.
const CHUNK: usize = 256;

/// Columns of a product that are computed together.
const TILE: usize = 256;

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
        let grads = floats(&grad);
        let out = match weight.dtype() {
            DType::F32 => {
                let values = floats(&weight);
                let weight = Matrix::new(&values, weight.shape().dims()).transposed();
                fresh_product(Matrix::new(&grads, grad.shape().dims()), weight, None)
            }
            _ => tiles(&grads, rows, &Matrices::single(&weight).transposed(), None),
        };
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
    let values = floats(x);
    let out = match weight.dtype() {
        DType::F32 => {
            let weights = floats(weight);
            let left = Matrix::new(&values, x.shape().dims());
            let right = Matrix::new(&weights, weight.shape().dims());
            fresh_product(left, right, bias)
        }
        _ => tiles(&values, rows, &Matrices::single(weight), bias),
    };
    narrowed(out, [rows, d_output], x.dtype())
}

/// The product with a matrix of 16-bit floats, of which there is never a copy as a whole.
fn tiles(values: &[f32], n_rows: usize, matrix: &Matrices<'_>, bias: Option<&[f32]>) -> Vec<f32> {
    let width = matrix.width();
    let mut out = vec![0.0; n_rows * width];
    let rows = Factor::new(values, values.len() / n_rows.max(1), matrix);
    let tiles = MatrixMut::new(&mut out, width).into_tiles(TILE);
    tiles
        .into_par_iter()
        .for_each_init(Vec::new, |scratch, (columns, mut tile)| {
            let bias = bias.map(|bias| &bias[columns.clone()]);
            matrix.multiply(0, &rows, columns, bias, &mut tile, scratch);
        });
    out
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
