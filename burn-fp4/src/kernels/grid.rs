//! Rounding to the grid of E2M1 in units of a block scale.

use cubecl::prelude::*;

use super::arithmetic::Arithmetic;
use super::block_scale::factor;
use super::format::{BlockScales, KernelFormat};
use super::soft_float::INFINITY;
use super::threshold::{magnitude, threshold};

/// The grid of one block: what brings its elements to the grid and back.
#[derive(CubeType, Clone)]
pub(crate) struct Grid {
    /// The value of the block scale.
    unit: f32,
    /// The same, infinity for zero: then all that is finite has code zero.
    divisor: f32,
    /// Its reciprocal, rounded.
    reciprocal: f32,
    /// Whether a quotient by `unit` can be made of products with `reciprocal`.
    tame: bool,
    /// Integer arithmetic: bits of the smallest `f32` that has magnitude code 1 to 7, and of the
    /// smallest that saturates.
    thresholds: Sequence<u32>,
    /// Integer arithmetic: bits of the values of magnitude codes 1 to 7.
    values: Sequence<u32>,
    #[cube(comptime)]
    pub format: KernelFormat,
}

#[cube]
impl Grid {
    /// The grid of a block whose scale has the given byte, one that
    /// [`scale_byte`](super::block_scale::scale_byte) gives.
    pub fn new(byte: u32, global_scale: u32, #[comptime] format: KernelFormat) -> Grid {
        let unit = factor(byte, global_scale, format);
        let mut thresholds = Sequence::new();
        let mut values = Sequence::new();
        if comptime!(format.arithmetic == Arithmetic::Integer) {
            #[unroll]
            for code in 1..8usize {
                thresholds.push(threshold(unit, code));
                values.push(magnitude(unit, code));
            }
            thresholds.push(threshold(unit, 8usize));
        }
        let reciprocal = match format.scales {
            BlockScales::Mx { .. } => f32::reinterpret((254u32 - byte) << 23u32),
            BlockScales::Nv => 1.0f32 / f32::reinterpret(unit),
        };
        Grid {
            unit: f32::reinterpret(unit),
            divisor: f32::reinterpret(select(unit == 0u32, INFINITY, unit)),
            reciprocal,
            // Between 2^-60 and 2^60 nothing underflows that matters.
            tame: unit > 0x2180_0000u32 && unit < 0x5d80_0000u32,
            thresholds,
            values,
            format,
        }
    }

    /// Magnitude code of an element, from the bits of its magnitude.
    pub fn code(&self, bits: u32) -> u32 {
        match comptime!(self.format.arithmetic) {
            Arithmetic::Float => {
                let rounding = Rounding::of(self.normalize(bits, self.divisor));
                let steps = u32::reinterpret(rounding.sum) - u32::reinterpret(rounding.anchor);
                // 2 for exponent 1, 4 for exponent 2: the codes skipped where the step doubles.
                steps + (rounding.exponent >> 22u32) - 254u32
            }
            Arithmetic::Integer => {
                let mut code = 0u32;
                #[unroll]
                for i in 0..7usize {
                    code += u32::cast_from(bits >= *self.thresholds.index(i));
                }
                code
            }
        }
    }

    /// Bits of the magnitude that an element is rounded to, from those of its own.
    pub fn round(&self, bits: u32) -> u32 {
        match comptime!(self.format.arithmetic) {
            Arithmetic::Float => {
                let rounding = Rounding::of(self.normalize(bits, self.divisor));
                u32::reinterpret((rounding.sum - rounding.anchor) * self.unit)
            }
            Arithmetic::Integer => {
                let mut value = 0u32;
                #[unroll]
                for i in 0..7usize {
                    let reached = bits >= *self.thresholds.index(i);
                    value = select(reached, *self.values.index(i), value);
                }
                value
            }
        }
    }

    /// Whether an element comes out as the largest magnitude whatever it is.
    pub fn saturates(&self, bits: u32) -> bool {
        match comptime!(self.format.arithmetic) {
            Arithmetic::Float => {
                let in_range = self.normalize(bits, self.unit) <= 6.0f32 || bits == 0u32;
                !in_range
            }
            Arithmetic::Integer => bits >= *self.thresholds.index(7usize),
        }
    }

    /// The sign that an element keeps, from its bits.
    pub fn sign(&self, bits: u32) -> u32 {
        let sign = bits & 0x8000_0000u32;
        match comptime!(self.format.scales) {
            BlockScales::Mx { .. } => sign,
            // A comparison with zero: -0 counts as positive.
            BlockScales::Nv => select(sign == bits, 0u32, sign),
        }
    }

    /// The quotient of a magnitude and the unit, correctly rounded; `divisor` is the unit, perhaps
    /// another one where that is zero.
    fn normalize(&self, bits: u32, divisor: f32) -> f32 {
        let x = f32::reinterpret(bits);
        match comptime!(self.format.scales) {
            BlockScales::Mx { .. } => x * self.reciprocal,
            BlockScales::Nv => {
                // Two steps of Newton's method, each with an exact remainder: the second starts
                // within one unit in the last place, so its result is the rounded quotient
                // (Markstein, "Computation of elementary functions", theorem 5).
                let near = x * self.reciprocal;
                let rest = fma(-near, self.unit, x);
                let near = fma(rest, self.reciprocal, near);
                let rest = fma(-near, self.unit, x);
                let quotient = fma(rest, self.reciprocal, near);
                if self.tame && bits < INFINITY {
                    quotient
                } else {
                    x / divisor
                }
            }
        }
    }
}

/// A magnitude on its way to the grid; the sum rounds it, as in [`crate::e2m1`].
#[derive(CubeType, Clone, Copy)]
struct Rounding {
    sum: f32,
    anchor: f32,
    exponent: u32,
}

#[cube]
impl Rounding {
    /// `y >= 0` or NaN; NaN and everything above 6 count as 6.
    fn of(y: f32) -> Rounding {
        let y = select(y < 6.0f32, y, 6.0f32);
        let at_least_one = select(y > 1.0f32, y, 1.0f32);
        let exponent = u32::reinterpret(at_least_one) & 0x7f80_0000u32;
        // The unit in the last place of 2^22, 2^23 and 2^24 is the step of the grid.
        let anchor = f32::reinterpret(exponent + (22u32 << 23u32));
        Rounding {
            sum: y + anchor,
            anchor,
            exponent,
        }
    }
}
