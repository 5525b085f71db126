//! E8M0, the block scale of MXFP4: a power of two in one byte (OCP MX v1.0, section 5.4.1).
//!
//! A byte `b` means `2^(b - 127)` for `b` in `0..=254`; 255 means NaN. There is no sign, no zero
//! and no infinity.

/// The byte that means NaN.
pub const NAN: u8 = 255;

/// Value of a scale byte: `2^(byte - 127)`, NaN for 255.
#[inline]
pub const fn decode(byte: u8) -> f32 {
    if byte == NAN {
        return f32::NAN;
    }
    scale(byte as u32)
}

/// Reciprocal of a scale byte, `2^(127 - byte)`, exact for every byte; NaN for 255.
///
/// Multiplying by it is dividing by the scale: both only change the exponent.
#[inline]
pub const fn inverse(byte: u8) -> f32 {
    match byte {
        NAN => f32::NAN,
        // 2^-127 is below the smallest normal number.
        254 => f32::from_bits(0x0040_0000),
        _ => inverse_scale(byte as u32),
    }
}

/// Scale byte of [`ScaleRule::Ceil`](crate::ScaleRule::Ceil): the smallest power of two with
/// `amax / scale <= 6`, at least `2^-127`.
///
/// `amax` is the largest magnitude of a block; its sign is ignored. Zero gives byte 0, infinity
/// counts as `f32::MAX` and gives 253, the largest byte the rules produce. NaN gives 255.
#[inline]
pub const fn from_amax_ceil(amax: f32) -> u8 {
    if amax.is_nan() {
        return NAN;
    }
    // At most 253, see `biased_exponent`.
    biased_exponent(amax.abs(), CEIL_BIAS) as u8
}

/// Scale byte of [`ScaleRule::Floor`](crate::ScaleRule::Floor): `floor(log2(amax)) - 2`, at least
/// `2^-127` (OCP MX v1.0, section 6.3).
///
/// Zero, infinity and NaN as in [`from_amax_ceil`].
#[inline]
pub const fn from_amax_floor(amax: f32) -> u8 {
    if amax.is_nan() {
        return NAN;
    }
    // Infinity has the exponent field 255.
    biased_exponent(amax.abs().min(f32::MAX), 0) as u8
}

/// Scale byte of [`ScaleRule::Even`](crate::ScaleRule::Even): the exponent of `Floor` for `amax`
/// rounded to one mantissa bit, half up.
///
/// Zero, infinity and NaN as in [`from_amax_ceil`].
#[inline]
pub const fn from_amax_even(amax: f32) -> u8 {
    if amax.is_nan() {
        return NAN;
    }
    biased_exponent(amax.abs().min(f32::MAX), EVEN_BIAS) as u8
}

/// Carries into the exponent exactly if the mantissa is above 1.5, that is if `amax` is above
/// `6 * 2^k` with an exponent two above `k`.
pub(crate) const CEIL_BIAS: u32 = 0x3f_ffff;

/// Carries into the exponent if the mantissa is at least 1.75, which rounds up to 2.
pub(crate) const EVEN_BIAS: u32 = 0x20_0000;

/// Biased exponent of a scale for a finite `amax >= 0`; in `0..=253`.
///
/// The exponent of `amax`, raised by the carry of `bias`, less the two of the largest element.
/// Subnormal `amax` end below `2^-127`, where the subtraction saturates. No logarithm, no division,
/// no rounding. The addition cannot overflow; it is a wrapping one because overflow checks would
/// keep the loops of debug builds scalar. The same holds for the rest of the crate.
#[inline(always)]
pub(crate) const fn biased_exponent(amax: f32, bias: u32) -> u32 {
    (amax.to_bits().wrapping_add(bias) >> 23).saturating_sub(2)
}

/// `2^(biased - 127)` for `biased <= 254`.
#[inline(always)]
pub(crate) const fn scale(biased: u32) -> f32 {
    // 2^-127 is subnormal: half of the smallest normal number.
    f32::from_bits(if biased == 0 {
        0x0040_0000
    } else {
        biased << 23
    })
}

/// `2^(127 - biased)` for `biased <= 253`.
#[inline(always)]
pub(crate) const fn inverse_scale(biased: u32) -> f32 {
    f32::from_bits(254u32.wrapping_sub(biased) << 23)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rule as it is defined, in f64, where every quotient below is exact enough to compare.
    fn oracle_ceil(amax: f32) -> u8 {
        (0..=254u8)
            .find(|&byte| f64::from(amax) <= 6.0 * 2f64.powi(i32::from(byte) - 127))
            .unwrap()
    }

    #[test]
    fn all_bytes_decode_to_their_power_of_two() {
        for byte in 0..=254u8 {
            let power = 2f64.powi(i32::from(byte) - 127);
            assert_eq!(f64::from(decode(byte)), power);
            assert_eq!(f64::from(inverse(byte)), 1.0 / power);
        }
        assert!(decode(255).is_nan() && inverse(255).is_nan());
    }

    #[test]
    fn published_examples() {
        let rows = [
            (1.5, 125),
            (1.507_812_5, 126),
            (1.75, 126),
            (4.0, 127),
            (5.0, 127),
        ];
        let more = [
            (6.0, 127),
            (6.031_25, 128),
            (7.0, 128),
            (7.5, 128),
            (0.0, 0),
        ];
        for (amax, byte) in rows.into_iter().chain(more) {
            assert_eq!(from_amax_ceil(amax), byte, "amax {amax}");
        }
        assert_eq!(from_amax_ceil(f32::INFINITY), from_amax_ceil(f32::MAX));
        assert_eq!(from_amax_ceil(f32::MAX), 253);
        assert_eq!(from_amax_ceil(f32::NAN), NAN);
    }

    #[test]
    fn one_ulp_around_every_step() {
        for byte in 0..=253u8 {
            let step = 6.0 * 2f64.powi(i32::from(byte) - 127);
            let step = step as f32;
            for amax in [step.next_down(), step, step.next_up()] {
                if amax.is_finite() {
                    assert_eq!(from_amax_ceil(amax), oracle_ceil(amax), "amax {amax:e}");
                }
            }
        }
    }

    #[test]
    fn floor_and_even_step_where_they_are_defined_to() {
        // amax, Floor, Even: the table of the field, and one ulp around the steps.
        let rows = [
            (1.5, 125, 125),
            (1.75, 125, 126),
            (4.0, 127, 127),
            (6.0, 127, 127),
        ];
        let more = [
            (6.031_25, 127, 127),
            (7.0, 127, 128),
            (7.5, 127, 128),
            (0.0, 0, 0),
        ];
        for (amax, floor, even) in rows.into_iter().chain(more) {
            assert_eq!(from_amax_floor(amax), floor, "amax {amax}");
            assert_eq!(from_amax_even(amax), even, "amax {amax}");
        }
        assert_eq!(from_amax_even(7f32.next_down()), 127);
        assert_eq!(from_amax_floor(8f32.next_down()), 127);
        assert_eq!((from_amax_floor(8.0), from_amax_even(8.0)), (128, 128));
        for amax in [f32::INFINITY, f32::MAX] {
            assert_eq!((from_amax_floor(amax), from_amax_even(amax)), (252, 253));
        }
        assert_eq!(
            (from_amax_floor(f32::NAN), from_amax_even(f32::NAN)),
            (NAN, NAN)
        );
    }

    proptest! {
        #[test]
        fn floor_is_two_below_the_exponent(bits in 0x0080_0000u32..0x7f80_0000) {
            let amax = f32::from_bits(bits);
            let exponent = f64::from(amax).log2().floor() as i32 - 2;
            // log2 rounds up just below a power of two.
            let exponent = if 2f64.powi(exponent + 2) > f64::from(amax) { exponent - 1 } else { exponent };
            prop_assert_eq!(i32::from(from_amax_floor(amax)), exponent.max(-127) + 127);
        }
    }

    #[test]
    fn floor_is_never_above_ceil() {
        for byte in 0..=253u8 {
            let step = (6.0 * 2f64.powi(i32::from(byte) - 127)) as f32;
            for amax in [step.next_down(), step.next_up()] {
                assert!(from_amax_floor(amax.min(f32::MAX)) <= from_amax_ceil(amax));
            }
        }
    }

    proptest! {
        #[test]
        fn ceil_is_the_smallest_scale_that_does_not_clip(bits in 0u32..0x7f80_0000) {
            let amax = f32::from_bits(bits);
            prop_assert_eq!(from_amax_ceil(amax), oracle_ceil(amax));
        }
    }
}
