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
/// counts as `f32::MAX` and gives 253, the largest byte this rule produces. NaN gives 255.
#[inline]
pub const fn from_amax_ceil(amax: f32) -> u8 {
    if amax.is_nan() {
        return NAN;
    }
    // At most 253, see `biased_ceil`.
    biased_ceil(amax.abs()) as u8
}

/// Biased exponent of the `Ceil` rule for `amax >= 0`, not NaN; in `0..=253`.
///
/// `6 * 2^k` has mantissa 1.5, bits `0x40_0000`, and an exponent two above that of `2^k`. Adding
/// `0x3f_ffff` carries into the exponent exactly if the mantissa is larger. Subnormal `amax` end
/// below `2^-127`, where the subtraction saturates. No logarithm, no division, no rounding. The
/// addition cannot overflow; it is a wrapping one because overflow checks would keep the loops of
/// debug builds scalar. The same holds for the rest of the crate.
#[inline(always)]
pub(crate) const fn biased_ceil(amax: f32) -> u32 {
    (amax.to_bits().wrapping_add(0x3f_ffff) >> 23).saturating_sub(2)
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

    proptest! {
        #[test]
        fn ceil_is_the_smallest_scale_that_does_not_clip(bits in 0u32..0x7f80_0000) {
            let amax = f32::from_bits(bits);
            prop_assert_eq!(from_amax_ceil(amax), oracle_ceil(amax));
        }
    }
}
