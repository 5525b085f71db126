//! The exponential function without branches, for loops that are vectorized.

/// `ln 2` in two parts; products of the first, which has 9 bits, with an exponent are exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// Added to a number of smaller magnitude than 2^22, rounds it to the nearest integer and leaves
/// that in the low bits.
const ROUND: f32 = 12_582_912.0;
/// Where results stay normal.
const RANGE: [f32; 2] = [-87.336_54, 88.029_69];
/// `(exp(r) - 1 - r) / r^2` on `|r| <= ln(2) / 2` (Cephes, `expf`), highest power first.
const POLYNOMIAL: [f32; 6] = [
    1.987_569_1e-4,
    1.398_2e-3,
    8.333_452e-3,
    4.166_579_6e-2,
    1.666_666_5e-1,
    5e-1,
];

/// `e^x` within 2 units in the last place for `x` in `[-87.3, 88]`; the value at the nearer end
/// outside, NaN for NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = if x < RANGE[0] { RANGE[0] } else { x };
    let x = if x > RANGE[1] { RANGE[1] } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let exponent = rounded - ROUND;
    let r = (x - exponent * LN_2[0]) - exponent * LN_2[1];
    let polynomial = POLYNOMIAL.iter().fold(0.0, |sum, factor| sum * r + factor);
    let fraction = polynomial * (r * r) + r + 1.0;
    // 2^exponent: the integer moves to the bits of the exponent, whose bias is added there.
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    fraction * power
}

/// `1 / (1 + e^-x)` within 4 units in the last place, for every `x` whose result is at least
/// `e^-87.3`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    // Of the two forms the one whose exponential is at most one: it cannot overflow.
    let small = exp(-x.abs());
    let numerator = if x < 0.0 { small } else { 1.0 };
    numerator / (1.0 + small)
}

#[cfg(test)]
mod tests {
    use super::{exp, sigmoid};

    fn ulps(found: f32, exact: f64) -> f64 {
        let unit = f64::from(f32::EPSILON) * 2f64.powf(exact.log2().floor());
        (f64::from(found) - exact).abs() / unit
    }

    /// Every 64th float of the range, of either sign.
    fn floats(limit: f32) -> impl Iterator<Item = f32> {
        let magnitudes = (0..limit.to_bits()).step_by(64).map(f32::from_bits);
        magnitudes.flat_map(|x| [x, -x])
    }

    #[test]
    fn exp_is_within_two_ulp() {
        let worst = floats(87.3).map(|x| ulps(exp(x), f64::from(x).exp()));
        let worst = worst.fold(0.0, f64::max);
        assert!(worst <= 2.0, "{worst}");
    }

    #[test]
    fn sigmoid_is_within_four_ulp() {
        let worst = floats(87.3).map(|x| ulps(sigmoid(x), 1.0 / (1.0 + f64::from(-x).exp())));
        let worst = worst.fold(0.0, f64::max);
        assert!(worst <= 4.0, "{worst}");
    }

    #[test]
    fn beyond_the_range_the_ends() {
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(1e30).is_finite() && exp(f32::INFINITY) > 1e38);
        assert!(exp(-1e30) < 2e-38);
        assert!(exp(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
        assert_eq!([sigmoid(f32::INFINITY), sigmoid(0.0)], [1.0, 0.5]);
    }
}
