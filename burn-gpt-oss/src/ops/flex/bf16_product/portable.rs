//! Lanes of plain Rust, which the compiler vectorizes for whatever processor it compiles for.

use half::bf16;

use super::register::Register;
use crate::ops::flex::simd::Kernel;

/// Lanes, a width that most vector registers divide.
const LANES: usize = 8;

/// An array in place of a register.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Register<LANES> for Portable {
    type Floats = [f32; LANES];

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run()
    }

    #[inline(always)]
    fn zero(self) -> Self::Floats {
        [0.0; LANES]
    }

    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> Self::Floats {
        *values
    }

    /// `to_f32` without its branch for NaN, which keeps loops from being vectorized.
    #[inline(always)]
    fn widen(self, values: &[bf16; LANES]) -> Self::Floats {
        core::array::from_fn(|lane| f32::from_bits(u32::from(values[lane].to_bits()) << 16))
    }

    #[inline(always)]
    fn prefetch(self, _values: &[bf16; LANES], _ahead: usize) {}

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
