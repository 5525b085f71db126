//! E4M3, the block scale of NVFP4: eight bits with a sign, four exponent and three mantissa bits
//! (OCP 8-bit floating point v1.0, section 5.1, type E4M3FN).
//!
//! Bias 7, largest magnitude 448, smallest normal `2^-6`, subnormals in steps of `2^-9`. There is no
//! infinity; the two codes with all lower bits set mean NaN. Block scales use the codes without sign,
//! FP8 activations use all of them.

/// The code that means NaN (its negative, 255, does too).
pub const NAN: u8 = 0x7f;

/// The largest magnitude.
pub const MAX: f32 = 448.0;

/// The smallest positive value, `2^-9`.
pub const MIN_POSITIVE: f32 = 0.001_953_125;

/// The code of 1, which NVFP4 stores as the scale of a block of zeros.
pub const ONE: u8 = 0x38;

/// Below this value, `2^-6`, steps no longer shrink.
const MIN_NORMAL: f32 = 0.015_625;

/// Distance between the exponent fields of `f32` (bias 127) and of E4M3 (bias 7), in code steps.
const REBIAS: u32 = 120 << 3;

/// Value of a code.
#[inline]
pub const fn decode(code: u8) -> f32 {
    let magnitude = decode_bits((code & 0x7f) as u32);
    f32::from_bits(magnitude.to_bits() | ((code as u32 & 0x80) << 24))
}

/// Code of the value nearest to `value`, ties to the even code, saturating at 448.
///
/// The sign bit is kept as IEEE 754 has it. Infinity saturates; NaN gives [`NAN`] with its sign.
#[inline]
pub const fn encode(value: f32) -> u8 {
    let sign = (value.to_bits() >> 24) as u8 & 0x80;
    if value.is_nan() {
        return NAN | sign;
    }
    // At most 448, whose code is 0x7e.
    code_of(round_magnitude(value.abs())) as u8 | sign
}

/// The representable value nearest to `value`: `decode(encode(value))`, NaN stays NaN.
#[inline(always)]
pub const fn round(value: f32) -> f32 {
    if value.is_nan() {
        return value;
    }
    let magnitude = round_magnitude(value.abs());
    f32::from_bits(magnitude.to_bits() | (value.to_bits() & 0x8000_0000))
}

/// [`round`] for `value >= 0`, not NaN. No table, no branch: it vectorizes.
#[inline(always)]
pub(crate) const fn round_magnitude(value: f32) -> f32 {
    let value = if value < MAX { value } else { MAX };
    let bits = value.to_bits();
    // Three mantissa bits stay. Half of the last one, less one for ties to even, carries upwards.
    let ties = 0x7_ffffu32.wrapping_add((bits >> 20) & 1);
    let normal = f32::from_bits(bits.wrapping_add(ties) & 0xfff0_0000);
    // The unit in the last place of 2^14 is 2^-9: the adder rounds subnormals.
    let subnormal = (value + 16_384.0) - 16_384.0;
    if value < MIN_NORMAL {
        subnormal
    } else {
        normal
    }
}

/// Code of a representable `value` in `0..=448`.
#[inline(always)]
pub(crate) const fn code_of(value: f32) -> u32 {
    let normal = (value.to_bits() >> 20).wrapping_sub(REBIAS);
    let anchored = value + 16_384.0;
    let subnormal = anchored.to_bits().wrapping_sub(16_384f32.to_bits());
    if value < MIN_NORMAL {
        subnormal
    } else {
        normal
    }
}

/// [`decode`] for `code < 128` by arithmetic, because a table lookup does not vectorize.
#[inline(always)]
pub(crate) const fn decode_bits(code: u32) -> f32 {
    let normal = f32::from_bits(code.wrapping_add(REBIAS) << 20);
    let subnormal = f32::from_bits(16_384f32.to_bits().wrapping_add(code)) - 16_384.0;
    let value = if code < 8 { subnormal } else { normal };
    if code == NAN as u32 { f32::NAN } else { value }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The format as it is defined, in f64.
    fn oracle_decode(code: u8) -> f64 {
        let (exponent, mantissa) = (i32::from(code >> 3 & 0xf), f64::from(code & 7));
        let magnitude = match exponent {
            0 => mantissa * 2f64.powi(-9),
            _ => (8.0 + mantissa) * 2f64.powi(exponent - 10),
        };
        if code & 0x80 == 0 {
            magnitude
        } else {
            -magnitude
        }
    }

    fn oracle_encode(value: f32) -> u8 {
        let y = f64::from(value.abs()).min(500.0);
        let distance = |code: u8| (oracle_decode(code) - y).abs();
        let best = (0..0x7fu8).min_by(|&a, &b| {
            let order = distance(a).total_cmp(&distance(b));
            order.then((a % 2).cmp(&(b % 2)))
        });
        best.unwrap() | u8::from(value.is_sign_negative()) << 7
    }

    #[test]
    fn every_code_round_trips() {
        for code in 0..=255u8 {
            if code & 0x7f == NAN {
                assert!(decode(code).is_nan());
                assert_eq!(encode(decode(code)) & 0x7f, NAN);
            } else {
                assert_eq!(f64::from(decode(code)), oracle_decode(code), "{code}");
                assert_eq!(encode(decode(code)), code);
                assert_eq!(round(decode(code)).to_bits(), decode(code).to_bits());
            }
        }
        assert_eq!(
            (decode(0x7e), decode(1), decode(ONE)),
            (MAX, MIN_POSITIVE, 1.0)
        );
    }

    #[test]
    fn midpoints_go_to_even_and_their_neighbours_do_not() {
        for code in 0..0x7eu8 {
            let midpoint = ((oracle_decode(code) + oracle_decode(code + 1)) / 2.0) as f32;
            assert_eq!(encode(midpoint), code + code % 2, "{midpoint}");
            assert_eq!(encode(midpoint.next_down()), code);
            assert_eq!(encode(midpoint.next_up()), code + 1);
        }
    }

    #[test]
    fn specials() {
        assert_eq!((encode(f32::INFINITY), encode(-449.0)), (0x7e, 0xfe));
        assert_eq!((encode(-0.0), encode(1e-30)), (0x80, 0));
        assert_eq!(encode(f32::NAN) & 0x7f, NAN);
        assert!(round(f32::NAN).is_nan());
    }

    proptest! {
        #[test]
        fn f32_values_round_as_the_oracle_does(bits in any::<u32>()) {
            let value = f32::from_bits(bits);
            prop_assume!(!value.is_nan());
            prop_assert_eq!(encode(value), oracle_encode(value));
            prop_assert_eq!(round(value).to_bits(), decode(encode(value)).to_bits());
        }

        #[test]
        fn values_in_range_round_as_the_oracle_does(value in -460.0f32..460.0, e in -14i32..1) {
            let value = value * 2f32.powi(e);
            prop_assert_eq!(encode(value), oracle_encode(value));
        }
    }
}
