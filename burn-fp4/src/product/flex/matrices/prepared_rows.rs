//! Products of rows with columns of a stored matrix.

use std::ops::Range;

use super::{Matrices, Stored};
use crate::product::bf16_product::bf16_product;
use crate::product::flex::matrix::{Matrix, MatrixMut};
use crate::product::flex::product::multiply;
use crate::product::packed_product::ProductRows;

/// So many rows are multiplied with a matrix as it is stored, more with its tiles in `f32`: decoding a
/// tile costs as much as the product with it by about that many.
const FEW: usize = 24;

/// Rows that multiply with matrices of one kind.
pub(crate) struct PreparedRows<'a> {
    values: &'a [f32],
    width: usize,
    /// For packed matrices, if there are few rows.
    prepared: Option<ProductRows>,
}

impl<'a> PreparedRows<'a> {
    /// Row-major rows for products with `matrices`.
    pub(crate) fn new(values: &'a [f32], width: usize, matrices: &Matrices<'_>) -> Self {
        let few = values.len() <= FEW * width;
        let prepared = matrices.is_packed_by_outputs() && few;
        Self {
            values,
            width,
            prepared: prepared.then(|| ProductRows::new(values, width)),
        }
    }

    fn n_rows(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }
}

impl Matrices<'_> {
    /// `rows x columns (+ bias)` of the matrix of one expert; the bounds of `columns` are multiples of
    /// the block size of packed matrices. `bias` has an element per column.
    pub(crate) fn multiply(
        &self,
        expert: usize,
        rows: &PreparedRows<'_>,
        columns: Range<usize>,
        bias: Option<&[f32]>,
        out: &mut MatrixMut<'_>,
        scratch: &mut Vec<f32>,
    ) {
        if self.multiply_stored(expert, rows, columns.clone(), out, scratch) {
            for row in 0..bias.map_or(0, |_| rows.n_rows()) {
                let biases = bias.unwrap_or_default();
                out.row(row)
                    .iter_mut()
                    .zip(biases)
                    .for_each(|(out, bias)| *out += bias);
            }
            return;
        }
        if let Some(bias) = bias {
            for row in 0..rows.n_rows() {
                out.row(row).copy_from_slice(bias);
            }
        }
        let left = Matrix::row_major(rows.values, rows.width);
        let right = self.tile(expert, columns, scratch);
        multiply(out, left, right, bias.is_some());
    }

    /// The product with the matrix as it is, if its columns lie one behind the other and rows are few.
    fn multiply_stored(
        &self,
        expert: usize,
        rows: &PreparedRows<'_>,
        columns: Range<usize>,
        out: &mut MatrixMut<'_>,
        scratch: &mut Vec<f32>,
    ) -> bool {
        let n_columns = columns.len();
        let run: &dyn Fn(&mut [f32]) = match (&self.stored, &rows.prepared) {
            (Stored::Packed(packed), Some(prepared)) => {
                &|out: &mut [f32]| packed.product(expert, prepared, columns.clone(), out)
            }
            (Stored::Bf16(dense), _) if rows.n_rows() <= FEW => {
                match dense.columns(expert, columns.clone(), self.transposed) {
                    Some(values) => {
                        &move |out: &mut [f32]| bf16_product(rows.values, values, rows.width, out)
                    }
                    None => return false,
                }
            }
            _ => return false,
        };
        if rows.n_rows() == 1 {
            run(out.row(0));
            return true;
        }
        scratch.resize(rows.n_rows() * n_columns, 0.0);
        run(scratch);
        for (row, values) in scratch.chunks_exact(n_columns).enumerate() {
            out.row(row).copy_from_slice(values);
        }
        true
    }
}
