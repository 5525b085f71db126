//! Blocks along an earlier axis: the `N` elements of a block are `inner` apart.
//!
//! Nothing is transposed. A tile of neighbouring columns is walked row by row, one column per
//! vector lane: once for the maxima, once more (now from the cache) to round.

use crate::Fp4Element;
use crate::block_scales::of_columns;
use crate::element::private::Lane;
use crate::format::Format;
use crate::simd::Kernel;

/// Columns per tile at most. Long runs suit the prefetcher and the page tables: 2048 was faster than
/// 256 in f32 although 32 such rows only fit the second-level cache. The lane arrays stay in the first.
const TILE: usize = 2048;

/// One row of blocks: `N` rows of `inner` columns, every column a block.
pub(super) struct Slab<'a, T, F, const N: usize> {
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
        let mut maxima = [<T as Lane>::Magnitude::default(); TILE];
        let mut keys = [1.0; TILE];
        let mut finite = true;
        for start in (0..inner).step_by(TILE) {
            let width = TILE.min(inner - start);
            let (maxima, keys) = (&mut maxima[..width], &mut keys[..width]);
            finite &= of_columns::<T, F, N>(format, values, inner, start, maxima, keys);
            for key in keys.iter_mut() {
                *key = format.key(*key);
            }
            let rows = values.chunks_exact(inner);
            for (row, out) in rows.zip(out.chunks_exact_mut(inner)) {
                let (row, out) = (&row[start..start + width], &mut out[start..start + width]);
                for ((out, &x), &key) in out.iter_mut().zip(row).zip(keys.iter()) {
                    *out = format.fake_quantize(x, key);
                }
            }
        }
        finite
    }
}
