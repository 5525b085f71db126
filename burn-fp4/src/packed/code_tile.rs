//! Codes on their way between rows and columns.
//!
//! Where the block axis is not the last, neighbouring elements belong to different blocks, but their
//! codes are stored block by block. A tile holds the codes of 32 rows, two rows to a byte: in the
//! packed form 16 consecutive bytes of every column.

use crate::codec::nibbles::{Rows, SQUARES, transpose};
use crate::simd::prefetch;

/// Rows of elements in a tile: one block of MXFP4, two of NVFP4.
pub(super) const TILE_ROWS: usize = 32;
/// Columns in a tile: so many that rows are long runs of memory, so few that its rows and the lines
/// its columns are written to stay in the cache.
pub(super) const TILE_COLUMNS: usize = 2048;

/// Columns that are turned together.
const GROUP: usize = 8 * SQUARES;

/// Bytes of two rows of elements.
pub(super) type ByteRow = [u8; TILE_COLUMNS];

/// The codes of up to [`TILE_ROWS`] rows and [`TILE_COLUMNS`] columns.
pub(super) struct CodeTile {
    /// Byte `c` of row `r` holds the codes of the rows `2r` and `2r + 1` in column `c`.
    pub rows: [ByteRow; TILE_ROWS / 2],
}

impl CodeTile {
    /// An empty tile.
    pub const ZERO: Self = Self {
        rows: [[0; TILE_COLUMNS]; TILE_ROWS / 2],
    };

    /// Writes the first `n_rows` byte rows, a multiple of eight, to the starts of the columns of
    /// `codes`, which are `stride` bytes apart.
    #[inline(always)]
    pub fn store(&self, n_rows: usize, codes: &mut [u8], stride: usize) {
        for group in 0..codes.len().div_ceil(GROUP * stride) {
            prefetch_columns(codes, group + 1, stride);
            for part in 0..n_rows / 8 {
                let mut squares: Rows = [[0; SQUARES]; 8];
                for (squares, row) in squares.iter_mut().zip(&self.rows[part * 8..]) {
                    let bytes = row[group * GROUP..][..GROUP].as_chunks::<8>().0;
                    for (square, bytes) in squares.iter_mut().zip(bytes) {
                        *square = u64::from_le_bytes(*bytes);
                    }
                }
                transpose(&mut squares);
                let mut start = group * GROUP * stride + part * 8;
                for column in 0..GROUP {
                    // Missing columns of the last group begin beyond the end.
                    if let Some(codes) = codes.get_mut(start..start + 8) {
                        let square = squares[column % 8][column / 8];
                        codes.copy_from_slice(&square.to_le_bytes());
                    }
                    start += stride;
                }
            }
        }
    }

    /// The inverse of [`store`](Self::store).
    #[inline(always)]
    pub fn load(&mut self, n_rows: usize, codes: &[u8], stride: usize) {
        for group in 0..codes.len().div_ceil(GROUP * stride) {
            prefetch_columns(codes, group + 1, stride);
            for part in 0..n_rows / 8 {
                let mut squares: Rows = [[0; SQUARES]; 8];
                let mut start = group * GROUP * stride + part * 8;
                for column in 0..GROUP {
                    if let Some(&bytes) = codes.get(start..).and_then(<[u8]>::first_chunk) {
                        squares[column % 8][column / 8] = u64::from_le_bytes(bytes);
                    }
                    start += stride;
                }
                transpose(&mut squares);
                for (row, squares) in self.rows[part * 8..].iter_mut().zip(&squares) {
                    let bytes = row[group * GROUP..][..GROUP].as_chunks_mut::<8>().0;
                    for (bytes, square) in bytes.iter_mut().zip(squares) {
                        *bytes = square.to_le_bytes();
                    }
                }
            }
        }
    }
}

/// Asks for the starts of the columns of a group, which are too far apart for hardware prefetchers.
#[inline(always)]
fn prefetch_columns(codes: &[u8], group: usize, stride: usize) {
    for column in group * GROUP..(group + 1) * GROUP {
        prefetch(codes, column * stride);
    }
}
