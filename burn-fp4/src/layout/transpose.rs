//! Transposition of byte matrices.
// Adaptors of iterators are not always inlined, and these loops are short.
#![allow(clippy::needless_range_loop)]

use crate::codec::nibbles::{self, SQUARES};
use crate::parallel::for_each;
use crate::simd::{Kernel, dispatch};

use super::StoredTensor;

/// Rows and columns that are turned together: 4 KiB stay in the cache.
const TILE: usize = 64;
/// Bytes of a row that are turned by vectors.
const WIDTH: usize = 8 * SQUARES;

/// Swaps the last two axes: `[.., rows, columns]` to `[.., columns, rows]`.
///
/// # Panics
///
/// If there are less than two axes or another number of bytes than the shape says.
pub(super) fn swap_last_axes(shape: &[usize], bytes: &[u8]) -> StoredTensor {
    let (leading, &[rows, columns]) = shape.split_at(shape.len() - 2) else {
        unreachable!("split two from the end");
    };
    assert_eq!(bytes.len(), shape.iter().product::<usize>());
    let mut out = vec![0; bytes.len()];
    if !out.is_empty() {
        let matrices = out.chunks_mut(rows * columns);
        let matrices = matrices.zip(bytes.chunks(rows * columns));
        for_each(matrices, |(out, matrix)| {
            let tiles = out.chunks_mut(TILE * rows).enumerate();
            for_each(tiles, |(tile, out)| {
                dispatch(Turn {
                    matrix,
                    columns,
                    start: tile * TILE,
                    out,
                });
            });
        });
    }
    let mut shape = leading.to_vec();
    shape.extend([columns, rows]);
    StoredTensor::new(shape, out)
}

/// Columns of a matrix that become rows of `out`.
struct Turn<'a> {
    matrix: &'a [u8],
    columns: usize,
    /// The first column.
    start: usize,
    out: &'a mut [u8],
}

impl Kernel for Turn<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let rows = self.matrix.len() / self.columns;
        let columns = self.out.len() / rows;
        for first in (0..rows).step_by(TILE) {
            let last = rows.min(first + TILE);
            for column in (0..columns).step_by(WIDTH) {
                let width = WIDTH.min(columns - column);
                for row in (first..last).step_by(8) {
                    let height = 8.min(last - row);
                    let mut squares = [[0; SQUARES]; 8];
                    for i in 0..height {
                        let start = (row + i) * self.columns + self.start + column;
                        read(&self.matrix[start..start + width], &mut squares[i]);
                    }
                    nibbles::transpose(&mut squares);
                    for i in 0..width {
                        let turned = squares[i % 8][i / 8].to_le_bytes();
                        let start = (column + i) * rows + row;
                        let out = &mut self.out[start..start + height];
                        match out.first_chunk_mut() {
                            Some(out) => *out = turned,
                            None => out.copy_from_slice(&turned[..height]),
                        }
                    }
                }
            }
        }
    }
}

/// Up to [`WIDTH`] bytes of a row of the matrix.
#[inline(always)]
fn read(bytes: &[u8], row: &mut [u64; SQUARES]) {
    let mut all = [0; WIDTH];
    match bytes.first_chunk() {
        Some(whole) => all = *whole,
        None => all[..bytes.len()].copy_from_slice(bytes),
    }
    for square in 0..SQUARES {
        row[square] = u64::from_le_bytes(all.as_chunks().0[square]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_goes_where_it_belongs() {
        for [n, rows, columns] in [
            [1, 1, 1],
            [2, 3, 5],
            [3, 64, 65],
            [2, 130, 63],
            [2, 77, 201],
            [2, 0, 4],
        ] {
            let byte = |i: usize| (i * 7 + i / 251) as u8;
            let bytes: Vec<u8> = (0..n * rows * columns).map(byte).collect();
            let turned = swap_last_axes(&[n, rows, columns], &bytes);
            assert_eq!(turned.shape, [n, columns, rows]);
            for (i, &found) in turned.data.iter().enumerate() {
                let (row, column) = (i % rows, i / rows % columns);
                let matrix = i / (rows * columns);
                assert_eq!(found, byte((matrix * rows + row) * columns + column));
            }
        }
    }
}
