#![allow(unsafe_code)]

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use rayon::prelude::*;

use super::SwigluBackend;
use crate::ops::exponential::flex::exp;
use burn_fp4::backend::flex::{Kernel, dispatch, floats, narrowed, written};

/// Pairs per task.
const CHUNK: usize = 1 << 12;

impl SwigluBackend for Flex {
    fn clamped_swiglu(x: FloatTensor<Self>, limit: f32, alpha: f32) -> FloatTensor<Self> {
        let [n_rows, columns] = x.shape().dims();
        let values = floats(&x);
        let write = |out: &mut [f32]| {
            let chunks = out.par_chunks_mut(CHUNK).zip(values.par_chunks(2 * CHUNK));
            chunks.for_each(|(out, x)| {
                dispatch(Forward {
                    x,
                    limit,
                    alpha,
                    out,
                });
            });
        };
        // SAFETY: every pair has a value.
        let out = unsafe { written(values.len() / 2, write) };
        narrowed(out, [n_rows, columns / 2], x.dtype())
    }

    fn clamped_swiglu_backward(
        grad: FloatTensor<Self>,
        x: FloatTensor<Self>,
        limit: f32,
        alpha: f32,
    ) -> FloatTensor<Self> {
        let (grads, values) = (floats(&grad), floats(&x));
        assert_eq!(values.len(), 2 * grads.len(), "a gradient per pair");
        let write = |out: &mut [f32]| {
            let inputs = values.par_chunks(2 * CHUNK).zip(grads.par_chunks(CHUNK));
            let chunks = out.par_chunks_mut(2 * CHUNK).zip(inputs);
            chunks.for_each(|(out, (x, grad))| {
                dispatch(Backward {
                    grad,
                    x,
                    limit,
                    alpha,
                    out,
                });
            });
        };
        // SAFETY: every pair has a gradient.
        let out = unsafe { written(values.len(), write) };
        narrowed(out, x.shape(), x.dtype())
    }
}

struct Forward<'a> {
    x: &'a [f32],
    limit: f32,
    alpha: f32,
    out: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    const WIDE: bool = true;

    #[inline(always)]
    fn run(self) {
        let (pairs, _) = self.x.as_chunks::<2>();
        for (out, &[gate, up]) in self.out.iter_mut().zip(pairs) {
            let gate = at_most(gate, self.limit);
            let up = at_most(at_least(up, -self.limit), self.limit);
            *out = gate * sigmoid(self.alpha * gate) * (up + 1.0);
        }
    }
}

struct Backward<'a> {
    grad: &'a [f32],
    x: &'a [f32],
    limit: f32,
    alpha: f32,
    out: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    const WIDE: bool = true;

    #[inline(always)]
    fn run(self) {
        let Self { limit, alpha, .. } = self;
        let (pairs, _) = self.x.as_chunks::<2>();
        let (out, _) = self.out.as_chunks_mut::<2>();
        for ((out, &[x_gate, x_up]), &grad) in out.iter_mut().zip(pairs).zip(self.grad) {
            let gate = at_most(x_gate, limit);
            let up = at_most(at_least(x_up, -limit), limit);
            let s = sigmoid(alpha * gate);
            let of_gate = grad * (up + 1.0) * (s + alpha * gate * s * (1.0 - s));
            let of_up = grad * gate * s;
            *out = [
                if x_gate > limit { 0.0 } else { of_gate },
                if x_up > limit || x_up < -limit {
                    0.0
                } else {
                    of_up
                },
            ];
        }
    }
}

/// Unlike `f32::min`, NaN stays NaN.
#[inline(always)]
fn at_most(x: f32, limit: f32) -> f32 {
    if x > limit { limit } else { x }
}

#[inline(always)]
fn at_least(x: f32, limit: f32) -> f32 {
    if x < limit { limit } else { x }
}

/// `1 / (1 + e^-x)` within 4 units in the last place where it is a normal number, else 0.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    // Of the two forms the one whose exponential is at most one: it cannot overflow.
    let small = exp(-x.abs());
    let numerator = if x < 0.0 { small } else { 1.0 };
    numerator / (1.0 + small)
}

#[cfg(test)]
mod tests {
    use super::sigmoid;

    #[test]
    fn sigmoid_is_within_four_units_in_the_last_place() {
        for x in (-87_300..=87_300).map(|i| i as f32 * 1e-3) {
            let exact = 1.0 / (1.0 + f64::from(-x).exp());
            let unit = 2f64.powi(exact.log2().floor() as i32 - 23);
            let deviation = (f64::from(sigmoid(x)) - exact).abs() / unit;
            assert!(deviation <= 4.0, "{x}: {deviation}");
        }
        assert_eq!([sigmoid(f32::INFINITY), sigmoid(0.0)], [1.0, 0.5]);
        assert!(sigmoid(f32::NAN).is_nan());
    }
}
