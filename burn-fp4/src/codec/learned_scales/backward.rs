//! Gradients of values and of learned scales in one pass.

use super::{CHUNK, TILE, column_scales, contiguous_scales};
use crate::codec::block_axis::BlockAxis;
use crate::codec::block_scales::SPAN;
use crate::codec::clip_gradient::in_range;
use crate::codec::e2m1;
use crate::codec::element::Fp4Element;
use crate::codec::format::{Format, FormatTask};
use crate::parallel::for_each;
use crate::simd::{Kernel, dispatch};

/// The gradients of a whole tensor.
pub(super) struct Gradients<'a, T> {
    pub values: &'a [T],
    pub parameter: &'a [f32],
    pub grad: &'a [T],
    pub out: &'a mut [T],
    pub out_parameter: &'a mut [f32],
    pub geometry: BlockAxis,
}

impl<T: Fp4Element> FormatTask for Gradients<'_, T> {
    type Output = ();

    fn run<F: Format, const N: usize>(self, formats: &[F]) {
        let part = self.values.len() / formats.len();
        let inner = self.geometry.inner;
        // Contiguous blocks may be cut anywhere between two of them.
        let task = if inner == 1 { CHUNK } else { N * inner };
        let inputs = self.values.chunks(part).zip(self.grad.chunks(part));
        let inputs = inputs.zip(self.parameter.chunks(part / N));
        let outputs = self.out.chunks_mut(part);
        let outputs = outputs.zip(self.out_parameter.chunks_mut(part / N));
        let parts = inputs.zip(outputs).zip(formats);
        for_each(
            parts,
            |((((values, grad), parameter), (out, out_parameter)), &format)| {
                let inputs = values.chunks(task).zip(grad.chunks(task));
                let inputs = inputs.zip(parameter.chunks(task / N));
                let outputs = out.chunks_mut(task);
                let outputs = outputs.zip(out_parameter.chunks_mut(task / N));
                for_each(
                    inputs.zip(outputs),
                    |(((values, grad), parameter), (out, out_parameter))| {
                        dispatch(Task::<T, F, N> {
                            values,
                            parameter,
                            grad,
                            out,
                            out_parameter,
                            strided: inner != 1,
                            format,
                        });
                    },
                );
            },
        );
    }
}

/// Whole blocks one after the other, or one row of blocks, a column each.
struct Task<'a, T, F, const N: usize> {
    values: &'a [T],
    parameter: &'a [f32],
    grad: &'a [T],
    out: &'a mut [T],
    out_parameter: &'a mut [f32],
    strided: bool,
    format: F,
}

impl<T: Fp4Element, F: Format, const N: usize> Kernel for Task<'_, T, F, N> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        if self.strided {
            self.columns();
        } else {
            self.contiguous();
        }
    }
}

impl<T: Fp4Element, F: Format, const N: usize> Task<'_, T, F, N> {
    #[inline(always)]
    fn contiguous(self) {
        let format = self.format;
        let (values, _) = self.values.as_chunks::<N>();
        let inputs = values.chunks(SPAN).zip(self.grad.chunks(SPAN * N));
        let inputs = inputs.zip(self.parameter.chunks(SPAN));
        let outputs = self.out.chunks_mut(SPAN * N);
        let outputs = outputs.zip(self.out_parameter.chunks_mut(SPAN));
        let mut scales = [1.0; SPAN];
        for (((blocks, grad), parameter), (out, sums)) in inputs.zip(outputs) {
            contiguous_scales(format, blocks, parameter, &mut scales);
            let (grad, out) = (grad.as_chunks::<N>().0, out.as_chunks_mut::<N>().0);
            for (i, block) in blocks.iter().enumerate() {
                let key = format.key(scales[i]);
                let mut sum = 0.0;
                for ((out, &x), &g) in out[i].iter_mut().zip(block).zip(&grad[i]) {
                    *out = element(format, x, g, key, &mut sum);
                }
                sums[i] = sum * format.learned_slope(scales[i], parameter[i]);
            }
        }
    }

    #[inline(always)]
    fn columns(self) {
        let format = self.format;
        let inner = self.parameter.len();
        let mut scales = [1.0; TILE];
        let mut keys = [1.0; TILE];
        for start in (0..inner).step_by(TILE) {
            let width = TILE.min(inner - start);
            let (scales, keys) = (&mut scales[..width], &mut keys[..width]);
            column_scales::<T, F, N>(format, self.values, self.parameter, start, scales);
            for (key, &scale) in keys.iter_mut().zip(scales.iter()) {
                *key = format.key(scale);
            }
            let sums = &mut self.out_parameter[start..start + width];
            for row in (start..self.values.len()).step_by(inner) {
                let columns = row..row + width;
                let inputs = self.values[columns.clone()].iter();
                let inputs = inputs.zip(&self.grad[columns.clone()]).zip(keys.iter());
                let outputs = self.out[columns].iter_mut().zip(sums.iter_mut());
                for (((&x, &g), &key), (out, sum)) in inputs.zip(outputs) {
                    *out = element(format, x, g, key, sum);
                }
            }
            let parameter = &self.parameter[start..start + width];
            for ((sum, &scale), &parameter) in sums.iter_mut().zip(scales.iter()).zip(parameter) {
                *sum *= format.learned_slope(scale, parameter);
            }
        }
    }
}

/// The gradient of `x`; that of the factor of its block is added to `sum`.
#[inline(always)]
fn element<T: Fp4Element, F: Format>(format: F, x: T, g: T, key: f32, sum: &mut f32) -> T {
    let wide = x.widen();
    let y = format.normalize(wide, key);
    let rounded = e2m1::round_magnitude(y);
    let error = rounded - if y <= e2m1::MAX { y } else { 0.0 };
    // Zero does not depend on its scale; where the key is zero, too, `y` is NaN.
    let error = if wide == 0.0 { 0.0 } else { error };
    *sum += g.widen() * if wide < 0.0 { -error } else { error };
    if in_range(format, wide, key) {
        g
    } else {
        T::default()
    }
}
