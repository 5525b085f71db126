//! Blocks along the last axis: each is 32 neighbours in memory.

use super::scale::{Scale, block_max};
use crate::element::private::Lane;
use crate::scheme::MXFP4_BLOCK_SIZE;
use crate::simd::Kernel;
use crate::{Fp4Element, ScaleRule};

/// Whole blocks one after the other.
pub(super) struct Blocks<'a, T> {
    pub values: &'a [T],
    pub out: &'a mut [T],
    pub rule: ScaleRule,
}

impl<T: Fp4Element> Kernel for Blocks<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (values, _) = self.values.as_chunks::<MXFP4_BLOCK_SIZE>();
        let (out, _) = self.out.as_chunks_mut::<MXFP4_BLOCK_SIZE>();
        for (block, out) in values.iter().zip(out) {
            let scale = block_scale(self.rule, block);
            for (out, &x) in out.iter_mut().zip(block) {
                *out = scale.fake_quantize(x);
            }
        }
    }
}

#[inline(always)]
fn block_scale<T: Lane>(rule: ScaleRule, block: &[T; MXFP4_BLOCK_SIZE]) -> Scale {
    let max = block_max(block);
    if T::finite(max) {
        Scale::new(rule, T::amax(max))
    } else {
        Scale::of_non_finite(rule, block.iter().copied())
    }
}
