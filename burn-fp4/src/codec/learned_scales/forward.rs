//! Rounding with learned scales.

use super::{CHUNK, TILE, column_scales, contiguous_scales};
use crate::codec::block_axis::BlockAxis;
use crate::codec::block_scales::SPAN;
use crate::codec::element::Fp4Element;
use crate::codec::format::{Format, FormatTask};
use crate::parallel::for_each;
use crate::simd::{Kernel, dispatch};

/// A whole tensor.
pub(super) struct Forward<'a, T> {
    pub values: &'a [T],
    pub parameter: &'a [f32],
    pub out: &'a mut [T],
    pub geometry: BlockAxis,
}

impl<T: Fp4Element> FormatTask for Forward<'_, T> {
    type Output = ();

    fn run<F: Format, const N: usize>(self, formats: &[F]) {
        let part = self.values.len() / formats.len();
        let inner = self.geometry.inner;
        // Contiguous blocks may be cut anywhere between two of them.
        let task = if inner == 1 { CHUNK } else { N * inner };
        let parts = self.values.chunks(part);
        let parts = parts.zip(self.parameter.chunks(part / N));
        let parts = parts.zip(self.out.chunks_mut(part)).zip(formats);
        for_each(parts, |(((values, parameter), out), &format)| {
            let tasks = values.chunks(task);
            let tasks = tasks.zip(parameter.chunks(task / N));
            let tasks = tasks.zip(out.chunks_mut(task));
            for_each(tasks, |((values, parameter), out)| {
                dispatch(Task::<T, F, N> {
                    values,
                    parameter,
                    out,
                    strided: inner != 1,
                    format,
                });
            });
        });
    }
}

/// Whole blocks one after the other, or one row of blocks, a column each.
struct Task<'a, T, F, const N: usize> {
    values: &'a [T],
    parameter: &'a [f32],
    out: &'a mut [T],
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
        let (out, _) = self.out.as_chunks_mut::<N>();
        let spans = values.chunks(SPAN).zip(self.parameter.chunks(SPAN));
        let mut scales = [1.0; SPAN];
        for ((blocks, parameter), out) in spans.zip(out.chunks_mut(SPAN)) {
            contiguous_scales(format, blocks, parameter, &mut scales);
            for ((block, out), &scale) in blocks.iter().zip(out).zip(&scales) {
                let key = format.key(scale);
                for (out, &x) in out.iter_mut().zip(block) {
                    *out = format.fake_quantize(x, key);
                }
            }
        }
    }

    #[inline(always)]
    fn columns(self) {
        let format = self.format;
        let inner = self.parameter.len();
        let mut keys = [1.0; TILE];
        for start in (0..inner).step_by(TILE) {
            let keys = &mut keys[..TILE.min(inner - start)];
            column_scales::<T, F, N>(format, self.values, self.parameter, start, keys);
            for key in keys.iter_mut() {
                *key = format.key(*key);
            }
            for row in (start..self.values.len()).step_by(inner) {
                let columns = row..row + keys.len();
                let pairs = self.out[columns.clone()].iter_mut();
                let pairs = pairs.zip(&self.values[columns]);
                for ((out, &x), &key) in pairs.zip(keys.iter()) {
                    *out = format.fake_quantize(x, key);
                }
            }
        }
    }
}
