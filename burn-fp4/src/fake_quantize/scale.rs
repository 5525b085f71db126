//! From the elements of a block to the numbers they are multiplied with.

use crate::element::private::Lane;
use crate::{ScaleRule, e2m1, e8m0};

/// Block scale and its reciprocal, both exact powers of two.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    pub value: f32,
    pub inverse: f32,
}

impl Scale {
    /// Scale of a block with finite largest magnitude `amax`.
    #[inline(always)]
    pub fn new(rule: ScaleRule, amax: f32) -> Self {
        let biased = rule.biased_exponent(amax);
        Self {
            value: e8m0::scale(biased),
            inverse: e8m0::inverse_scale(biased),
        }
    }

    /// Scale with the given reciprocal: the exponent bits mirrored at 2^0.
    ///
    /// Half the loads of reading both. Only `2^-127`, which is subnormal, is not a mere exponent.
    #[inline(always)]
    pub fn from_inverse(inverse: f32) -> Self {
        // Wrapping operations: overflow checks would keep debug builds scalar.
        let mirrored = (254u32 << 23).wrapping_sub(inverse.to_bits());
        Self {
            value: f32::from_bits(mirrored.max(0x0040_0000)),
            inverse,
        }
    }

    /// Scale of a block that holds an infinity or NaN.
    ///
    /// Follows ModelOpt: NaN does not take part, infinity counts as `f32::MAX`, and a block left
    /// without a magnitude has scale 1, so that its NaN become `6` and not the tiniest number.
    #[cold]
    pub fn of_non_finite<T: Lane>(rule: ScaleRule, block: impl Iterator<Item = T>) -> Self {
        // `f32::max` returns the other operand for NaN.
        let amax = block.map(|x| x.widen().abs()).fold(0.0, f32::max);
        if amax == 0.0 {
            return Self {
                value: 1.0,
                inverse: 1.0,
            };
        }
        Self::new(rule, amax.min(f32::MAX))
    }

    /// Rounds one element of the block.
    #[inline(always)]
    pub fn fake_quantize<T: Lane>(self, x: T) -> T {
        T::narrow(e2m1::round(x.widen() * self.inverse) * self.value)
    }
}

/// Largest magnitude of `values`.
#[inline(always)]
pub(crate) fn block_max<T: Lane>(values: &[T]) -> T::Magnitude {
    values
        .iter()
        .fold(T::Magnitude::default(), |max, x| max.max(x.magnitude()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reciprocals_determine_their_scale() {
        for biased in 0..=253 {
            let scale = Scale::from_inverse(e8m0::inverse_scale(biased));
            assert_eq!(scale.value, e8m0::scale(biased));
        }
    }
}
