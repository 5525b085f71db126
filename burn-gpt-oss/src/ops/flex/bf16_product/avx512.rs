//! Registers of 512 bits.

use core::arch::x86_64::{
    __m512, _MM_HINT_NTA, _mm_prefetch, _mm256_loadu_si256, _mm512_add_ps, _mm512_castsi512_ps,
    _mm512_cvtepu16_epi32, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_reduce_add_ps,
    _mm512_setzero_ps, _mm512_slli_epi32,
};

use half::bf16;

use super::register::Register;
use crate::ops::flex::simd::Kernel;

/// Proof that the processor has AVX-512 F.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    pub fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f") && super::avx2::Avx2::detect().is_some();
        found.then_some(Self(()))
    }
}

#[target_feature(enable = "avx512f,avx2,fma")]
fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

impl Register<16> for Avx512 {
    type Floats = __m512;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: `self` proves that the processor has the features.
        unsafe { run(kernel) }
    }

    #[inline(always)]
    fn zero(self) -> __m512 {
        // SAFETY: `self` proves that the processor has the instruction.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    fn load(self, values: &[f32; 16]) -> __m512 {
        // SAFETY: `self` proves that the processor has the instruction; there are 16 values.
        unsafe { _mm512_loadu_ps(values.as_ptr()) }
    }

    #[inline(always)]
    fn widen(self, values: &[bf16; 16]) -> __m512 {
        // SAFETY: `self` proves that the processor has the instructions; there are 16 values.
        unsafe {
            let bits = _mm256_loadu_si256(values.as_ptr().cast());
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
        }
    }

    #[inline(always)]
    fn prefetch(self, values: &[bf16; 16], ahead: usize) {
        let ahead = values.as_ptr().wrapping_add(ahead);
        // SAFETY: the instruction accepts any address.
        unsafe { _mm_prefetch::<_MM_HINT_NTA>(ahead.cast()) };
    }

    #[inline(always)]
    fn multiply_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: `self` proves that the processor has the instruction.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves that the processor has the instruction.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sum(self, values: __m512) -> f32 {
        // SAFETY: `self` proves that the processor has the instructions.
        unsafe { _mm512_reduce_add_ps(values) }
    }
}
