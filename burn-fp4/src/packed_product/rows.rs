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
    /// Rows as they are: products have the precision of `f32`.
    ///
    /// # Shapes
    ///
    /// - values: `[n, d_input]`, row-major
    ///
    /// # Panics
    ///
    /// If `values` is not whole rows.
    pub fn exact(values: &[f32], d_input: usize) -> Self {
        Self {
            n_rows: n_rows(values, d_input),
            d_input,
            prepared: Prepared::exact(values, d_input),
        }
    }

    /// Rows in blocks of 8 integers of eight bits with one `f32` scale, the largest magnitude over 127:
    /// faster, less precise.
    ///
    /// Rounding is to nearest, ties to even, and changes an element by at most a 254th of the
    /// largest magnitude of its block, 0.3 % of a normally distributed one in the root mean square;
    /// llama.cpp's Q8_0 is the same in blocks of 32, with 0.5 %. The product of the integers with the codes
    /// of a block is exact. Products with a row that has an infinite or NaN element are NaN.
    ///
    /// # Shapes
    ///
    /// - values: `[n, d_input]`, row-major
    ///
    /// # Panics
    ///
    /// If `values` is not whole rows.
    pub fn int8_blocks(values: &[f32], d_input: usize) -> Self {
        Self {
            n_rows: n_rows(values, d_input),
            d_input,
            prepared: Prepared::int8(values, d_input),
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

    /// All representations for all instruction sets that this processor has, those of [`exact`](Self::exact)
    /// first.
    #[cfg(test)]
    pub(super) fn all(values: &[f32], d_input: usize) -> [Vec<Self>; 2] {
        let n_rows = n_rows(values, d_input);
        Prepared::all(values, d_input).map(|all| {
            let rows = all.into_iter().map(|prepared| Self {
                n_rows,
                d_input,
                prepared,
            });
            rows.collect()
        })
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
