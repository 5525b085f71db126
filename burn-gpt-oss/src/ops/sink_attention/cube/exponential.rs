//! Exponentials.
//!
//! What a runtime has by itself is `native`. CUDA's takes libdevice, a file of the CUDA toolkit, when
//! a kernel is compiled, and more instructions than attention can spare.

use core::f32::consts::LOG2_E;

use cubecl::prelude::*;

/// `1.5 * 2^23`: floats of this size have no fraction, so adding it rounds, and the integer is in the
/// lowest bits of the sum.
const ROUND: f32 = 12_582_912.0;

/// Powers of two from here on are zero: the exponent of the result is then zero, and so is the fraction
/// because all polynomials are exactly one at zero.
const ZERO: f32 = -127.0;

/// `e^x` for `x` up to 80; relative error below `(4 + |x|) * 2^-24`.
#[cube]
pub(super) fn exp(x: f32, #[comptime] native: bool) -> f32 {
    if comptime!(native) {
        x.exp()
    } else {
        let x = x * LOG2_E;
        // NaN stays what it is.
        let x = select(x < ZERO, ZERO, x);
        let sum = x + ROUND;
        let rest = x - (sum - ROUND);
        // Minimax on [-1/2, 1/2], relative error 2^-29.
        let p = fma(rest, 1.534_581_2e-4f32, 1.339_993_1e-3f32);
        let p = fma(rest, p, 9.618_489e-3f32);
        let p = fma(rest, p, 5.550_328_8e-2f32);
        let p = fma(rest, p, 2.402_264_7e-1f32);
        let p = fma(rest, p, 6.931_472e-1f32);
        scale(fma(rest, p, 1.0f32), sum)
    }
}

/// `2^(factor * score - shift)` for exponents up to 120, relative error `2^-13`; zero of NaN. That is
/// much less than what is lost when a weight becomes a 16-bit float.
#[cube]
pub(super) fn weight(score: f32, factor: f32, shift: f32) -> f32 {
    let x = max(fma(score, factor, -shift), ZERO);
    let sum = x + ROUND;
    scale(power(x - (sum - ROUND)), sum)
}

/// `2^(factor * score - shift)` as [`weight`], for one whole `shift` and many scores.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Weights {
    factor: f32,
    /// The smallest score that does not count as this one.
    lowest: f32,
    /// Whole.
    round: f32,
}

#[cube]
impl Weights {
    /// For shifts that are whole numbers below `2^22`.
    pub fn new(factor: f32, shift: f32) -> Self {
        // A little above `ZERO`, for the error of the division: the result is so small that it is zero
        // as a 16-bit float, but would be anything just below.
        let margin = fma(max(shift, -shift), 4.768_371_6e-7f32, 9.765_625e-4f32);
        Weights {
            factor,
            lowest: (shift + ZERO + margin) / factor,
            round: ROUND - shift,
        }
    }

    pub fn of(&self, score: f32) -> f32 {
        let score = max(score, self.lowest);
        let sum = fma(score, self.factor, self.round);
        scale(power(fma(score, self.factor, self.round - sum)), sum)
    }
}

/// The nearest whole number.
#[cube]
pub(super) fn whole(x: f32) -> f32 {
    (x + ROUND) - ROUND
}

/// `2^rest` for `rest` in [-1/2, 1/2]: minimax, relative error 2^-13.
#[cube]
fn power(rest: f32) -> f32 {
    let p = fma(rest, 5.500_860_6e-2f32, 2.422_110_1e-1f32);
    let p = fma(rest, p, 6.932_83e-1f32);
    fma(rest, p, 1.0f32)
}

/// `x` times the power of two whose exponent is in the lowest bits of `sum`.
#[cube]
fn scale(x: f32, sum: f32) -> f32 {
    f32::reinterpret(u32::reinterpret(x) + (u32::reinterpret(sum) << 23u32))
}

/// What is known about a row, with the logarithm of its sum, the first, to base two and finite.
#[cube]
pub(super) fn base_two(statistics: Vector<f32, Const<2>>) -> Vector<f32, Const<2>> {
    let mut statistics = statistics;
    let logarithm = statistics.extract(0usize) * LOG2_E;
    statistics.insert(0usize, max(logarithm, f32::MIN));
    statistics
}
