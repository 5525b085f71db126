//! Products of `f32` matrices that are anywhere in memory.
#![allow(unsafe_code)]

use rayon::prelude::*;

use super::matrix::{Matrix, MatrixMut};

/// Multiply-adds above which a product is worth more than one thread; Flex draws the line there, too.
const PARALLEL: usize = 192 * 192 * 192;

/// Multiply-adds of a block of rows, if there are blocks: enough for a thread to be worth it.
const BLOCK: usize = 1 << 21;

/// A product of more blocks than this is divided by the product itself.
const PARALLEL_BLOCKS: usize = 64;

/// Rows of a block are a multiple of this.
const BLOCK_ROWS: usize = 16;

/// `out = lhs rhs`, or `out += lhs rhs`; the sum over the inner axis does not depend on the number of
/// threads.
///
/// # Panics
/// If the shapes do not fit together.
pub fn product(mut out: MatrixMut<'_>, lhs: Matrix<'_>, rhs: Matrix<'_>, add: bool) {
    let parallelism = parallelism(lhs, rhs);
    write(&mut out, lhs, rhs, add, parallelism);
}

/// [`product`] on the calling thread.
///
/// # Panics
/// If the shapes do not fit together.
pub(crate) fn multiply(out: &mut MatrixMut<'_>, lhs: Matrix<'_>, rhs: Matrix<'_>, add: bool) {
    write(out, lhs, rhs, add, gemm::Parallelism::None);
}

fn write(
    out: &mut MatrixMut<'_>,
    lhs: Matrix<'_>,
    rhs: Matrix<'_>,
    add: bool,
    parallelism: gemm::Parallelism,
) {
    let ([m, k], [inner, n]) = (lhs.shape(), rhs.shape());
    assert_eq!(k, inner, "inner axes of a product");
    assert_eq!(out.shape(), [m, n], "shape of a product");
    // SAFETY: `out` has that shape and is borrowed exclusively.
    unsafe { gemm(out.as_mut_ptr(), out.stride(), lhs, rhs, add, parallelism) }
}

/// `lhs rhs`, with `bias` added to every row, row after row. Memory is written once; where a product is too
/// small for threads to share its parts, they share its rows, in blocks that do not depend on their number.
pub(crate) fn fresh_product(lhs: Matrix<'_>, rhs: Matrix<'_>, bias: Option<&[f32]>) -> Vec<f32> {
    let ([m, k], [inner, n]) = (lhs.shape(), rhs.shape());
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
        let block = block.as_mut_ptr().cast();
        // SAFETY: the block has `rows` times `n` elements. They are written before they are read: by the
        // loop above if they are added to, else by the product.
        unsafe { gemm(block, n, rows, rhs, add, parallelism(rows, rhs)) }
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

fn parallelism(lhs: Matrix<'_>, rhs: Matrix<'_>) -> gemm::Parallelism {
    let ([m, k], [_, n]) = (lhs.shape(), rhs.shape());
    match m * n * k < PARALLEL {
        true => gemm::Parallelism::None,
        false => gemm::Parallelism::Rayon(0),
    }
}

/// The elements of `out` are written if `add` is not set, else read, too.
///
/// # Safety
/// `out` must be valid for `lhs` rows, `stride` apart, of as many elements as `rhs` has columns.
unsafe fn gemm(
    out: *mut f32,
    stride: usize,
    lhs: Matrix<'_>,
    rhs: Matrix<'_>,
    add: bool,
    parallelism: gemm::Parallelism,
) {
    let ([m, k], [_, n]) = (lhs.shape(), rhs.shape());
    let signed = |strides: [usize; 2]| strides.map(|stride| stride as isize);
    let [lhs_down, lhs_right] = signed(lhs.strides());
    let [rhs_down, rhs_right] = signed(rhs.strides());
    let [out_down, out_right] = signed([stride, 1]);
    // SAFETY: a matrix is within its slice, and `out` as the caller promises.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out,
            out_right,
            out_down,
            add,
            lhs.as_ptr(),
            lhs_right,
            lhs_down,
            rhs.as_ptr(),
            rhs_right,
            rhs_down,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}
