use super::{Format, squared_error};
use crate::codec::e2m1;
use crate::codec::e8m0;
use crate::codec::element::private::Lane;
use crate::scheme::scale_rule::ScaleRule;

/// MXFP4: the scale is a power of two, kept as its reciprocal.
#[derive(Clone, Copy)]
pub(crate) struct Mx {
    /// Added to the bits of `amax` before the mantissa is dropped: where the exponent steps.
    bias: u32,
    search: bool,
}

impl Mx {
    pub fn new(rule: ScaleRule) -> Self {
        Self {
            bias: match rule {
                ScaleRule::Ceil | ScaleRule::Mse => e8m0::CEIL_BIAS,
                ScaleRule::Floor => 0,
                ScaleRule::Even => e8m0::EVEN_BIAS,
            },
            search: rule == ScaleRule::Mse,
        }
    }
}

impl Format for Mx {
    #[inline(always)]
    fn searches(self) -> bool {
        self.search
    }

    #[inline(always)]
    fn scale(self, amax: f32) -> f32 {
        e8m0::inverse_scale(e8m0::biased_exponent(amax, self.bias))
    }

    #[inline(always)]
    fn search<const N: usize>(self, block: &[f32; N], amax: f32) -> f32 {
        let coarse = self.scale(amax);
        let fine = coarse * 2.0;
        // There is nothing below 2^-127.
        if fine == f32::INFINITY {
            return coarse;
        }
        let error = |key| squared_error(block, |x| self.normalize(x, key));
        // A unit of the finer grid is half of one of the coarser.
        if error(fine) < 4.0 * error(coarse) {
            fine
        } else {
            coarse
        }
    }

    /// The parameter is an offset of the exponent.
    #[inline(always)]
    fn learned(self, scale: f32, parameter: f32) -> f32 {
        // A conversion takes NaN to 0 and saturates.
        let offset = parameter.round_ties_even() as i32;
        let biased = i32::from(self.byte(scale)).saturating_add(offset);
        // 2^126 is the largest scale of the rules, too; its reciprocal is normal.
        e8m0::inverse_scale(biased.clamp(0, 253) as u32)
    }

    #[inline(always)]
    fn learned_slope(self, scale: f32, _parameter: f32) -> f32 {
        self.factor(self.key(scale)) * core::f32::consts::LN_2
    }

    #[inline(always)]
    fn byte(self, scale: f32) -> u8 {
        254 - (scale.to_bits() >> 23) as u8
    }

    #[inline(always)]
    fn key(self, scale: f32) -> f32 {
        scale
    }

    #[inline(always)]
    fn normalize(self, x: f32, key: f32) -> f32 {
        (x * key).abs()
    }

    /// The exponent bits mirrored at 2^0; only 2^-127, which is subnormal, is not a mere exponent.
    #[inline(always)]
    fn factor(self, key: f32) -> f32 {
        // Wrapping operations: overflow checks would keep debug builds scalar.
        let mirrored = (254u32 << 23).wrapping_sub(key.to_bits());
        f32::from_bits(mirrored.max(0x0040_0000))
    }

    #[inline(always)]
    fn sign(x: f32) -> u32 {
        x.to_bits() & 0x8000_0000
    }

    #[inline(always)]
    fn code(self, x: f32, key: f32) -> u32 {
        e2m1::magnitude_code(self.normalize(x, key)) | (Self::sign(x) >> 28)
    }

    #[inline(always)]
    fn factor_of_byte(self, byte: u8) -> f32 {
        e8m0::decode(byte)
    }

    #[inline(always)]
    fn narrow<T: Lane>(value: f32) -> T {
        T::narrow(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reciprocals_determine_their_scale_and_byte() {
        let format = Mx::new(ScaleRule::Ceil);
        for byte in 0..=253u8 {
            let key = e8m0::inverse(byte);
            assert_eq!(format.factor(key), e8m0::decode(byte));
            assert_eq!(format.byte(key), byte);
        }
    }
}
