//! Lanes of plain Rust, which the compiler vectorizes for whatever processor it compiles for.

use half::bf16;

use super::super::packed_product::matrix::ScaleFormat;
use super::Lanes;
use crate::codec::e2m1;
use crate::codec::e4m3;
use crate::codec::e8m0;
use crate::simd::Kernel;

/// Lanes, a width that most vector registers divide.
const LANES: usize = 8;

/// Arrays in place of registers.
#[derive(Clone, Copy)]
pub(in crate::product) struct Portable;

impl Lanes<LANES> for Portable {
    const OUTPUTS: usize = 1;
    type Floats = [f32; LANES];
    type Words = [u32; LANES];

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run()
    }

    #[inline(always)]
    fn zero_words(self) -> Self::Words {
        [0; LANES]
    }

    #[inline(always)]
    fn zero(self) -> Self::Floats {
        [0.0; LANES]
    }

    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> Self::Floats {
        *values
    }

    #[inline(always)]
    fn words(self, bytes: &[[u8; 4]; LANES]) -> Self::Words {
        bytes.map(u32::from_le_bytes)
    }

    #[inline(always)]
    fn part(self, bytes: &[u8]) -> Self::Words {
        let mut lanes = [0; LANES];
        for (lane, bytes) in lanes.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *lane = u32::from_le_bytes(*bytes);
        }
        lanes
    }

    /// `to_f32` without its branch for NaN, which keeps loops from being vectorized.
    #[inline(always)]
    fn widen(self, values: &[bf16; LANES]) -> Self::Floats {
        core::array::from_fn(|lane| f32::from_bits(u32::from(values[lane].to_bits()) << 16))
    }

    #[inline(always)]
    fn prefetch<T>(self, _values: &[T], _ahead: usize) {}

    #[inline(always)]
    fn values(self, codes: Self::Words) -> Self::Floats {
        codes.map(|code| e2m1::decode_bits(code & 0xf))
    }

    #[inline(always)]
    fn next(self, codes: Self::Words) -> Self::Words {
        codes.map(|code| code >> 4)
    }

    #[inline(always)]
    fn scales(self, format: ScaleFormat, bytes: u64) -> Self::Floats {
        core::array::from_fn(|lane| {
            let byte = (bytes >> (8 * (8 * lane / format.block_size()))) as u8;
            match format {
                ScaleFormat::E8m0 => e8m0::decode(byte),
                ScaleFormat::E4m3Of16 | ScaleFormat::E4m3Of32 => e4m3::decode(byte),
            }
        })
    }

    #[inline(always)]
    fn multiply(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        core::array::from_fn(|lane| a[lane] * b[lane])
    }

    /// Rounded twice: without an instruction for it, a fused one is a function call.
    #[inline(always)]
    fn multiply_add(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        core::array::from_fn(|lane| a[lane] * b[lane] + c[lane])
    }

    #[inline(always)]
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        core::array::from_fn(|lane| a[lane] + b[lane])
    }

    #[inline(always)]
    fn sum(self, mut values: Self::Floats) -> f32 {
        for distance in [4, 2, 1] {
            for lane in 0..distance {
                values[lane] += values[lane + distance];
            }
        }
        values[0]
    }
}
