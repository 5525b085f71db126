//! Two codes in a byte, the first in the low nibble; and bytes turned from rows to columns.
//!
//! Written on integers of a fixed width, because the compiler turns these into vector instructions
//! and byte-wise loops into bytes. By index, since adaptors of iterators are not always inlined.
#![allow(clippy::needless_range_loop)]

/// Packs codes, one per byte, two into a byte. Expects twice as many codes as bytes.
#[inline(always)]
pub(crate) fn pack<const N: usize>(codes: &[u8; N], bytes: &mut [u8]) {
    for (byte, pair) in bytes.iter_mut().zip(codes.as_chunks::<2>().0) {
        let pair = u16::from_le_bytes(*pair);
        *byte = (pair | (pair >> 4)) as u8;
    }
}

/// The inverse of [`pack`].
#[inline(always)]
pub(crate) fn unpack<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut codes = [0; N];
    for (pair, &byte) in codes.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        let byte = u16::from(byte);
        *pair = ((byte | (byte << 4)) & 0x0f0f).to_le_bytes();
    }
    codes
}

/// Squares of 8 x 8 bytes that are turned together, one per 64-bit lane.
pub(crate) const SQUARES: usize = 4;

/// Eight rows of bytes, each of [`SQUARES`] times eight.
pub(crate) type Rows = [[u64; SQUARES]; 8];

/// Turns every square of 8 x 8 bytes: byte `c` of row `r` becomes byte `r` of row `c`.
///
/// Three rounds of swaps, of halves of 4, 2 and 1 bytes (Warren, Hacker's Delight, section 7-3).
#[inline(always)]
pub(crate) fn transpose(rows: &mut Rows) {
    swap::<8, 32>(rows, 0x0000_0000_ffff_ffff);
    swap::<4, 16>(rows, 0x0000_ffff_0000_ffff);
    swap::<2, 8>(rows, 0x00ff_00ff_00ff_00ff);
}

/// Swaps the upper parts of the first half of every `PAIRS` rows with the lower parts of the second.
#[inline(always)]
fn swap<const PAIRS: usize, const BITS: u32>(rows: &mut Rows, mask: u64) {
    for rows in rows.as_chunks_mut::<PAIRS>().0 {
        for row in 0..PAIRS / 2 {
            for square in 0..SQUARES {
                let (a, b) = (rows[row][square], rows[row + PAIRS / 2][square]);
                let moved = ((a >> BITS) ^ b) & mask;
                rows[row][square] = a ^ (moved << BITS);
                rows[row + PAIRS / 2][square] = b ^ moved;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nibbles_there_and_back() {
        let codes: [u8; 32] = core::array::from_fn(|i| (i * 7 % 16) as u8);
        let mut bytes = [0; 16];
        pack(&codes, &mut bytes);
        for (i, byte) in bytes.iter().enumerate() {
            assert_eq!(*byte, codes[2 * i] | codes[2 * i + 1] << 4);
        }
        assert_eq!(unpack::<32>(&bytes), codes);
    }

    #[test]
    fn rows_become_columns() {
        let byte =
            |row: usize, square: usize, column: usize| (row * 64 + square * 8 + column) as u8;
        let row = |row| {
            core::array::from_fn(|square| {
                u64::from_le_bytes(core::array::from_fn(|column| byte(row, square, column)))
            })
        };
        let mut rows: Rows = core::array::from_fn(row);
        transpose(&mut rows);
        for (column, squares) in rows.iter().enumerate() {
            for (square, bytes) in squares.iter().enumerate() {
                let wanted = core::array::from_fn(|row| byte(row, square, column));
                assert_eq!(bytes.to_le_bytes(), wanted);
            }
        }
    }
}
