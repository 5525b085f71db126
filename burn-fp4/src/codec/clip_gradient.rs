//! The gradient of fake quantization that knows about saturation: one pass, scales made again.
//!
//! An element beyond the largest number of its block comes out the same whatever it is, so its
//! gradient is zero; every other element passes its gradient on.

use crate::codec::block_axis::BlockAxis;
use crate::codec::block_scales::{SPAN, of_columns, of_contiguous};
use crate::codec::e2m1;
use crate::codec::element::Fp4Element;
use crate::codec::element::private::Lane;
use crate::codec::format::{Format, FormatTask};
use crate::parallel::for_each;
use crate::simd::{Kernel, dispatch};

/// Elements per task where blocks are contiguous, a multiple of every block size.
const CHUNK: usize = 1 << 15;
/// Columns per tile where they are not.
const TILE: usize = 1024;

/// Whether rounding `x` does not saturate. NaN does.
#[inline(always)]
pub(crate) fn in_range<F: Format>(format: F, x: f32, key: f32) -> bool {
    // Zero over a key of zero is NaN, but zero is always in range.
    (format.normalize(x, key) <= e2m1::MAX) | (x == 0.0)
}

/// The gradient of a whole tensor.
pub(crate) struct ClipGradient<'a, T> {
    pub values: &'a [T],
    pub grad: &'a [T],
    pub out: &'a mut [T],
    pub geometry: BlockAxis,
}

impl<T: Fp4Element> FormatTask for ClipGradient<'_, T> {
    type Output = ();

    fn run<F: Format, const N: usize>(self, formats: &[F]) {
        let part = self.values.len() / formats.len();
        let inner = self.geometry.inner;
        // Contiguous blocks may be cut anywhere between two of them.
        let task = if inner == 1 { CHUNK } else { N * inner };
        let parts = self.values.chunks(part).zip(self.grad.chunks(part));
        let parts = parts.zip(self.out.chunks_mut(part)).zip(formats);
        for_each(parts, |(((values, grad), out), &format)| {
            let tasks = values.chunks(task).zip(grad.chunks(task));
            let tasks = tasks.zip(out.chunks_mut(task));
            for_each(tasks, |((values, grad), out)| {
                dispatch(Task::<T, F, N> {
                    values,
                    grad,
                    out,
                    inner,
                    format,
                });
            });
        });
    }
}

/// Whole blocks one after the other if `inner` is 1, else one row of blocks: `N` rows of `inner`
/// columns.
struct Task<'a, T, F, const N: usize> {
    values: &'a [T],
    grad: &'a [T],
    out: &'a mut [T],
    inner: usize,
    format: F,
}

impl<T: Fp4Element, F: Format, const N: usize> Kernel for Task<'_, T, F, N> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        if self.inner == 1 {
            self.contiguous();
        } else {
            self.columns();
        }
    }
}

impl<T: Fp4Element, F: Format, const N: usize> Task<'_, T, F, N> {
    #[inline(always)]
    fn contiguous(self) {
        let format = self.format;
        let (values, _) = self.values.as_chunks::<N>();
        let mut scales = [1.0; SPAN];
        let gradients = self.grad.chunks(SPAN * N);
        let spans = gradients.zip(self.out.chunks_mut(SPAN * N));
        for (blocks, (grad, out)) in values.chunks(SPAN).zip(spans) {
            of_contiguous(format, blocks, &mut scales);
            let gradients = grad.as_chunks::<N>().0.iter();
            let pairs = gradients.zip(out.as_chunks_mut::<N>().0);
            for ((block, (grad, out)), &scale) in blocks.iter().zip(pairs).zip(&scales) {
                let key = format.key(scale);
                for ((out, &x), &g) in out.iter_mut().zip(block).zip(grad) {
                    *out = pass(format, x, g, key);
                }
            }
        }
    }

    #[inline(always)]
    fn columns(self) {
        let (format, inner) = (self.format, self.inner);
        let mut maxima = [<T as Lane>::Magnitude::default(); TILE];
        let mut keys = [1.0; TILE];
        for start in (0..inner).step_by(TILE) {
            let width = TILE.min(inner - start);
            let (maxima, keys) = (&mut maxima[..width], &mut keys[..width]);
            of_columns::<T, F, N>(format, self.values, inner, start, maxima, keys);
            for key in keys.iter_mut() {
                *key = format.key(*key);
            }
            for row in (start..self.values.len()).step_by(inner) {
                let columns = row..row + width;
                let pairs = self.values[columns.clone()].iter();
                let pairs = pairs.zip(&self.grad[columns.clone()]);
                let out = self.out[columns].iter_mut();
                for ((out, (&x, &g)), &key) in out.zip(pairs).zip(keys.iter()) {
                    *out = pass(format, x, g, key);
                }
            }
        }
    }
}

#[inline(always)]
fn pass<T: Lane, F: Format>(format: F, x: T, g: T, key: f32) -> T {
    if in_range(format, x.widen(), key) {
        g
    } else {
        T::default()
    }
}

#[cfg(test)]
mod tests;
