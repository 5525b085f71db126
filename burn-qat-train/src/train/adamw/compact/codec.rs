//! Numbers in few bits. All arithmetic is float32; on the CPU each operation is rounded by itself.

use half::bf16;

/// A float32 number as bfloat16, half-way cases away from zero, and the bits that it is off by: their sum is the number.
#[inline(always)]
pub fn split32(value: f32) -> (u16, i16) {
    let bits = value.to_bits();
    let high = bits.wrapping_add(0x8000) >> 16;
    (high as u16, bits.wrapping_sub(high << 16) as i16)
}

#[inline(always)]
pub fn join32(high: u16, low: i16) -> f32 {
    f32::from_bits((u32::from(high) << 16).wrapping_add(i32::from(low) as u32))
}

/// The same with the first 8 of these bits, rounded to nearest, half-way cases upwards; the largest number that they have
/// stands for what would round beyond it.
#[inline(always)]
pub fn split24(value: f32) -> (u16, i8) {
    let (high, low) = split32(value);
    let rounded = ((i32::from(low) + 0x80) >> 8).min(127);
    (high, rounded as i8)
}

#[inline(always)]
pub fn join24(high: u16, low: i8) -> f32 {
    join32(high, i16::from(low) << 8)
}

/// The next bfloat16 number on either side, the nearer one with the larger probability; 16 random bits decide.
#[inline(always)]
pub fn stochastic(value: f32, random: u32) -> u16 {
    (value.to_bits().wrapping_add(random & 0xffff) >> 16) as u16
}

/// 32 random bits for a counter (Wang's integer hash in the constants of Ellis's `lowbias32`).
#[inline(always)]
pub fn random(seed: u32, counter: u32) -> u32 {
    let mut x = counter.wrapping_mul(0x9e37_79b9) ^ seed;
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// The scale of a group: the next bfloat16 number from its largest magnitude upwards.
#[inline(always)]
pub fn scale(largest: f32) -> u16 {
    let bits = largest.to_bits();
    (bits.wrapping_add(0xffff) >> 16) as u16
}

#[inline(always)]
pub fn scale_value(bits: u16) -> f32 {
    bf16::from_bits(bits).to_f32()
}

/// `1 / scale`, zero for zero.
#[inline(always)]
pub fn inverse(scale: f32) -> f32 {
    match scale > 0.0 {
        true => 1.0 / scale,
        false => 0.0,
    }
}

/// The code of a first moment over its scale, `y` within -1 and 1: `2 y / (1 + |y|)` in 127 steps.
#[inline(always)]
pub fn compand(y: f32) -> u8 {
    let z = 2.0 * y / (1.0 + y.abs());
    floor(z * 127.0 + 127.5).wrapping_sub(127)
}

#[inline(always)]
pub fn expand(code: u8) -> f32 {
    let z = f32::from(code as i8) / 127.0;
    z / (2.0 - z.abs())
}

/// The code of the root of a second moment over its scale, from 0 to 1, in 255 steps.
#[inline(always)]
pub fn root_code(y: f32) -> u8 {
    floor(y * 255.0 + 0.5)
}

/// The integer below a number from 0 to 255: the last bits of a sum whose unit is 1. A cast would look for numbers that are
/// out of range, one at a time.
#[inline(always)]
fn floor(x: f32) -> u8 {
    const UNIT_IS_ONE: f32 = 8_388_608.0;
    (x.floor() + UNIT_IS_ONE).to_bits() as u8
}

/// The largest magnitude. Magnitudes of floats are ordered as their bits, which are compared side by side.
#[inline(always)]
pub fn largest(values: &[f32]) -> f32 {
    let magnitudes = values.iter().map(|value| value.to_bits() & 0x7fff_ffff);
    f32::from_bits(magnitudes.fold(0, u32::max))
}

#[inline(always)]
pub fn root(code: u8) -> f32 {
    f32::from(code) / 255.0
}

#[cfg(test)]
mod tests {
    use super::super::parts::Moment;
    use super::*;

    fn samples() -> impl Iterator<Item = f32> {
        let bits = (0..2_000_000u32).map(|i| random(7, i));
        let ends = [
            0,
            0x8000,
            0xffff,
            0x7fff,
            0x3f80_8000,
            0x3f81_8000,
            0xbf80_8000,
        ];
        bits.chain(ends)
            .map(f32::from_bits)
            .filter(|x| x.is_finite() && x.abs() < 1e38)
    }

    #[test]
    fn two_halves_are_the_number_and_the_first_is_the_nearest() {
        for value in samples() {
            let (high, low) = split32(value);
            assert_eq!(join32(high, low).to_bits(), value.to_bits());
            let nearest = bf16::from_f32(value).to_f32();
            let found = scale_value(high);
            assert_eq!(
                (f64::from(found) - f64::from(value)).abs(),
                (f64::from(nearest) - f64::from(value)).abs()
            );
        }
    }

    #[test]
    fn twenty_four_bits_are_off_by_half_a_unit_of_theirs_at_most() {
        for value in samples().filter(|x| x.abs() > 1e-30) {
            let (high, low) = split24(value);
            let unit = f64::from(f32::from_bits(value.to_bits() & 0x7f80_0000)) * 2f64.powi(-15);
            let off = (f64::from(join24(high, low)) - f64::from(value)).abs();
            // One side of a bfloat16 number has 127 steps only.
            assert!(
                off <= unit * 0.5 || (low == 127 && off <= unit),
                "{value} is off by {off}"
            );
            assert_eq!(split24(join24(high, low)), (high, low), "{value}");
        }
    }

    #[test]
    fn stochastic_rounding_is_right_on_average() {
        let value = f32::from_bits(0x3f80_4000);
        let ups = (0..100_000)
            .filter(|i| stochastic(value, random(3, *i)) == 0x3f81)
            .count();
        assert!(
            (24_500..25_500).contains(&ups),
            "{ups} of 100000 where a quarter is expected"
        );
        assert_eq!(stochastic(1.0, 0xffff), 0x3f80, "a bfloat16 number stays");
    }

    #[test]
    fn codes_are_the_integers_below() {
        for i in 0..1_000_000u32 {
            let y = random(5, i) as f32 / u32::MAX as f32 * 1.000_000_1;
            let expected = (y * 255.0 + 0.5).floor() as i32;
            assert_eq!(i32::from(root_code(y)), expected, "{y}");
            for y in [y, -y] {
                let z = 2.0 * y / (1.0 + y.abs());
                let expected = (z * 127.0 + 127.5).floor() as i32 - 127;
                assert_eq!(i32::from(compand(y) as i8), expected, "{y}");
            }
        }
        assert_eq!(largest(&[0.5, -2.0, 1.0, -0.0]), 2.0);
    }

    #[test]
    fn codes_of_moments_decode_to_what_they_encode() {
        for code in 1..=255u8 {
            assert_eq!(root_code(root(code)), code);
            if code != 128 {
                assert_eq!(compand(expand(code)), code, "{code}");
            }
        }
        assert_eq!(
            [compand(1.0) as i8, compand(-1.0) as i8, compand(0.0) as i8],
            [127, -127, 0]
        );
        assert_eq!(root_code(1.0), 255);
        assert!(scale_value(scale(1.000_001)) >= 1.000_001);
        assert_eq!(scale_value(scale(0.0)), 0.0);
    }

    /// A decay of 0.999 changes a root by half a thousandth, less than a code and less than a place of bfloat16.
    #[test]
    fn a_second_moment_decays_where_gradients_end() {
        let (mut codes, mut scales) = ([0u8; 32], [0f32; 1]);
        let mut values = [0f32; 32];
        for (i, value) in values.iter_mut().enumerate() {
            *value = ((i + 1) as f32 * 1e-3).powi(2);
        }
        let first = values;
        Moment::Root(&mut codes, &mut scales).store(0, 32, &values);
        for _ in 0..3000 {
            let mut moment = Moment::Root(&mut codes, &mut scales);
            moment.load(0, 32, &mut values);
            values.iter_mut().for_each(|value| *value *= 0.999);
            moment.store(0, 32, &values);
        }
        let expected = 0.999f64.powi(3000);
        for (value, first) in values.iter().zip(first).skip(8) {
            let ratio = f64::from(*value) / f64::from(first) / expected;
            assert!((0.9..1.1).contains(&ratio), "{ratio}");
        }
    }
}
