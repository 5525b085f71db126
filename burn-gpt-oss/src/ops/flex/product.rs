//! Products of float32 matrices that are anywhere in memory.

use std::ops::Range;

use rayon::prelude::*;

/// Multiply-adds above which a product is worth more than one thread; Flex draws the line there, too.
const PARALLEL: usize = 192 * 192 * 192;

/// Multiply-adds of a block of rows, if there are blocks: enough for a thread to be worth it.
const BLOCK: usize = 1 << 21;

/// A product of more blocks than this is divided by the product itself.
const PARALLEL_BLOCKS: usize = 64;

/// Rows of a block are a multiple of this.
const BLOCK_ROWS: usize = 16;

/// A matrix with any strides.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    shape: [usize; 2],
    strides: [usize; 2],
}

/// A matrix with consecutive columns that is written.
pub(crate) struct MatrixMut<'a> {
    values: &'a mut [f32],
    shape: [usize; 2],
    row_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix.
    pub fn new(values: &'a [f32], shape: [usize; 2]) -> Self {
        Self::with_strides(values, shape, [shape[1], 1])
    }

    /// A matrix whose element `[i, j]` is `values[i * strides[0] + j * strides[1]]`.
    pub fn with_strides(values: &'a [f32], shape: [usize; 2], strides: [usize; 2]) -> Self {
        assert!(extent(shape, strides) <= values.len(), "matrix in bounds");
        Self {
            values,
            shape,
            strides,
        }
    }

    pub fn transposed(self) -> Self {
        let ([rows, columns], [row, column]) = (self.shape, self.strides);
        Self {
            values: self.values,
            shape: [columns, rows],
            strides: [column, row],
        }
    }

    pub fn rows(self, range: Range<usize>) -> Self {
        self.transposed().columns(range).transposed()
    }

    pub fn columns(self, range: Range<usize>) -> Self {
        assert!(range.end <= self.shape[1], "columns in bounds");
        let start = (range.start * self.strides[1]).min(self.values.len());
        Self::with_strides(
            &self.values[start..],
            [self.shape[0], range.len()],
            self.strides,
        )
    }
}

impl<'a> MatrixMut<'a> {
    /// A row-major matrix.
    pub fn new(values: &'a mut [f32], shape: [usize; 2]) -> Self {
        assert_eq!(values.len(), shape[0] * shape[1], "elements of a matrix");
        Self {
            values,
            shape,
            row_stride: shape[1],
        }
    }

    /// The same matrix for a shorter time.
    pub fn reborrow(&mut self) -> MatrixMut<'_> {
        self.columns(0..self.shape[1])
    }

    pub fn columns(&mut self, range: Range<usize>) -> MatrixMut<'_> {
        assert!(range.end <= self.shape[1], "columns in bounds");
        let start = range.start.min(self.values.len());
        MatrixMut {
            values: &mut self.values[start..],
            shape: [self.shape[0], range.len()],
            row_stride: self.row_stride,
        }
    }
}

/// Elements from the first to behind the last.
fn extent(shape: [usize; 2], strides: [usize; 2]) -> usize {
    match shape {
        [0, _] | [_, 0] => 0,
        [rows, columns] => (rows - 1) * strides[0] + (columns - 1) * strides[1] + 1,
    }
}

/// `out = lhs rhs`, or `out += lhs rhs`; the sum over the inner axis does not depend on the number of
/// threads.
#[allow(unsafe_code)]
pub(crate) fn product(out: MatrixMut<'_>, lhs: Matrix<'_>, rhs: Matrix<'_>, add: bool) {
    let ([m, k], [inner, n]) = (lhs.shape, rhs.shape);
    assert_eq!(k, inner, "inner axes of a product");
    assert_eq!(out.shape, [m, n], "shape of a product");
    assert!(extent(out.shape, [out.row_stride, 1]) <= out.values.len());
    // SAFETY: `out` has that extent and is borrowed exclusively.
    unsafe { multiply(out.values.as_mut_ptr(), out.row_stride, lhs, rhs, add) }
}

/// `lhs rhs`, with `bias` added to every row, row after row. Memory is written once; where a product is too
/// small for threads to share its parts, they share its rows, in blocks that do not depend on their number.
#[allow(unsafe_code)]
pub(crate) fn fresh_product(lhs: Matrix<'_>, rhs: Matrix<'_>, bias: Option<&[f32]>) -> Vec<f32> {
    let ([m, k], [inner, n]) = (lhs.shape, rhs.shape);
    assert_eq!(k, inner, "inner axes of a product");
    assert!(bias.is_none_or(|bias| bias.len() == n), "length of a bias");
    let mut out = Vec::<f32>::with_capacity(m * n);
    if m * n == 0 {
        return out;
    }
    let n_block = block_rows(m, n * k);
    let blocks = out.spare_capacity_mut()[..m * n].par_chunks_mut(n_block * n);
    blocks.enumerate().for_each(|(i, block)| {
        let first = i * n_block;
        let rows = lhs.rows(first..first + block.len() / n);
        let add = k == 0 || bias.is_some();
        if add {
            let zeros = vec![0.0; if bias.is_none() { n } else { 0 }];
            let bias = bias.unwrap_or(&zeros);
            block.par_chunks_mut(n).with_min_len(64).for_each(|row| {
                for (out, value) in row.iter_mut().zip(bias) {
                    out.write(*value);
                }
            });
        }
        // SAFETY: the block has `rows` times `n` elements. They are written before they are read: by the
        // loop above if they are added to, else by the product.
        unsafe { multiply(block.as_mut_ptr().cast(), n, rows, rhs, add) }
    });
    // SAFETY: the blocks have written all elements.
    unsafe { out.set_len(m * n) };
    out
}

/// Rows of a block of a product with `m` rows that take `work` multiply-adds each.
fn block_rows(m: usize, work: usize) -> usize {
    if m * work >= PARALLEL_BLOCKS * BLOCK {
        return m;
    }
    let rows = (BLOCK / work.max(1)).next_multiple_of(BLOCK_ROWS);
    rows.clamp(BLOCK_ROWS, m.max(BLOCK_ROWS))
}

/// The elements of `out` are written if `add` is not set, else read, too.
///
/// # Safety
/// `out` must be valid for `lhs` rows, `stride` apart, of as many elements as `rhs` has columns.
#[allow(unsafe_code)]
unsafe fn multiply(out: *mut f32, stride: usize, lhs: Matrix<'_>, rhs: Matrix<'_>, add: bool) {
    let ([m, k], [_, n]) = (lhs.shape, rhs.shape);
    let parallelism = if m * n * k < PARALLEL {
        gemm::Parallelism::None
    } else {
        gemm::Parallelism::Rayon(0)
    };
    let signed = |stride: usize| stride as isize;
    // SAFETY: `extent` of both factors is within their slices, and `out` as the caller promises.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out,
            1,
            signed(stride),
            add,
            lhs.values.as_ptr(),
            signed(lhs.strides[1]),
            signed(lhs.strides[0]),
            rhs.values.as_ptr(),
            signed(rhs.strides[1]),
            signed(rhs.strides[0]),
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}
