//! Registers of 512 bits.

use core::arch::x86_64::{
    __m512, __m512i, _MM_HINT_NTA, _mm_prefetch, _mm256_loadu_si256, _mm512_add_ps,
    _mm512_and_si512, _mm512_castsi512_ps, _mm512_cmpeq_epi32_mask, _mm512_cvtepu16_epi32,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_mov_ps,
    _mm512_maskz_loadu_epi8, _mm512_max_epu32, _mm512_mul_ps, _mm512_or_si512,
    _mm512_permutexvar_ps, _mm512_reduce_add_ps, _mm512_rolv_epi32, _mm512_set1_epi32,
    _mm512_set1_epi64, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
    _mm512_shuffle_epi8, _mm512_slli_epi32, _mm512_srli_epi32,
};

use half::bf16;

use super::super::packed_product::matrix::ScaleFormat;
use super::{Lanes, VALUES};
use crate::simd::Kernel;

/// Proof that the processor has AVX-512 F and BW, AVX2 and FMA.
#[derive(Clone, Copy)]
pub(in crate::product) struct Avx512(());

impl Avx512 {
    pub fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma");
        found.then_some(Self(()))
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

impl Lanes<16> for Avx512 {
    const OUTPUTS: usize = 2;
    type Floats = __m512;
    type Words = __m512i;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: `self` proves that the processor has the features.
        unsafe { run(kernel) }
    }

    #[inline(always)]
    fn zero(self) -> __m512 {
        // SAFETY: `self` proves that the processor has AVX-512 F.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    fn zero_words(self) -> __m512i {
        // SAFETY: `self` proves that the processor has AVX-512 F and BW.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn load(self, values: &[f32; 16]) -> __m512 {
        // SAFETY: `self` proves that the processor has AVX-512 F; there are 16 values.
        unsafe { _mm512_loadu_ps(values.as_ptr()) }
    }

    #[inline(always)]
    fn words(self, bytes: &[[u8; 4]; 16]) -> __m512i {
        // SAFETY: `self` proves that the processor has AVX-512 F and BW; there are 64 bytes.
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn part(self, bytes: &[u8]) -> __m512i {
        let mask = (1u64 << bytes.len().min(63)) - 1;
        // SAFETY: `self` proves that the processor has AVX-512 F and BW; bytes that the mask leaves out
        // are not read.
        unsafe { _mm512_maskz_loadu_epi8(mask, bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn widen(self, values: &[bf16; 16]) -> __m512 {
        // SAFETY: `self` proves that the processor has AVX-512 F; there are 16 values.
        unsafe {
            let bits = _mm256_loadu_si256(values.as_ptr().cast());
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
        }
    }

    #[inline(always)]
    fn prefetch<T>(self, values: &[T], ahead: usize) {
        // SAFETY: the instruction accepts any address.
        unsafe { _mm_prefetch::<_MM_HINT_NTA>(values.as_ptr().wrapping_add(ahead).cast()) }
    }

    #[inline(always)]
    fn values(self, codes: __m512i) -> __m512 {
        // The permutation takes the lower four bits of a lane.
        // SAFETY: `self` proves that the processor has AVX-512 F; `VALUES` has 16 values.
        unsafe { _mm512_permutexvar_ps(codes, _mm512_loadu_ps(VALUES.as_ptr())) }
    }

    #[inline(always)]
    fn next(self, codes: __m512i) -> __m512i {
        // SAFETY: `self` proves that the processor has AVX-512 F.
        unsafe { _mm512_srli_epi32::<4>(codes) }
    }

    #[inline(always)]
    fn scales(self, format: ScaleFormat, bytes: u64) -> __m512 {
        // SAFETY: `self` proves that the processor has AVX-512 F and BW.
        unsafe {
            match format {
                ScaleFormat::E8m0 => e8m0(bytes as i32),
                ScaleFormat::E4m3Of32 => e4m3(top_bytes_of_four(bytes)),
                ScaleFormat::E4m3Of16 => e4m3(top_bytes_of_eight(bytes)),
            }
        }
    }

    #[inline(always)]
    fn multiply(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves that the processor has AVX-512 F.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn multiply_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: `self` proves that the processor has AVX-512 F.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves that the processor has AVX-512 F.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sum(self, values: __m512) -> f32 {
        // SAFETY: `self` proves that the processor has AVX-512 F.
        unsafe { _mm512_reduce_add_ps(values) }
    }
}

/// 2^120, between the exponents of E4M3 (bias 7) and `f32` (bias 127).
const REBIAS: f32 = f32::from_bits((127 + 120) << 23);

/// For each lane, the index of a byte in the place of the highest byte, and of zeros below.
const fn top_bytes<const LANES: usize>(lanes_per_byte: usize) -> [u32; LANES] {
    let mut order = [0; LANES];
    let mut lane = 0;
    while lane < LANES {
        order[lane] = ((lane / lanes_per_byte) as u32) << 24 | 0x0080_8080;
        lane += 1;
    }
    order
}

/// Byte `i` in the highest byte of the lanes `4i..4i + 4`, zeros below.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn top_bytes_of_four(bytes: u64) -> __m512i {
    const ORDER: [u32; 16] = top_bytes(4);
    // SAFETY: there are 16 lanes.
    let order = unsafe { _mm512_loadu_si512(ORDER.as_ptr().cast()) };
    _mm512_shuffle_epi8(_mm512_set1_epi32(bytes as i32), order)
}

/// Byte `i` in the highest byte of the lanes `2i..2i + 2`, zeros below.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn top_bytes_of_eight(bytes: u64) -> __m512i {
    const ORDER: [u32; 16] = top_bytes(2);
    // SAFETY: there are 16 lanes.
    let order = unsafe { _mm512_loadu_si512(ORDER.as_ptr().cast()) };
    _mm512_shuffle_epi8(_mm512_set1_epi64(bytes as i64), order)
}

/// The values of E8M0 bytes, byte `i` in the lanes `4i..4i + 4`; infinity for NaN.
#[inline]
#[target_feature(enable = "avx512f")]
fn e8m0(bytes: i32) -> __m512 {
    // A byte is turned to the place of the exponent.
    const TURNS: [u32; 16] = [23, 23, 23, 23, 15, 15, 15, 15, 7, 7, 7, 7, 31, 31, 31, 31];
    // SAFETY: there are 16 lanes.
    let turns = unsafe { _mm512_loadu_si512(TURNS.as_ptr().cast()) };
    let turned = _mm512_rolv_epi32(_mm512_set1_epi32(bytes), turns);
    let exponents = _mm512_and_si512(turned, _mm512_set1_epi32(0x7f80_0000));
    // Byte 0 is the only one below the exponents of normal numbers.
    _mm512_castsi512_ps(_mm512_max_epu32(exponents, _mm512_set1_epi32(0x0040_0000)))
}

/// The values of E4M3 bytes in the top of the lanes.
#[inline]
#[target_feature(enable = "avx512f")]
fn e4m3(bytes: __m512i) -> __m512 {
    let magnitude = _mm512_and_si512(
        _mm512_srli_epi32::<4>(bytes),
        _mm512_set1_epi32(0x07f0_0000),
    );
    let sign = _mm512_and_si512(bytes, _mm512_set1_epi32(i32::MIN));
    let nan = _mm512_cmpeq_epi32_mask(magnitude, _mm512_set1_epi32(0x07f0_0000));
    // As `f32` they have the wrong bias, subnormals included: a factor of 2^120.
    let scaled = _mm512_castsi512_ps(_mm512_or_si512(magnitude, sign));
    let values = _mm512_mul_ps(scaled, _mm512_set1_ps(REBIAS));
    _mm512_mask_mov_ps(values, nan, _mm512_set1_ps(f32::NAN))
}
