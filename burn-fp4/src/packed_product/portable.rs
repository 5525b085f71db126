//! Lanes of plain Rust, which the compiler vectorizes for whatever processor it compiles for.

use super::integers::IntegerChunk;
use super::lanes::{IntegerLanes, Lanes, OFFSET};
use super::matrix::ScaleFormat;
use crate::simd::Kernel;
use crate::{e2m1, e4m3, e8m0};

/// Lanes, a width that most vector registers divide.
const LANES: usize = 8;

/// Arrays in place of registers.
#[derive(Clone, Copy)]
pub(super) struct Portable;

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

    #[inline(always)]
    fn prefetch(self, _bytes: &[u8], _ahead: usize) {}

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

impl IntegerLanes<LANES> for Portable {
    /// Codes; values follow where they are multiplied, with sums of 32 bits.
    #[inline(always)]
    fn doubled(self, codes: Self::Words) -> [Self::Words; 2] {
        [codes, codes.map(|code| code >> 4)].map(|codes| codes.map(|code| code & 0x0f0f_0f0f))
    }

    #[inline(always)]
    fn dot(self, doubled: [Self::Words; 2], row: &IntegerChunk<LANES>) -> Self::Floats {
        core::array::from_fn(|lane| {
            let mut sum = row.starts[lane];
            for byte in 0..4 {
                let code = |half: usize| doubled[half][lane] >> (8 * byte) & 0xf;
                sum += doubled_value(code(0)) * i32::from(row.even[lane][byte]);
                sum += doubled_value(code(1)) * i32::from(row.odd[lane][byte]);
            }
            sum as f32
        })
    }
}

/// The doubled value of a code plus [`OFFSET`], without a table, because lookups do not vectorize.
#[inline(always)]
fn doubled_value(code: u32) -> i32 {
    let magnitude = (code & 7) as i32;
    // 0 1 2 3 4, then 6 8 12.
    let steps = i32::from(magnitude > 4) + i32::from(magnitude > 5) + 3 * i32::from(magnitude > 6);
    let value = magnitude + steps;
    OFFSET + if code > 7 { -value } else { value }
}
