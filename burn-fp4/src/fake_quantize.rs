//! Fake quantization of slices: quantize and dequantize in one pass over memory.
//!
//! This is the CPU path; the Flex backend calls it. The result of each block depends on that block
//! alone, so the number of threads never changes a bit.

mod contiguous;
mod scale;
mod strided;

use rayon::prelude::*;

use crate::block_axis::BlockAxis;
use crate::simd::dispatch;
use crate::{Fp4Element, Fp4Error, Fp4Scheme};

pub(crate) use scale::block_max;

/// Elements per task where blocks are contiguous: large against the cost of a task, small enough
/// to balance the load. A multiple of every block size.
const CHUNK: usize = 1 << 15;

/// Rounds `values` to what the FP4 format can represent.
///
/// The result equals packing and decoding again, bit for bit. NaN is ignored when the block scale
/// is chosen and infinity counts as `f32::MAX`; both then saturate to `6 * scale` with their sign,
/// as in ModelOpt's training kernel. A block of nothing but zeros and NaN has scale 1. Results
/// above the range of `T` become infinite, which only a block maximum just below it can reach.
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
    let geometry = BlockAxis::new(shape, axis, scheme)?;
    geometry.check_len("values", shape, values.len())?;
    let mut out = T::zeros(values.len());
    fake_quantize_layout(values, geometry, scheme, &mut out);
    Ok(out)
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
    let geometry = BlockAxis::new(shape, axis, scheme)?;
    geometry.check_len("values", shape, values.len())?;
    geometry.check_len("out", shape, out.len())?;
    fake_quantize_layout(values, geometry, scheme, out);
    Ok(())
}

fn fake_quantize_layout<T: Fp4Element>(
    values: &[T],
    geometry: BlockAxis,
    scheme: &Fp4Scheme,
    out: &mut [T],
) {
    if values.is_empty() {
        return;
    }
    let rule = scheme.scale_rule();
    let BlockAxis { inner, .. } = geometry;
    if inner == 1 {
        let chunks = values.par_chunks(CHUNK).zip(out.par_chunks_mut(CHUNK));
        chunks.for_each(|(values, out)| dispatch(contiguous::Blocks { values, out, rule }));
    } else {
        let slab = scheme.block_size() * inner;
        let slabs = values.par_chunks(slab).zip(out.par_chunks_mut(slab));
        slabs.for_each(|(values, out)| {
            dispatch(strided::Slab {
                values,
                out,
                inner,
                rule,
            });
        });
    }
}

#[cfg(test)]
mod tests;
