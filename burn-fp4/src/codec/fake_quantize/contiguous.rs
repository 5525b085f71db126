//! Blocks along the last axis: each is `N` neighbours in memory.

use crate::codec::block_scales::{SPAN, of_contiguous};
use crate::codec::element::Fp4Element;
use crate::codec::format::Format;
use crate::simd::{Kernel, prefetch_run};

/// Whole blocks one after the other.
pub(super) struct Blocks<'a, T, F, const N: usize> {
    pub values: &'a [T],
    pub out: &'a mut [T],
    pub format: F,
}

impl<T: Fp4Element, F: Format, const N: usize> Kernel for Blocks<'_, T, F, N> {
    /// Whether all values are finite.
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let (values, _) = self.values.as_chunks::<N>();
        let (out, _) = self.out.as_chunks_mut::<N>();
        let mut scales = [1.0; SPAN];
        let mut finite = true;
        for (span, (blocks, out)) in values.chunks(SPAN).zip(out.chunks_mut(SPAN)).enumerate() {
            finite &= of_contiguous(self.format, blocks, &mut scales);
            for (i, ((block, out), &scale)) in blocks.iter().zip(out).zip(&scales).enumerate() {
                prefetch_run(self.values, ((span + 1) * SPAN + i) * N, N);
                let key = self.format.key(scale);
                for (out, &x) in out.iter_mut().zip(block) {
                    *out = self.format.fake_quantize(x, key);
                }
            }
        }
        finite
    }
}
