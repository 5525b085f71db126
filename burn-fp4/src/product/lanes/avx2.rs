//! Registers of 256 bits.

use core::arch::x86_64::{
    __m256, __m256i, _MM_HINT_NTA, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_loadu_si128,
    _mm_movehdup_ps, _mm_movehl_ps, _mm_prefetch, _mm256_add_ps, _mm256_and_ps, _mm256_and_si256,
    _mm256_castps256_ps128, _mm256_castsi256_ps, _mm256_cmpeq_epi32, _mm256_cvtepu16_epi32,
    _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_max_epu32,
    _mm256_mul_ps, _mm256_or_ps, _mm256_or_si256, _mm256_permutevar8x32_ps, _mm256_set1_epi32,
    _mm256_set1_ps, _mm256_setr_epi32, _mm256_setzero_ps, _mm256_setzero_si256,
    _mm256_shuffle_epi8, _mm256_slli_epi32, _mm256_srli_epi32, _mm256_xor_ps,
};

use half::bf16;

use super::super::packed_product::matrix::ScaleFormat;
use super::{Lanes, VALUES};
use crate::simd::Kernel;

/// Proof that the processor has AVX2 and FMA.
#[derive(Clone, Copy)]
pub(in crate::product) struct Avx2(());

impl Avx2 {
    pub fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        found.then_some(Self(()))
    }
}

#[target_feature(enable = "avx2,fma")]
fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

impl Lanes<8> for Avx2 {
    const OUTPUTS: usize = 1;
    type Floats = __m256;
    type Words = __m256i;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: `self` proves that the processor has the features.
        unsafe { run(kernel) }
    }

    #[inline(always)]
    fn zero(self) -> __m256 {
        // SAFETY: `self` proves that the processor has AVX2.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    fn zero_words(self) -> __m256i {
        // SAFETY: `self` proves that the processor has AVX2.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    fn load(self, values: &[f32; 8]) -> __m256 {
        // SAFETY: `self` proves that the processor has AVX2; there are 8 values.
        unsafe { _mm256_loadu_ps(values.as_ptr()) }
    }

    #[inline(always)]
    fn words(self, bytes: &[[u8; 4]; 8]) -> __m256i {
        // SAFETY: `self` proves that the processor has AVX2; there are 32 bytes.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn part(self, bytes: &[u8]) -> __m256i {
        let mut filled = [[0; 4]; 8];
        let (words, _) = bytes.as_chunks::<4>();
        filled[..words.len()].copy_from_slice(words);
        self.words(&filled)
    }

    #[inline(always)]
    fn widen(self, values: &[bf16; 8]) -> __m256 {
        // SAFETY: `self` proves that the processor has AVX2; there are 8 values.
        unsafe {
            let bits = _mm_loadu_si128(values.as_ptr().cast());
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(bits)))
        }
    }

    #[inline(always)]
    fn prefetch<T>(self, values: &[T], ahead: usize) {
        // SAFETY: the instruction accepts any address.
        unsafe { _mm_prefetch::<_MM_HINT_NTA>(values.as_ptr().wrapping_add(ahead).cast()) }
    }

    #[inline(always)]
    fn values(self, codes: __m256i) -> __m256 {
        // The permutation takes the lower three bits of a lane, the magnitude.
        // SAFETY: `self` proves that the processor has AVX2; `VALUES` has 16 values.
        unsafe {
            let magnitudes = _mm256_loadu_ps(VALUES.as_ptr());
            let magnitudes = _mm256_permutevar8x32_ps(magnitudes, codes);
            let sign = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(codes));
            _mm256_xor_ps(magnitudes, _mm256_and_ps(sign, _mm256_set1_ps(-0.0)))
        }
    }

    #[inline(always)]
    fn next(self, codes: __m256i) -> __m256i {
        // SAFETY: `self` proves that the processor has AVX2.
        unsafe { _mm256_srli_epi32::<4>(codes) }
    }

    #[inline(always)]
    fn scales(self, format: ScaleFormat, bytes: u64) -> __m256 {
        // SAFETY: `self` proves that the processor has AVX2.
        unsafe {
            match format {
                ScaleFormat::E8m0 => e8m0(top_bytes::<4>(bytes)),
                ScaleFormat::E4m3Of32 => e4m3(top_bytes::<4>(bytes)),
                ScaleFormat::E4m3Of16 => e4m3(top_bytes::<2>(bytes)),
            }
        }
    }

    #[inline(always)]
    fn multiply(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves that the processor has AVX2.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn multiply_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: `self` proves that the processor has FMA.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: `self` proves that the processor has AVX2.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sum(self, values: __m256) -> f32 {
        // SAFETY: `self` proves that the processor has AVX2.
        unsafe {
            let high = _mm256_extractf128_ps::<1>(values);
            let four = _mm_add_ps(_mm256_castps256_ps128(values), high);
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
}

/// 2^120, between the exponents of E4M3 (bias 7) and `f32` (bias 127).
const REBIAS: f32 = f32::from_bits((127 + 120) << 23);

/// Byte `i` in the highest byte of `LANES` lanes from `LANES * i` on, zeros below.
#[inline]
#[target_feature(enable = "avx2")]
fn top_bytes<const LANES: usize>(bytes: u64) -> __m256i {
    let top = |lane: usize| ((lane / LANES) as i32) << 24 | 0x0080_8080;
    let order = _mm256_setr_epi32(
        top(0),
        top(1),
        top(2),
        top(3),
        top(4),
        top(5),
        top(6),
        top(7),
    );
    _mm256_shuffle_epi8(_mm256_set1_epi32(bytes as i32), order)
}

/// The values of E8M0 bytes in the top of the lanes, infinity for NaN.
#[inline]
#[target_feature(enable = "avx2")]
fn e8m0(bytes: __m256i) -> __m256 {
    let exponents = _mm256_srli_epi32::<1>(bytes);
    // Byte 0 is the only one below the exponents of normal numbers.
    _mm256_castsi256_ps(_mm256_max_epu32(exponents, _mm256_set1_epi32(0x0040_0000)))
}

/// The values of E4M3 bytes in the top of the lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn e4m3(bytes: __m256i) -> __m256 {
    let mask = _mm256_set1_epi32(0x07f0_0000);
    let magnitude = _mm256_and_si256(_mm256_srli_epi32::<4>(bytes), mask);
    let sign = _mm256_and_si256(bytes, _mm256_set1_epi32(i32::MIN));
    let nan = _mm256_cmpeq_epi32(magnitude, mask);
    // As `f32` they have the wrong bias, subnormals included: a factor of 2^120.
    let scaled = _mm256_castsi256_ps(_mm256_or_si256(magnitude, sign));
    let values = _mm256_mul_ps(scaled, _mm256_set1_ps(REBIAS));
    // All bits set are a NaN.
    _mm256_or_ps(values, _mm256_castsi256_ps(nan))
}
