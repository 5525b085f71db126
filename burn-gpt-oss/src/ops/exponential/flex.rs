//! The exponential function in a form that the compiler vectorizes.

/// Below, `exp(x)` is no normal number.
const LOWEST: f32 = -87.336_54;
/// Above, the power of two would be no float.
const HIGHEST: f32 = 88.376;
/// `1.5 * 2^23`: added and subtracted, it rounds to an integer, which is then in the low bits.
const ROUNDING: f32 = 12_582_912.0;
/// `ln 2` in two parts; products of the first with exponents are exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// Minimax polynomial of `(exp(r) - 1 - r) / r^2` on `|r| <= ln 2 / 2` (Cephes, `expf`).
const COEFFICIENTS: [f32; 6] = [
    1.987_569_1e-4,
    1.398_199_9e-3,
    8.333_452e-3,
    4.166_579_6e-2,
    1.666_666_5e-1,
    5e-1,
];

/// `exp(x)` within 1 unit in the last place; 0 where the result would be subnormal, and infinity
/// for `x` above 88.376 already.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let shifted = x * std::f32::consts::LOG2_E + ROUNDING;
    let n = shifted - ROUNDING;
    let r = x - n * LN_2[0] - n * LN_2[1];
    let mut tail = COEFFICIENTS[0];
    for coefficient in &COEFFICIENTS[1..] {
        tail = tail * r + coefficient;
    }
    let mantissa = tail * (r * r) + r + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    let y = mantissa * power;
    let y = if x < LOWEST { 0.0 } else { y };
    if x > HIGHEST { f32::INFINITY } else { y }
}

#[cfg(test)]
mod tests {
    use super::exp;

    /// Distance in units in the last place of the exact value.
    fn ulps(x: f32) -> f64 {
        let exact = f64::from(x).exp();
        let ulp = 2f64.powi(exact.log2().floor() as i32 - 23);
        (f64::from(exp(x)) - exact).abs() / ulp
    }

    #[test]
    fn is_within_one_unit_in_the_last_place() {
        let grid = (-87_336..=88_375).map(|i| i as f32 * 1e-3);
        let small = (0..10_000).map(|i| (i as f32 - 5e3) * 1e-7);
        for x in grid.chain(small) {
            assert!(ulps(x) <= 1.0, "exp({x}) = {}: {} ulp", exp(x), ulps(x));
        }
    }

    #[test]
    fn keeps_zero_infinity_and_nan() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-87.5), 0.0);
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(89.0), f32::INFINITY);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }
}
