//! Products of a few rows with FP4 matrices that stay packed, on the CPU.
//!
//! Text generation multiplies one row, or a handful, with every weight. The time of such a product is
//! the time of reading the weight, so the weight is read as it is stored, a quarter of its size in
//! 16-bit floats, and decoded in registers.
//!
//! Instruction sets differ in the order in which they add, nothing else.

pub(super) mod matrix;
mod nibble_rows;
mod prepared;
mod rows;
mod task;

use std::ops::Range;

pub use matrix::PackedMatrix;
pub use rows::ProductRows;

use task::Task;

/// `out = rows matrix^T` for some of the rows of the matrix, on the calling thread.
///
/// Element `[r, o]` is the sum of `rows[r, i] * matrix[o, i]` over `i`, added up in `f32`: the error is
/// the rounding of the products and of their sum. It is NaN if the matrix has a scale byte in row `o` that means NaN.
///
/// Threads that share a product call this with parts of `0..matrix.d_output()`; no sum depends on
/// what the parts are.
///
/// # Shapes
///
/// - rows: `[n, d_input]`
/// - matrix: `[d_output, d_input]`
/// - out: `[n, outputs.len()]`, overwritten
///
/// # Panics
///
/// If `rows` and `matrix` do not have the same `d_input`, `outputs` is not within `d_output`, or `out`
/// does not have that shape.
pub fn packed_product(
    rows: &ProductRows,
    matrix: &PackedMatrix<'_>,
    outputs: Range<usize>,
    out: &mut [f32],
) {
    assert_eq!(rows.d_input(), matrix.d_input(), "inner axes of a product");
    assert!(outputs.end <= matrix.d_output(), "outputs in bounds");
    assert_eq!(
        out.len(),
        rows.n_rows() * outputs.len(),
        "elements of a product"
    );
    if out.is_empty() {
        return;
    }
    rows.prepared().multiply(Task::new(matrix, outputs, out));
}

#[cfg(test)]
mod tests;
