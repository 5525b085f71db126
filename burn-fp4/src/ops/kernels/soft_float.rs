//! IEEE 754 multiplication and division on the bits of magnitudes, in integers.
//!
//! For what is computed once per block. Operands are bits of finite `f32` without a sign, results
//! are rounded to nearest even, subnormal ones included; what is too large becomes infinity.

use cubecl::prelude::*;

/// Bits of infinity.
pub(crate) const INFINITY: u32 = 0x7f80_0000;

/// Bits of the smallest normal number, which are those of the implicit leading one, too.
pub(crate) const MIN_NORMAL: u32 = 0x0080_0000;

/// A magnitude as `significand * 2^(exponent - 150)`.
#[derive(CubeType, Clone, Copy)]
pub(crate) struct Magnitude {
    /// In `2^23 .. 2^24`; meaningless for zero.
    pub significand: u32,
    /// The biased exponent, zero and less for subnormal numbers.
    pub exponent: i32,
}

#[cube]
impl Magnitude {
    /// Takes the bits of a magnitude apart.
    pub fn new(bits: u32) -> Magnitude {
        let shift = u32::leading_zeros(bits | 1u32);
        let subnormal = bits < MIN_NORMAL;
        // A subnormal number has more than eight leading zeros.
        let up = select(subnormal, shift - 8u32, 0u32);
        let significand = select(
            subnormal,
            bits << up,
            (bits & (MIN_NORMAL - 1u32)) | MIN_NORMAL,
        );
        let exponent = select(
            subnormal,
            1i32 - i32::cast_from(up),
            i32::cast_from(bits >> 23u32),
        );
        Magnitude {
            significand,
            exponent,
        }
    }
}

/// Bits of `significand * 2^(exponent - 152)`, rounded; `significand` below `2^26` and at least
/// `2^25`, its last bit set if anything below it is.
#[cube]
pub(crate) fn round(significand: u32, exponent: i32) -> u32 {
    let subnormal = exponent < 1i32;
    // All is lost after 28 bits.
    let lost = u32::cast_from(min(1i32 - exponent, 26i32));
    let shift = 2u32 + select(subnormal, lost, 0u32);
    let kept = significand >> shift;
    let dropped = significand - (kept << shift);
    let half = 1u32 << (shift - 1u32);
    let up = dropped > half || (dropped == half && kept & 1u32 == 1u32);
    let field = select(subnormal, 0u32, u32::cast_from(exponent - 1i32));
    // A carry of the significand counts the exponent up, as it should.
    let bits = (min(field, 254u32) << 23u32) + kept + u32::cast_from(up);
    select(exponent > 254i32, INFINITY, min(bits, INFINITY))
}

/// Bits of the product of two magnitudes.
#[cube]
pub(crate) fn multiply(a: u32, b: u32) -> u32 {
    let x = Magnitude::new(a);
    let y = Magnitude::new(b);
    let (x_high, x_low) = (x.significand >> 12u32, x.significand & 0xfffu32);
    let (y_high, y_low) = (y.significand >> 12u32, y.significand & 0xfffu32);
    let middle = x_high * y_low + x_low * y_high;
    let low = x_low * y_low + ((middle & 0xfffu32) << 12u32);
    // The product is high * 2^24 + low, in 2^46 .. 2^48.
    let high = x_high * y_high + (middle >> 12u32) + (low >> 24u32);
    let low = low & 0xff_ffffu32;
    let wide = high >= MIN_NORMAL;
    let sticky = select(wide, low & 0x3f_ffffu32, low & 0x1f_ffffu32) != 0u32;
    let significand = select(
        wide,
        (high << 2u32) | (low >> 22u32),
        (high << 3u32) | (low >> 21u32),
    );
    let exponent = x.exponent + y.exponent - select(wide, 126i32, 127i32);
    let bits = round(significand | u32::cast_from(sticky), exponent);
    select(a == 0u32 || b == 0u32, 0u32, bits)
}

/// Bits of the quotient of two magnitudes; `b` not zero.
#[cube]
pub(crate) fn divide(a: u32, b: u32) -> u32 {
    let x = Magnitude::new(a);
    let y = Magnitude::new(b);
    let less = x.significand < y.significand;
    let mut rest = select(less, x.significand << 1u32, x.significand);
    let exponent = x.exponent - y.exponent + select(less, 126i32, 127i32);
    let mut quotient = 0u32;
    for _ in 0..26u32 {
        let fits = rest >= y.significand;
        quotient = (quotient << 1u32) | u32::cast_from(fits);
        rest = (rest - select(fits, y.significand, 0u32)) << 1u32;
    }
    let sticky = u32::cast_from(rest != 0u32);
    select(a == 0u32, 0u32, round(quotient | sticky, exponent))
}
