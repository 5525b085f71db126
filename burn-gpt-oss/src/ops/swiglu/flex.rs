use burn::backend::{Flex, TensorMetadata};
use burn::backend::tensor::FloatTensor;
use rayon::prelude::*;

use super::SwigluBackend;
use crate::ops::flex::{floats, tensor};
use crate::ops::simd::{Kernel, dispatch, sigmoid};

/// Pairs per task.
const CHUNK: usize = 1 << 12;

impl SwigluBackend for Flex {
    fn clamped_swiglu(x: FloatTensor<Self>, limit: f32, alpha: f32) -> FloatTensor<Self> {
        let [n_rows, columns] = x.shape().dims();
        let values = floats(&x);
        let mut out = vec![0.0; values.len() / 2];
        let chunks = out.par_chunks_mut(CHUNK).zip(values.par_chunks(2 * CHUNK));
        chunks.for_each(|(out, x)| dispatch(Forward { x, limit, alpha, out }));
        tensor(out, [n_rows, columns / 2], x.dtype())
    }

    fn clamped_swiglu_backward(
        grad: FloatTensor<Self>,
        x: FloatTensor<Self>,
        limit: f32,
        alpha: f32,
    ) -> FloatTensor<Self> {
        let (grads, values) = (floats(&grad), floats(&x));
        let mut out = vec![0.0; values.len()];
        let inputs = values.par_chunks(2 * CHUNK).zip(grads.par_chunks(CHUNK));
        let chunks = out.par_chunks_mut(2 * CHUNK).zip(inputs);
        chunks.for_each(|(out, (x, grad))| dispatch(Backward { grad, x, limit, alpha, out }));
        tensor(out, x.shape(), x.dtype())
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
                if x_up > limit || x_up < -limit { 0.0 } else { of_up },
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
