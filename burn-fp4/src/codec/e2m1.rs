//! E2M1, the 4-bit element of FP4 formats (OCP MX v1.0, section 5.3.3).
//!
//! A code is a nibble: bit 3 is the sign, bits 0 to 2 count the magnitudes 0, 0.5, 1, 1.5, 2, 3,
//! 4, 6. There is no infinity and no NaN; 0 exists with both signs.
//!
//! This file holds the only rounding of the crate: fake quantization, packing and export go
//! through the same sum, so they cannot disagree.

/// Value of every code; index with the nibble.
pub const VALUES: [f32; 16] = [
    0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, //
    -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0,
];

/// The largest magnitude.
pub const MAX: f32 = 6.0;

/// Value of the code in the low nibble of `code`; the high nibble is ignored.
#[inline]
pub const fn decode(code: u8) -> f32 {
    VALUES[(code & 0xf) as usize]
}

/// Whether all codes, two per byte, are zeros of either sign.
pub(crate) fn are_zeros(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| byte & 0x77 == 0)
}

/// Code of the value nearest to `value`, ties to the even code, saturating at 6.
///
/// The sign bit is kept as IEEE 754 has it: `-0.0` and a negative value that rounds to zero give
/// code 8. Infinity gives magnitude 6, and so does NaN.
#[inline]
pub fn encode(value: f32) -> u8 {
    encode_bits(value) as u8
}

/// [`encode`] in the 32-bit lanes the vector loops work with.
#[inline(always)]
fn encode_bits(value: f32) -> u32 {
    magnitude_code(value.abs()) | (value.to_bits() >> 31 << 3)
}

/// Code of `value >= 0` or NaN, without a sign.
#[inline(always)]
pub(crate) fn magnitude_code(value: f32) -> u32 {
    Rounding::of(value).code()
}

/// The magnitude nearest to `value >= 0`; 6 for NaN.
#[inline(always)]
pub(crate) fn round_magnitude(value: f32) -> f32 {
    Rounding::of(value).magnitude()
}

/// The representable value nearest to `value`: `decode(encode(value))`, so NaN becomes 6.
#[inline(always)]
pub fn round(value: f32) -> f32 {
    let magnitude = round_magnitude(value.abs());
    f32::from_bits(magnitude.to_bits() | (value.to_bits() & 0x8000_0000))
}

/// [`decode`] for `code < 16` by arithmetic, because a table lookup does not vectorize.
#[inline(always)]
pub(crate) fn decode_bits(code: u32) -> f32 {
    let magnitude = code & 7;
    let field = magnitude << 22;
    // Exponent field 0 has no implicit leading one: write it as 1.m and take the one away.
    let subnormal = f32::from_bits(field.wrapping_add(127 << 23)) - 1.0;
    let normal = f32::from_bits(field.wrapping_add(126 << 23));
    let value = if magnitude < 2 { subnormal } else { normal };
    f32::from_bits(value.to_bits() | (code >> 3 << 31))
}

/// A magnitude on its way to the grid: `sum` is `y + anchor`, rounded by the adder itself.
///
/// The grid steps are 0.5 below 2, 1 below 4 and 2 up to 6. The anchors `2^22`, `2^23` and `2^24`
/// have just these steps as unit in the last place, so the IEEE addition rounds to the grid, to
/// nearest with ties to even, and what is left of the sum counts steps.
#[derive(Clone, Copy)]
struct Rounding {
    sum: f32,
    anchor: f32,
    exponent: u32,
}

impl Rounding {
    /// `y >= 0` or NaN; NaN and everything above 6 count as 6.
    #[inline(always)]
    fn of(y: f32) -> Self {
        // Written as comparisons because they also catch NaN and are one instruction each.
        let y = if y < MAX { y } else { MAX };
        let at_least_one = if y > 1.0 { y } else { 1.0 };
        let exponent = at_least_one.to_bits() & 0x7f80_0000;
        let anchor = f32::from_bits(exponent.wrapping_add(22 << 23));
        Self {
            sum: y + anchor,
            anchor,
            exponent,
        }
    }

    #[inline(always)]
    fn magnitude(self) -> f32 {
        self.sum - self.anchor
    }

    #[inline(always)]
    fn code(self) -> u32 {
        let steps = self.sum.to_bits().wrapping_sub(self.anchor.to_bits());
        // 2 for exponent 1, 4 for exponent 2: the codes skipped where the step doubles.
        steps.wrapping_add((self.exponent >> 22).wrapping_sub(127 << 1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Nearest magnitude by search in f64; a tie goes to the even code.
    fn oracle(value: f32) -> u8 {
        // Beyond 8 only saturation is left, and f64 differences would lose the magnitudes.
        let y = f64::from(value.abs()).min(8.0);
        let distance = |code: usize| (f64::from(VALUES[code]) - y).abs();
        let best = (0..8usize)
            .min_by(|&a, &b| {
                let parity = (a % 2).cmp(&(b % 2));
                distance(a).total_cmp(&distance(b)).then(parity)
            })
            .unwrap();
        best as u8 | (u8::from(value.is_sign_negative()) << 3)
    }

    fn check(value: f32) {
        let code = encode(value);
        assert_eq!(code, oracle(value), "{value:e}");
        assert_eq!(round(value).to_bits(), decode(code).to_bits(), "{value:e}");
    }

    #[test]
    fn every_code_round_trips() {
        for code in 0..16u8 {
            assert_eq!(encode(decode(code)), code);
            assert_eq!(
                decode_bits(u32::from(code)).to_bits(),
                decode(code).to_bits()
            );
            assert_eq!(decode(code | 0xa0).to_bits(), decode(code).to_bits());
        }
    }

    #[test]
    fn midpoints_go_to_even_and_their_neighbours_do_not() {
        for (tie, even) in [(0.25, 0.0), (0.75, 1.0), (1.25, 1.0), (1.75, 2.0)]
            .into_iter()
            .chain([(2.5, 2.0), (3.5, 4.0), (5.0f32, 4.0f32)])
        {
            assert_eq!(round(tie), even);
            assert_eq!(round(-tie), -even);
            check(tie.next_down());
            check(tie.next_up());
        }
    }

    #[test]
    fn specials() {
        assert_eq!(encode(-0.0), 8);
        assert_eq!(encode(-1e-30), 8);
        assert_eq!((encode(f32::INFINITY), encode(f32::NEG_INFINITY)), (7, 15));
        assert_eq!((encode(f32::NAN), encode(-f32::NAN)), (7, 15));
        assert_eq!(round(f32::NAN), 6.0);
    }

    #[test]
    fn all_bf16_values_round_as_the_oracle_does() {
        for bits in 0..=u16::MAX {
            let value = half::bf16::from_bits(bits).to_f32();
            if !value.is_nan() {
                check(value);
            }
        }
    }

    /// Every f32 from 2^-3 (all below round to 0) to 8 (all above saturate).
    #[test]
    #[ignore = "50 million values, for a change of the rounding"]
    fn all_f32_values_of_interest_round_as_the_oracle_does() {
        for bits in 0.125f32.to_bits()..=8f32.to_bits() {
            check(f32::from_bits(bits));
        }
    }

    proptest! {
        #[test]
        fn f32_values_round_as_the_oracle_does(value in -8.0f32..8.0) {
            check(value);
        }
    }
}
