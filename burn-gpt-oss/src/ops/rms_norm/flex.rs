//! For Flex: blocks of rows side by side, whose size does not depend on the number of threads.

#![allow(unsafe_code)]

use burn::backend::TensorMetadata;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use burn_fp4::backend::flex::{
    FloatElement, Kernel, dispatch, dot, elements, tensor, with_float, written,
};

/// Rows per block: enough work for a thread, few enough partial sums of the weight's gradient.
const ROWS: usize = 64;

type Pair = (FlexTensor, FlexTensor);

pub(super) fn forward(input: &FlexTensor, weight: &FlexTensor, epsilon: f64) -> Pair {
    with_float!(input.dtype(), T => {
        let input_shape = input.shape();
        let (input, weight) = (elements::<T>(input), elements::<f32>(weight));
        let (output, reciprocals) = normalized::<T>(&input, &weight, epsilon as f32);
        let n_rows = reciprocals.len();
        (tensor(output, input_shape), tensor(reciprocals, [n_rows]))
    })
}

pub(super) fn gradients(
    grad: &FlexTensor,
    input: &FlexTensor,
    weight: &FlexTensor,
    reciprocals: &FlexTensor,
) -> Pair {
    with_float!(input.dtype(), T => {
        let (shape, size) = (input.shape(), weight.shape());
        let (grad, input) = (elements::<T>(grad), elements::<T>(input));
        let (weight, reciprocals) = (elements::<f32>(weight), elements::<f32>(reciprocals));
        let (by_input, by_weight) = backward::<T>(&grad, &input, &weight, &reciprocals);
        (tensor(by_input, shape), tensor(by_weight, size))
    })
}

fn normalized<T: FloatElement>(input: &[T], weight: &[f32], epsilon: f32) -> (Vec<T>, Vec<f32>) {
    let size = weight.len();
    let mut reciprocals = vec![0.0; input.len().checked_div(size).unwrap_or(0)];
    assert_eq!(input.len(), reciprocals.len() * size, "whole rows");
    let write = |output: &mut [T]| {
        let lines = output.par_chunks_mut((ROWS * size).max(1));
        let lines = lines.zip(input.par_chunks((ROWS * size).max(1)));
        let lines = lines.zip(reciprocals.par_chunks_mut(ROWS));
        lines.for_each(|((output, input), reciprocals)| {
            let (mut space, mut line) = (Vec::new(), vec![0.0; size]);
            let rows = output.chunks_mut(size).zip(input.chunks(size));
            for ((output, input), reciprocal) in rows.zip(reciprocals) {
                *reciprocal = dispatch(Forward {
                    input: T::widen(input, &mut space),
                    weight,
                    epsilon,
                    output: &mut line,
                });
                T::narrow(&line, output);
            }
        });
    };
    // SAFETY: every row is set.
    let output = unsafe { written(input.len(), write) };
    (output, reciprocals)
}

fn backward<T: FloatElement>(
    grad: &[T],
    input: &[T],
    weight: &[f32],
    reciprocals: &[f32],
) -> (Vec<T>, Vec<f32>) {
    let size = weight.len();
    let mut by_input = vec![T::zeroed(); input.len()];
    let block = (ROWS * size).max(1);
    let blocks = by_input
        .par_chunks_mut(block)
        .zip(grad.par_chunks(block))
        .zip(input.par_chunks(block))
        .zip(reciprocals.par_chunks(ROWS));
    let partial = blocks.map(|(((by_input, grad), input), reciprocals)| {
        let (mut by_weight, mut line) = (vec![0.0; size], vec![0.0; size]);
        let (mut grad_space, mut input_space) = (Vec::new(), Vec::new());
        let rows = by_input.chunks_mut(size).zip(grad.chunks(size));
        let rows = rows.zip(input.chunks(size)).zip(reciprocals);
        for (((by_input, grad), input), reciprocal) in rows {
            dispatch(Gradient {
                grad: T::widen(grad, &mut grad_space),
                input: T::widen(input, &mut input_space),
                weight,
                reciprocal: *reciprocal,
                by_input: &mut line,
                by_weight: &mut by_weight,
            });
            T::narrow(&line, by_input);
        }
        by_weight
    });
    let mut by_weight = vec![0.0; size];
    for partial in partial.collect::<Vec<_>>() {
        by_weight
            .iter_mut()
            .zip(partial)
            .for_each(|(sum, x)| *sum += x);
    }
    (by_input, by_weight)
}

/// One row; returns the reciprocal of its root.
struct Forward<'a> {
    input: &'a [f32],
    weight: &'a [f32],
    epsilon: f32,
    output: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = f32;
    const WIDE: bool = true;

    #[inline(always)]
    fn run(self) -> f32 {
        let mean = dot(self.input, self.input) / self.input.len() as f32;
        let root = (mean + self.epsilon).sqrt();
        for ((out, x), weight) in self.output.iter_mut().zip(self.input).zip(self.weight) {
            *out = x / root * weight;
        }
        1.0 / root
    }
}

/// One row; adds to the gradient of the weight.
struct Gradient<'a> {
    grad: &'a [f32],
    input: &'a [f32],
    weight: &'a [f32],
    reciprocal: f32,
    by_input: &'a mut [f32],
    by_weight: &'a mut [f32],
}

impl Kernel for Gradient<'_> {
    type Output = ();
    const WIDE: bool = true;

    /// With `n = input * reciprocal` and `g = grad * weight`, the gradients are
    /// `(g - n * mean(g * n)) * reciprocal` and `grad * n`.
    #[inline(always)]
    fn run(self) {
        let r = self.reciprocal;
        let rows = self.grad.iter().zip(self.input);
        for (((grad, input), out), sum) in rows.zip(self.by_input.iter_mut()).zip(self.by_weight) {
            *out = grad * (input * r);
            *sum += *out;
        }
        let size = self.input.len() as f32;
        let mean = dot(self.by_input, self.weight) / size;
        let rows = self.grad.iter().zip(self.weight).zip(self.input);
        for (out, ((grad, weight), input)) in self.by_input.iter_mut().zip(rows) {
            *out = (grad * weight - input * r * mean) * r;
        }
    }
}
