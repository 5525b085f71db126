//! Transposition of byte matrices.

use crate::parallel::for_each;

use super::StoredTensor;

/// Rows and columns that are turned together: 4 KiB stay in the cache.
const TILE: usize = 64;

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
            for_each(tiles, |(tile, out)| turn(matrix, columns, tile * TILE, out));
        });
    }
    let mut shape = leading.to_vec();
    shape.extend([columns, rows]);
    StoredTensor::new(shape, out)
}

/// Turns the columns of `matrix` from `start` into the rows of `out`.
fn turn(matrix: &[u8], columns: usize, start: usize, out: &mut [u8]) {
    let rows = matrix.len() / columns;
    for first in (0..rows).step_by(TILE) {
        let last = rows.min(first + TILE);
        for (column, out) in out.chunks_exact_mut(rows).enumerate() {
            let source = matrix[first * columns + start + column..].iter();
            for (out, &byte) in out[first..last].iter_mut().zip(source.step_by(columns)) {
                *out = byte;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_goes_where_it_belongs() {
        for [n, rows, columns] in [[1, 1, 1], [2, 3, 5], [3, 64, 65], [2, 130, 63], [2, 0, 4]] {
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
