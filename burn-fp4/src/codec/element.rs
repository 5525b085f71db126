//! The float types FP4 values are made from and decoded to.

use half::vec::HalfBitsVecExt;
use half::{bf16, f16};

/// A float type whose values can be quantized to FP4: `f32`, `bf16` or `f16`. Sealed.
///
/// All arithmetic is done in `f32`; reading `bf16` and `f16` as `f32` is exact. Every
/// finite MXFP4 value is exact in `bf16`, too; those of NVFP4 are rounded to it once.
pub trait Fp4Element: private::Lane {}

impl Fp4Element for f32 {}
impl Fp4Element for bf16 {}
impl Fp4Element for f16 {}

pub(crate) mod private {
    /// What the vector loops need to know about a float type.
    pub trait Lane: bytemuck::Pod + Default + Send + Sync {
        /// The bits without the sign: an integer that orders as `|x|` does, with infinity above
        /// every number and NaN above infinity. Integer maxima vectorize, float maxima do not.
        type Magnitude: Copy + Default + Ord + Send + Sync;

        /// Magnitude bits of `self`.
        fn magnitude(self) -> Self::Magnitude;
        /// Whether the magnitude belongs to a finite number.
        fn finite(magnitude: Self::Magnitude) -> bool;
        /// `|x|` from its bits.
        fn amax(magnitude: Self::Magnitude) -> f32;
        /// Exact widening.
        fn widen(self) -> f32;
        /// Inverse of `widen` for values that `Self` represents.
        fn narrow(value: f32) -> Self;
        /// Nearest value of `Self`, ties to even; NaN stays NaN.
        fn round(value: f32) -> Self;
        /// Zeros straight from the allocator, which for large buffers touches no memory.
        fn zeros(n_elements: usize) -> Vec<Self>;
    }
}

use private::Lane;

impl Lane for f32 {
    type Magnitude = i32;

    #[inline(always)]
    fn magnitude(self) -> i32 {
        (self.to_bits() & 0x7fff_ffff) as i32
    }

    #[inline(always)]
    fn finite(magnitude: i32) -> bool {
        magnitude < 0x7f80_0000
    }

    #[inline(always)]
    fn amax(magnitude: i32) -> f32 {
        Self::from_bits(magnitude as u32)
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn round(value: f32) -> Self {
        value
    }

    fn zeros(n_elements: usize) -> Vec<Self> {
        vec![0.0; n_elements]
    }
}

impl Lane for bf16 {
    type Magnitude = i16;

    #[inline(always)]
    fn magnitude(self) -> i16 {
        (self.to_bits() & 0x7fff) as i16
    }

    #[inline(always)]
    fn finite(magnitude: i16) -> bool {
        magnitude < 0x7f80
    }

    #[inline(always)]
    fn amax(magnitude: i16) -> f32 {
        f32::from_bits(u32::from(magnitude as u16) << 16)
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    // FP4 values have two significant bits, so the low half is zero: truncation is exact, for
    // infinity and for the quiet NaN of scale byte 255 as well.
    #[inline(always)]
    fn narrow(value: f32) -> Self {
        Self::from_bits((value.to_bits() >> 16) as u16)
    }

    // The only NaN that arrives here is the canonical one, whose low half is zero.
    #[inline(always)]
    fn round(value: f32) -> Self {
        let bits = value.to_bits();
        let ties = 0x7fffu32.wrapping_add((bits >> 16) & 1);
        Self::from_bits((bits.wrapping_add(ties) >> 16) as u16)
    }

    fn zeros(n_elements: usize) -> Vec<Self> {
        vec![0u16; n_elements].reinterpret_into()
    }
}

impl Lane for f16 {
    type Magnitude = i16;

    #[inline(always)]
    fn magnitude(self) -> i16 {
        (self.to_bits() & 0x7fff) as i16
    }

    #[inline(always)]
    fn finite(magnitude: i16) -> bool {
        magnitude < 0x7c00
    }

    #[inline(always)]
    fn amax(magnitude: i16) -> f32 {
        Self::from_bits(magnitude as u16).to_f32()
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32()
    }

    #[inline(always)]
    fn narrow(value: f32) -> Self {
        Self::from_f32(value)
    }

    #[inline(always)]
    fn round(value: f32) -> Self {
        Self::from_f32(value)
    }

    fn zeros(n_elements: usize) -> Vec<Self> {
        vec![0u16; n_elements].reinterpret_into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_conversions_agree_with_half() {
        for bits in 0..=u16::MAX {
            let x = bf16::from_bits(bits);
            assert_eq!(x.widen().to_bits(), u32::from(bits) << 16);
            assert_eq!(bf16::narrow(x.widen()).to_bits(), bits);
            // Around every value and every midpoint between two of them.
            for low in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let value = f32::from_bits(u32::from(bits) << 16 | low);
                if !value.is_nan() {
                    let wanted = bf16::from_f32(value).to_bits();
                    assert_eq!(<bf16 as Lane>::round(value).to_bits(), wanted, "{value:e}");
                }
            }
            assert_eq!(bf16::finite(x.magnitude()), x.is_finite());
            if x.is_finite() {
                assert_eq!(bf16::amax(x.magnitude()), x.to_f32().abs());
            }
        }
    }

    #[test]
    fn f16_magnitudes_order_as_absolute_values_do() {
        for bits in 0..=u16::MAX {
            let x = f16::from_bits(bits);
            assert_eq!(f16::finite(x.magnitude()), x.is_finite());
            if x.is_finite() {
                assert_eq!(f16::amax(x.magnitude()), x.to_f32().abs());
            }
        }
    }
}
