//! Blocks along an earlier axis: the `N` elements of a block are `inner` apart.
//!
//! Nothing is transposed. A tile of neighbouring columns is walked row by row, one column per
//! vector lane: once for the maxima, once more (now from the cache) to round, while the next tile is
//! on its way.

use crate::codec::block_scales::of_columns;
use crate::codec::element::Fp4Element;
use crate::codec::element::private::Lane;
use crate::codec::format::Format;
use crate::simd::{Kernel, prefetch_run};

/// Columns per tile at most. Long runs suit the prefetcher and the page tables: 2048 was faster than
/// 256 in f32 although 32 such rows only fit the second-level cache. The lane arrays stay in the first.
const TILE: usize = 1024;

/// Elements of a row between two requests for the next tile.
const PIECE: usize = 256;

/// One row of blocks: `N` rows of `inner` columns, every column a block.
pub(super) struct Slab<'a, T, F, const N: usize> {
    /// The rows, and what follows them in memory: it is read next.
    pub values: &'a [T],
    pub out: &'a mut [T],
    pub inner: usize,
    pub format: F,
}

impl<T: Fp4Element, F: Format, const N: usize> Kernel for Slab<'_, T, F, N> {
    /// Whether all values are finite.
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let Self {
            values,
            out,
            inner,
            format,
        } = self;
        let slab = &values[..out.len()];
        let mut maxima = [<T as Lane>::Magnitude::default(); TILE];
        let mut keys = [1.0; TILE];
        let mut finite = true;
        for start in (0..inner).step_by(TILE) {
            let width = TILE.min(inner - start);
            let (maxima, keys) = (&mut maxima[..width], &mut keys[..width]);
            finite &= of_columns::<T, F, N>(format, slab, inner, start, maxima, keys);
            for key in keys.iter_mut() {
                *key = format.key(*key);
            }
            let next = next_tile::<T, N>(values, inner, start);
            for (row, out) in out.chunks_exact_mut(inner).enumerate() {
                let x = &slab[row * inner + start..][..width];
                let next = next.get(row * inner..).unwrap_or_default();
                let pieces = x.chunks(PIECE).zip(keys.chunks(PIECE));
                let out = out[start..start + width].chunks_mut(PIECE);
                for (piece, ((x, keys), out)) in pieces.zip(out).enumerate() {
                    prefetch_run(next, piece * PIECE, PIECE);
                    for ((out, &x), &key) in out.iter_mut().zip(x).zip(keys) {
                        *out = format.fake_quantize(x, key);
                    }
                }
            }
        }
        finite
    }
}

/// Where the tile after the one at `start` begins: in the same rows, or in those below.
#[inline(always)]
fn next_tile<T, const N: usize>(values: &[T], inner: usize, start: usize) -> &[T] {
    let offset = if start + TILE < inner {
        start + TILE
    } else {
        N * inner
    };
    values.get(offset..).unwrap_or_default()
}
