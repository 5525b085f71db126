//! Blocks along an earlier axis: the 32 elements of a block are `inner` apart.
//!
//! Nothing is transposed. A tile of neighbouring columns is walked row by row, one column per
//! vector lane: once for the maxima, once more (now from the cache) to round.

use super::scale::Scale;
use crate::element::private::Lane;
use crate::simd::Kernel;
use crate::{Fp4Element, ScaleRule};

/// Columns per tile. Long runs suit the prefetcher and the page tables: 2048 was faster than 256 in
/// f32 although 32 such rows only fit the second-level cache. The lane arrays stay in the first.
const TILE: usize = 2048;

/// One row of blocks: 32 rows of `inner` columns, every column a block.
pub(super) struct Slab<'a, T> {
    pub values: &'a [T],
    pub out: &'a mut [T],
    pub inner: usize,
    pub rule: ScaleRule,
}

impl<T: Fp4Element> Kernel for Slab<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        for start in (0..self.inner).step_by(TILE) {
            let width = TILE.min(self.inner - start);
            let inverses = self.tile_inverses(start, width);
            self.round_tile(start, width, &inverses);
        }
    }
}

impl<T: Fp4Element> Slab<'_, T> {
    #[inline(always)]
    fn tile_inverses(&self, start: usize, width: usize) -> [f32; TILE] {
        let mut maxima = [<T as Lane>::Magnitude::default(); TILE];
        for row in self.values.chunks_exact(self.inner) {
            for (max, x) in maxima.iter_mut().zip(&row[start..start + width]) {
                *max = (*max).max(x.magnitude());
            }
        }
        let mut inverses = [1.0; TILE];
        for (inverse, &max) in inverses.iter_mut().zip(&maxima[..width]) {
            *inverse = Scale::new(self.rule, T::amax(max)).inverse;
        }
        let top = maxima.iter().copied().max().unwrap_or_default();
        if !T::finite(top) {
            self.repair(start, &maxima[..width], &mut inverses);
        }
        inverses
    }

    /// Chooses the scales of the columns with non-finite elements again.
    #[cold]
    fn repair(&self, start: usize, maxima: &[T::Magnitude], inverses: &mut [f32; TILE]) {
        for (column, (&max, inverse)) in maxima.iter().zip(inverses).enumerate() {
            if !T::finite(max) {
                let block = self.values[start + column..].iter().step_by(self.inner);
                *inverse = Scale::of_non_finite(self.rule, block.copied()).inverse;
            }
        }
    }

    #[inline(always)]
    fn round_tile(&mut self, start: usize, width: usize, inverses: &[f32; TILE]) {
        let rows = self.values.chunks_exact(self.inner);
        for (row, out) in rows.zip(self.out.chunks_exact_mut(self.inner)) {
            let (row, out) = (&row[start..start + width], &mut out[start..start + width]);
            for ((out, &x), &inverse) in out.iter_mut().zip(row).zip(inverses) {
                *out = Scale::from_inverse(inverse).fake_quantize(x);
            }
        }
    }
}
