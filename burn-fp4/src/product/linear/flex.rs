//! Flex, Burn's pure Rust CPU backend.
//!
//! All is computed as `f32`; rows of other dtypes are widened as a whole, matrices tile by tile.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::DType;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::LinearBackend;
use crate::product::flex::matrices::{Matrices, PreparedRows};
use crate::product::flex::matrix::{Matrix, MatrixMut};
use crate::product::flex::product::fresh_product;
use crate::product::flex::{floats, narrowed};
use crate::product::operand::OperandPrimitive;

/// Rows whose sums are one term of the gradient of a bias, whatever the number of threads.
const CHUNK: usize = 256;

/// Columns of a product that are computed together.
const TILE: usize = 256;

impl LinearBackend for Flex {
    fn linear_plain(x: FloatTensor<Self>, weight: OperandPrimitive<Self>) -> FloatTensor<Self> {
        multiply(&x, &weight, None, false)
    }

    fn linear_with_bias(
        x: FloatTensor<Self>,
        weight: OperandPrimitive<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        multiply(&x, &weight, Some(&floats(&bias)), false)
    }

    fn linear_backward(
        grad: FloatTensor<Self>,
        weight: OperandPrimitive<Self>,
    ) -> FloatTensor<Self> {
        multiply(&grad, &weight, None, true)
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

/// Rows times a weight, or times the transposed one.
fn multiply(
    rows: &FlexTensor,
    weight: &OperandPrimitive<Flex>,
    bias: Option<&[f32]>,
    transposed: bool,
) -> FlexTensor {
    let shape: [usize; 2] = rows.shape().dims();
    let values = floats(rows);
    let (out, width) = match weight {
        OperandPrimitive::Dense(weight) if weight.dtype() == DType::F32 => {
            let weights = floats(weight);
            let matrix = Matrix::new(&weights, weight.shape().dims());
            let matrix = if transposed {
                matrix.transposed()
            } else {
                matrix
            };
            let out = fresh_product(Matrix::new(&values, shape), matrix, bias);
            (out, matrix.shape()[1])
        }
        weight => {
            let matrix = Matrices::new(weight);
            let matrix = if transposed {
                matrix.transposed()
            } else {
                matrix
            };
            (tiles(&values, shape, &matrix, bias), matrix.width())
        }
    };
    narrowed(out, [shape[0], width], rows.dtype())
}

/// The product with a matrix in a narrower form, of which there is never a copy as a whole.
fn tiles(
    values: &[f32],
    [n_rows, d_input]: [usize; 2],
    matrix: &Matrices<'_>,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let width = matrix.width();
    let mut out = vec![0.0; n_rows * width];
    let rows = PreparedRows::new(values, d_input, matrix);
    let tiles = MatrixMut::new(&mut out, [n_rows, width]).into_tiles(TILE);
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
