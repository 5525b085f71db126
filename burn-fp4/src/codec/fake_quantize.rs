//! Fake quantization of slices: quantize and dequantize in one pass over memory.
//!
//! This is the CPU path; the Flex backend calls it. The result of each block depends on that block
//! and the global scale alone, so the number of threads never changes a bit.

mod contiguous;
mod strided;

use crate::codec::block_axis::BlockAxis;
use crate::codec::element::Fp4Element;
use crate::codec::format::{Format, FormatTask};
use crate::codec::non_finite::NonFinite;
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::error::Fp4Error;
use crate::parallel::map;
use crate::scheme::Fp4Scheme;
use crate::simd::dispatch;

/// Elements per task where blocks are contiguous: large against the cost of a task, small enough
/// to balance the load. A multiple of every block size.
const CHUNK: usize = 1 << 15;

/// Rounds `values` to what the FP4 format can represent: [`SliceQuantizer::fake_quantize`] with a
/// dynamic global scale and [`NonFinite::Saturate`].
///
/// # Shapes
///
/// - values: `shape`, row-major; blocks run along `axis`
/// - output: `shape`
///
/// # Errors
///
/// If `axis` does not exist, its length is not a multiple of the block size, or `values` does not
/// have as many elements as `shape`.
pub fn fake_quantize_slice<T: Fp4Element>(
    values: &[T],
    shape: &[usize],
    axis: usize,
    scheme: &Fp4Scheme,
) -> Result<Vec<T>, Fp4Error> {
    training(scheme).fake_quantize(values, shape, axis)
}

/// [`fake_quantize_slice`] into memory that the caller has.
///
/// # Shapes
///
/// - values, out: `shape`, row-major; blocks run along `axis`
///
/// # Errors
///
/// Those of [`fake_quantize_slice`], and if `out` does not have as many elements as `shape`.
pub fn fake_quantize_into<T: Fp4Element>(
    values: &[T],
    shape: &[usize],
    axis: usize,
    scheme: &Fp4Scheme,
    out: &mut [T],
) -> Result<(), Fp4Error> {
    training(scheme).fake_quantize_into(values, shape, axis, out)
}

fn training(scheme: &Fp4Scheme) -> SliceQuantizer {
    SliceQuantizer::new(*scheme).with_non_finite(NonFinite::Saturate)
}

/// Fake quantization of a whole tensor, a [`FormatTask`] that returns whether all values are finite.
pub(crate) struct FakeQuantize<'a, T> {
    pub values: &'a [T],
    pub out: &'a mut [T],
    pub geometry: BlockAxis,
}

impl<T: Fp4Element> FormatTask for FakeQuantize<'_, T> {
    type Output = bool;

    fn run<F: Format, const N: usize>(self, formats: &[F]) -> bool {
        let part = self.values.len() / formats.len();
        let inner = self.geometry.inner;
        let parts = self.values.chunks(part);
        let parts = parts.zip(self.out.chunks_mut(part)).zip(formats);
        let finite = map(parts, |((values, out), &format)| {
            if inner == 1 {
                contiguous::<T, F, N>(values, out, format)
            } else {
                strided::<T, F, N>(values, out, inner, format)
            }
        });
        finite.into_iter().all(|finite| finite)
    }
}

fn contiguous<T: Fp4Element, F: Format, const N: usize>(
    values: &[T],
    out: &mut [T],
    format: F,
) -> bool {
    let chunks = values.chunks(CHUNK).zip(out.chunks_mut(CHUNK));
    let finite = map(chunks, |(values, out)| {
        dispatch(contiguous::Blocks::<T, F, N> {
            values,
            out,
            format,
        })
    });
    finite.into_iter().all(|finite| finite)
}

fn strided<T: Fp4Element, F: Format, const N: usize>(
    values: &[T],
    out: &mut [T],
    inner: usize,
    format: F,
) -> bool {
    let slab = N * inner;
    let finite = map(out.chunks_mut(slab).enumerate(), |(i, out)| {
        dispatch(strided::Slab::<T, F, N> {
            values: &values[i * slab..],
            out,
            inner,
            format,
        })
    });
    finite.into_iter().all(|finite| finite)
}

#[cfg(test)]
mod tests;
