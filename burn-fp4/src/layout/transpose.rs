//! Transposition of byte matrices.

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
                let columns = column..columns.min(column + WIDTH);
                for row in (first..last).step_by(8) {
                    let lines = self.matrix[row * self.columns..].chunks(self.columns);
                    let lines = lines.map(|line| &line[self.start..][columns.clone()]);
                    let squares = squares(lines.take(last - row));
                    let out = self.out[column * rows..].chunks_mut(rows);
                    let out = out.take(columns.len());
                    for (turned, out) in turned_rows(&squares).zip(out) {
                        match out[row..last].first_chunk_mut() {
                            Some(out) => *out = turned,
                            None => out[row..last].copy_from_slice(&turned[..last - row]),
                        }
                    }
                }
            }
        }
    }
}

/// At most eight lines of at most [`WIDTH`] bytes, turned; zeros where there are none.
#[inline(always)]
fn squares<'a>(lines: impl Iterator<Item = &'a [u8]>) -> nibbles::Rows {
    let mut rows = [[0; SQUARES]; 8];
    for (row, line) in rows.iter_mut().zip(lines) {
        let mut bytes = [0; WIDTH];
        match line.first_chunk() {
            Some(whole) => bytes = *whole,
            None => bytes[..line.len()].copy_from_slice(line),
        }
        for (word, bytes) in row.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
    }
    nibbles::transpose(&mut rows);
    rows
}

/// The rows of all squares, one square after the other.
#[inline(always)]
fn turned_rows(squares: &nibbles::Rows) -> impl Iterator<Item = [u8; 8]> {
    let square = |square: usize| squares.iter().map(move |row| row[square].to_le_bytes());
    (0..SQUARES).flat_map(square)
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
