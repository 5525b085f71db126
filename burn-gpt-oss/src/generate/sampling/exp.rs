//! The exponential function by additions and multiplications alone: the same bits on every platform,
//! unlike that of the system's library, and vectorized.

use std::f64::consts::{LN_2, LOG2_E};

/// One and a half times the first power of two above which an f64 holds no fraction: a sum with it is
/// rounded to an integer, which then is in the lowest bits.
const ROUND: f64 = 1.5 * (1_u64 << 52) as f64;

/// `1 / n!` for `n` from 8 down to 0.
const TAYLOR: [f64; 9] = [
    1.0 / 40320.0,
    1.0 / 5040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
    1.0,
    1.0,
];

/// `e^x` for `x` up to 0, rounded to f32; the relative error before the rounding is below 1e-9.
pub(super) fn exp_of_negative(x: f64) -> f32 {
    // Everything below becomes 0 in f32.
    let x = x.max(-200.0);
    let shifted = x * LOG2_E + ROUND;
    let rest = x - (shifted - ROUND) * LN_2;
    let power_of_two = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1_f64.to_bits()));
    let power_of_e = TAYLOR.iter().fold(0.0, |sum, factor| sum * rest + factor);
    (power_of_two * power_of_e) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_function_of_the_library() {
        for step in 0..2_000_000 {
            let x = f64::from(step) * -5e-5;
            let (found, expected) = (f64::from(exp_of_negative(x)), x.exp());
            let tolerance = expected * 6.1e-8 + 1e-45;
            assert!(
                (found - expected).abs() <= tolerance,
                "{x}: {found}, {expected}"
            );
        }
    }

    #[test]
    fn ends_of_the_range() {
        assert_eq!(exp_of_negative(0.0), 1.0);
        assert_eq!(exp_of_negative(-0.0), 1.0);
        assert_eq!(exp_of_negative(-1e-300), 1.0);
        for x in [-110.0, -1e300, f64::NEG_INFINITY] {
            assert_eq!(exp_of_negative(x), 0.0);
        }
    }

    #[test]
    fn never_rises_towards_the_left() {
        let mut last = 1.0;
        for step in 0..3_000_000 {
            let weight = exp_of_negative(f64::from(step) * -4e-6);
            assert!(weight <= last);
            last = weight;
        }
    }
}
