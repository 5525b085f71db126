//! Rounding to the grid of E2M1 in units of a block scale.

use cubecl::prelude::*;

use super::arithmetic::Arithmetic;
use super::block_scale::BlockScale;
use super::format::{BlockScales, KernelFormat};
use super::threshold::{magnitude, threshold};

/// The unit in the last place of this, twice and four times this is the step of the grid.
const ANCHOR: f32 = 4_194_304.0;

/// Bits.
const TWO_TO_60: u32 = 0x5d80_0000;
const TWO_TO_MINUS_60: u32 = 0x2180_0000;
const TWO_TO_100: f32 = f32::from_bits(0x7180_0000);
const TWO_TO_MINUS_70: f32 = f32::from_bits(0x1c80_0000);

/// The grid of one block: what brings its elements to the grid and back.
#[derive(CubeType, Clone)]
pub(crate) struct Grid {
    /// The value of the block scale.
    unit: f32,
    /// A power of two that brings the unit near 1: nothing that matters underflows or overflows.
    /// Zero for a unit of zero, so all that is finite has code zero.
    shift: f32,
    /// The product of both; 1 if it is zero.
    shifted: f32,
    /// The reciprocal of the unit so shifted, rounded.
    reciprocal: f32,
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
    /// The grid of a block with a scale that [`block_scale`](super::block_scale::block_scale) gives.
    pub fn new(scale: &BlockScale, #[comptime] format: KernelFormat) -> Grid {
        let unit = scale.unit;
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
        // An element that the shift makes infinite saturates, one that it makes zero is far below 0.25.
        let shift = match format.scales {
            BlockScales::Mx { .. } => 1.0f32,
            BlockScales::Nv => {
                let down = select(unit > TWO_TO_60, TWO_TO_MINUS_70, 1.0f32);
                let shift = select(unit < TWO_TO_MINUS_60, TWO_TO_100, down);
                select(unit == 0u32, 0.0f32, shift)
            }
        };
        let shifted = select(unit == 0u32, 1.0f32, f32::reinterpret(unit) * shift);
        let reciprocal = match format.scales {
            BlockScales::Mx { .. } => f32::reinterpret((254u32 - scale.byte) << 23u32),
            BlockScales::Nv => 1.0f32 / shifted,
        };
        Grid {
            unit: f32::reinterpret(unit),
            shift,
            shifted,
            reciprocal,
            thresholds,
            values,
            format,
        }
    }

    /// Magnitude code of an element, from the bits of its magnitude.
    pub fn code(&self, bits: u32) -> u32 {
        match comptime!(self.format.arithmetic) {
            Arithmetic::Float => {
                let rounding = Rounding::of(self.normalize(bits));
                let anchor = rounding.exponent + (22u32 << 23u32);
                let steps = u32::reinterpret(rounding.sum) - anchor;
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
                let rounding = Rounding::of(self.normalize(bits));
                let power = f32::reinterpret(rounding.exponent);
                u32::reinterpret(fma(-power, ANCHOR, rounding.sum) * self.unit)
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
                let in_range = self.normalize(bits) <= 6.0f32;
                let beyond_zero = self.unit == 0.0f32 && bits != 0u32;
                !in_range || beyond_zero
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

    /// The quotient of a magnitude and the unit, correctly rounded where it decides.
    fn normalize(&self, bits: u32) -> f32 {
        let x = f32::abs(f32::reinterpret(bits));
        match comptime!(self.format.scales) {
            BlockScales::Mx { .. } => x * self.reciprocal,
            BlockScales::Nv => {
                // Two steps of Newton's method, each with an exact remainder: the second starts
                // within one unit in the last place, so its result is the rounded quotient
                // (Markstein, "Computation of elementary functions", theorem 5).
                let x = x * self.shift;
                let near = x * self.reciprocal;
                let rest = fma(-near, self.shifted, x);
                let near = fma(rest, self.reciprocal, near);
                let rest = fma(-near, self.shifted, x);
                fma(rest, self.reciprocal, near)
            }
        }
    }
}

/// A magnitude on its way to the grid; the sum rounds it, as in [`crate::codec::e2m1`].
#[derive(CubeType, Clone, Copy)]
struct Rounding {
    /// With as many anchors as the power of two has, exactly.
    sum: f32,
    /// The power of two below the magnitude, at least 1, as bits.
    exponent: u32,
}

#[cube]
impl Rounding {
    /// `y >= 0` or NaN; NaN and everything above 6 count as 6.
    fn of(y: f32) -> Rounding {
        let y = select(y < 6.0f32, y, 6.0f32);
        let exponent = u32::reinterpret(max(y, 1.0f32)) & 0x7f80_0000u32;
        Rounding {
            sum: fma(f32::reinterpret(exponent), ANCHOR, y),
            exponent,
        }
    }
}
