//! Products of rows with columns of a stored matrix.

use std::ops::Range;

use super::{Matrices, Matrix, MatrixMut, multiply};

/// Rows that multiply with matrices of one kind.
pub(in crate::ops) struct Factor<'a> {
    rows: Matrix<'a>,
}

impl<'a> Factor<'a> {
    /// Row-major rows.
    pub(in crate::ops) fn new(values: &'a [f32], width: usize) -> Self {
        Self {
            rows: Matrix::row_major(values, width),
        }
    }

    pub(in crate::ops) fn n_rows(&self) -> usize {
        self.rows.shape()[0]
    }
}

impl Matrices<'_> {
    /// `rows x columns (+ bias)` of the matrix of one expert; the bounds of `columns` are multiples of
    /// the block size of packed matrices. `bias` has an element per column.
    pub(in crate::ops) fn multiply(
        &self,
        expert: usize,
        rows: &Factor<'_>,
        columns: Range<usize>,
        bias: Option<&[f32]>,
        out: &mut MatrixMut<'_, f32>,
        scratch: &mut Vec<f32>,
    ) {
        if let Some(bias) = bias {
            for row in 0..rows.n_rows() {
                out.row(row).copy_from_slice(bias);
            }
        }
        let right = self.tile(expert, columns, scratch);
        multiply(out, rows.rows, right, bias.is_some());
    }
}
