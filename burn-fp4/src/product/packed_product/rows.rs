//! Activations, prepared for products.

use super::prepared::Prepared;

/// Rows `[n, d_input]` of activations in the order in which the processor multiplies them, prepared
/// once for products with any number of matrices.
///
/// Products take rows four at a time; from some tens of rows on, a product with a decoded matrix is
/// faster.
pub struct ProductRows {
    n_rows: usize,
    d_input: usize,
    prepared: Prepared,
}

impl ProductRows {
    /// Rows for products in the precision of `f32`.
    ///
    /// # Shapes
    ///
    /// - values: `[n, d_input]`, row-major
    ///
    /// # Panics
    ///
    /// If `values` is not whole rows.
    pub fn new(values: &[f32], d_input: usize) -> Self {
        Self {
            n_rows: n_rows(values, d_input),
            d_input,
            prepared: Prepared::new(values, d_input),
        }
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Elements of a row.
    pub fn d_input(&self) -> usize {
        self.d_input
    }

    /// Rows for each of the instruction sets that this processor has.
    #[cfg(test)]
    pub(super) fn all(values: &[f32], d_input: usize) -> Vec<Self> {
        let n_rows = n_rows(values, d_input);
        let rows = Prepared::all(values, d_input).into_iter();
        let rows = rows.map(|prepared| Self {
            n_rows,
            d_input,
            prepared,
        });
        rows.collect()
    }

    pub(super) fn prepared(&self) -> &Prepared {
        &self.prepared
    }
}

/// Rows of no elements count as none.
fn n_rows(values: &[f32], d_input: usize) -> usize {
    if values.is_empty() {
        return 0;
    }
    assert!(
        d_input > 0 && values.len().is_multiple_of(d_input),
        "{} values are not rows of {d_input}",
        values.len()
    );
    values.len() / d_input
}
