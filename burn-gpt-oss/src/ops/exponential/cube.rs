//! Exponential and logarithm from sums and products alone.
//!
//! CubeCL's for CUDA take libdevice, a file of the CUDA toolkit, when a kernel is compiled, and those of
//! shading languages are less exact.

use core::f32::consts::{LN_2, LOG2_E, SQRT_2};

use cubecl::prelude::*;

/// Below, `exp(x)` is no normal number.
const LOWEST: f32 = -87.336_54;
/// `ln 2` in two parts; products of the first with exponents are exact.
const LN_2_PARTS: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// `e^x` for `x` of at most zero, within 2 units in the last place; 0 where the result would be
/// subnormal.
#[cube]
pub(in crate::ops) fn exp_negative<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let lowest = Vector::<f32, N>::new(LOWEST);
    let zero = x.less_than(&lowest);
    // NaN stays what it is.
    let x = select_many(zero, lowest, x);
    let n = Vector::floor(x * Vector::new(LOG2_E) + Vector::new(0.5f32));
    let r = x - n * Vector::new(comptime!(LN_2_PARTS[0]));
    let r = r - n * Vector::new(comptime!(LN_2_PARTS[1]));
    // Minimax polynomial of (exp(r) - 1 - r) / r^2 on |r| <= ln 2 / 2 (Cephes, expf).
    let p = fma(
        Vector::new(1.987_569_1e-4f32),
        r,
        Vector::new(1.398_199_9e-3f32),
    );
    let p = fma(p, r, Vector::new(8.333_452e-3f32));
    let p = fma(p, r, Vector::new(4.166_579_6e-2f32));
    let p = fma(p, r, Vector::new(1.666_666_5e-1f32));
    let p = fma(p, r, Vector::new(0.5f32));
    let mantissa = fma(p, r * r, r) + Vector::new(1.0f32);
    let exponent = Vector::<i32, N>::cast_from(n) + Vector::new(127i32);
    let power = Vector::<u32, N>::cast_from(exponent) << Vector::new(23u32);
    let y = mantissa * Vector::<f32, N>::reinterpret(power);
    select_many(zero, Vector::new(0.0f32), y)
}

/// The natural logarithm of a number of normal size; error `2^-23` and as much of the result.
#[cube]
pub(in crate::ops) fn ln(x: f32) -> f32 {
    let bits = u32::reinterpret(x);
    let fraction = f32::reinterpret((bits & 0x007f_ffffu32) | 0x3f80_0000u32);
    let exponent = f32::cast_from(bits >> 23u32) - 127.0f32;
    // Between the roots of one half and two.
    let high = fraction > SQRT_2;
    let fraction = select(high, fraction * 0.5f32, fraction);
    let exponent = select(high, exponent + 1.0f32, exponent);
    // ln x = 2 artanh((x - 1) / (x + 1)), a series in the square, which is below 0.03.
    let part = (fraction - 1.0f32) / (fraction + 1.0f32);
    let square = part * part;
    let p = fma(square, comptime!(2.0f32 / 9.0), comptime!(2.0f32 / 7.0));
    let p = fma(square, p, comptime!(2.0f32 / 5.0));
    let p = fma(square, p, comptime!(2.0f32 / 3.0));
    let p = fma(square, p, 2.0f32);
    let y = fma(exponent, LN_2, part * p);
    // NaN and infinity stay what they are.
    select(x <= f32::MAX, y, x)
}
