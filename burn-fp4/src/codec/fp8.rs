//! FP8 fake quantization of slices: E4M3 with one scale for everything, for the activations of W4A8.

use crate::codec::e4m3;
use crate::codec::element::Fp4Element;
use crate::error::Fp4Error;
use crate::parallel::for_each;
use crate::simd::{Kernel, dispatch};

/// Elements per task.
const CHUNK: usize = 1 << 15;

/// Magnitudes up to this one count as 1: their reciprocal would leave the range of `f32`.
const SMALLEST_AMAX: f32 = 1.0 / (1u32 << 24) as f32;

/// Rounds `values` to what E4M3 with the scale `amax / 448` can represent.
///
/// ModelOpt's arithmetic in `f32`: `x * (448 / amax)`, rounded to nearest, ties to even, saturating
/// at 448, then times `1 / (448 / amax)`, rounded to the type of `values`. An `amax` up to `2^-24`
/// counts as 1. NaN stays NaN; infinity saturates.
///
/// # Shapes
///
/// - values, out: any, the same
///
/// # Errors
///
/// If the slices differ in length, or `amax` is negative, infinite or NaN.
pub fn fp8_fake_quantize_slice<T: Fp4Element>(
    values: &[T],
    amax: f32,
    out: &mut [T],
) -> Result<(), Fp4Error> {
    if values.len() != out.len() {
        return Err(Fp4Error::Length {
            what: "out",
            shape: vec![values.len()],
            expected: values.len(),
            found: out.len(),
        });
    }
    if !(amax.is_finite() && amax >= 0.0) {
        return Err(Fp4Error::GlobalAmax { value: amax });
    }
    let amax = if amax <= SMALLEST_AMAX { 1.0 } else { amax };
    let scale = e4m3::MAX / amax;
    let inverse = 1.0 / scale;
    let chunks = values.chunks(CHUNK).zip(out.chunks_mut(CHUNK));
    for_each(chunks, |(values, out)| {
        dispatch(Round {
            values,
            out,
            scale,
            inverse,
        });
    });
    Ok(())
}

struct Round<'a, T> {
    values: &'a [T],
    out: &'a mut [T],
    scale: f32,
    inverse: f32,
}

impl<T: Fp4Element> Kernel for Round<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (out, x) in self.out.iter_mut().zip(self.values) {
            *out = T::round(e4m3::round(x.widen() * self.scale) * self.inverse);
        }
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;

    /// The nearest E4M3 value by search over all codes, in f64.
    fn oracle(x: f32, amax: f32) -> f32 {
        let scale = 448.0 / amax;
        let y = f64::from(x * scale).clamp(-448.0, 448.0);
        let codes = (0..=0x7eu8).chain(0x80..=0xfe);
        let best = codes.min_by(|&a, &b| {
            let distance = |code| (f64::from(e4m3::decode(code)) - y).abs();
            let parity = (a % 2).cmp(&(b % 2));
            let sign = |code: u8| (code >= 0x80) != x.is_sign_negative();
            let order = distance(a).total_cmp(&distance(b)).then(parity);
            order.then(sign(a).cmp(&sign(b)))
        });
        e4m3::decode(best.unwrap()) * (1.0 / scale)
    }

    #[test]
    fn values_are_the_nearest_ones() {
        let values = (-2000i32..2000).map(|i| i as f32 * i.abs() as f32 * 1e-6);
        let mut values: Vec<f32> = values.collect();
        values.extend([f32::INFINITY, f32::NEG_INFINITY, 0.0, 1e-30, -0.001]);
        let narrow: Vec<bf16> = values.iter().map(|&x| bf16::from_f32(x)).collect();
        let half: Vec<f16> = values.iter().map(|&x| f16::from_f32(x)).collect();
        for amax in [4.0, 2.7, 1e-5, 600.0] {
            let mut out = values.clone();
            fp8_fake_quantize_slice(&values, amax, &mut out).unwrap();
            for (&x, &out) in values.iter().zip(&out) {
                assert_eq!(out.to_bits(), oracle(x, amax).to_bits(), "{x} {amax}");
            }
            let mut out = narrow.clone();
            fp8_fake_quantize_slice(&narrow, amax, &mut out).unwrap();
            for (x, out) in narrow.iter().zip(out) {
                assert_eq!(out, bf16::from_f32(oracle(x.to_f32(), amax)));
            }
            let mut out = half.clone();
            fp8_fake_quantize_slice(&half, amax, &mut out).unwrap();
            for (x, out) in half.iter().zip(out) {
                assert_eq!(out, f16::from_f32(oracle(x.to_f32(), amax)));
            }
        }
    }

    #[test]
    fn tiny_magnitudes_count_as_one() {
        let values = [0.3, 1e-8, -2.0];
        for amax in [0.0, SMALLEST_AMAX] {
            let mut out = [0f32; 3];
            fp8_fake_quantize_slice(&values, amax, &mut out).unwrap();
            assert_eq!(out, values.map(|x| oracle(x, 1.0)));
        }
        let mut out = [0f32; 3];
        fp8_fake_quantize_slice(&values, SMALLEST_AMAX.next_up(), &mut out).unwrap();
        assert!(out[0] < 1e-7);
    }

    #[test]
    fn nan_stays_and_bad_magnitudes_are_refused() {
        let mut out = [0f32; 1];
        fp8_fake_quantize_slice(&[f32::NAN], 1.0, &mut out).unwrap();
        assert!(out[0].is_nan());
        for amax in [-1.0, f32::NAN, f32::INFINITY] {
            let error = fp8_fake_quantize_slice(&[1.0], amax, &mut out).unwrap_err();
            assert!(error.to_string().contains("calibrate again"), "{error}");
        }
        assert!(fp8_fake_quantize_slice(&[1.0; 2], 1.0, &mut out).is_err());
    }
}
