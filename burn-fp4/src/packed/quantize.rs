//! From floats to codes and scales.

use rayon::prelude::*;

use super::PackedFp4;
use crate::block_axis::BlockAxis;
use crate::element::private::Lane;
use crate::fake_quantize::block_max;
use crate::scheme::MXFP4_BLOCK_SIZE;
use crate::simd::{Kernel, dispatch};
use crate::{Fp4Element, Fp4Error, Fp4Scheme, ScaleRule, e2m1, e8m0};

const BLOCK: usize = MXFP4_BLOCK_SIZE;
const BLOCK_BYTES: usize = BLOCK / 2;
/// Blocks per task where blocks are contiguous.
const CHUNK: usize = 1 << 10;
/// Columns per task where they are not.
const TILE: usize = 64;

impl PackedFp4 {
    /// Quantizes `values` and moves the block axis last.
    ///
    /// A block of zeros gets scale byte 0 and keeps the signs of its zeros.
    ///
    /// # Shapes
    ///
    /// - values: `shape`, row-major; blocks run along `axis`
    /// - result: `shape` with `axis` moved to the end; `[E, in, out]` with axis 1 becomes
    ///   `[E, out, in]`, as in a gpt-oss checkpoint
    ///
    /// # Errors
    ///
    /// If `axis` does not exist, its length is not a multiple of the block size, `values` does not
    /// have as many elements as `shape`, or an element is infinite or NaN.
    pub fn quantize<T: Fp4Element>(
        values: &[T],
        shape: &[usize],
        axis: usize,
        scheme: Fp4Scheme,
    ) -> Result<Self, Fp4Error> {
        let geometry = BlockAxis::new(shape, axis, &scheme)?;
        geometry.check_len("values", shape, values.len())?;
        let mut codes = vec![0; values.len() / 2];
        let mut scales = vec![0; values.len() / BLOCK];
        let rule = scheme.scale_rule();
        let finite = match geometry.inner {
            _ if values.is_empty() => true,
            1 => quantize_contiguous(values, rule, &mut codes, &mut scales),
            _ => quantize_strided(values, geometry, rule, &mut codes, &mut scales),
        };
        if !finite {
            return Err(first_non_finite(values));
        }
        let mut logical = shape.to_vec();
        let len = logical.remove(axis);
        logical.push(len);
        Self::from_parts(scheme, logical, codes, scales)
    }
}

/// Returns whether all values are finite; what is written is meaningless otherwise.
fn quantize_contiguous<T: Fp4Element>(
    values: &[T],
    rule: ScaleRule,
    codes: &mut [u8],
    scales: &mut [u8],
) -> bool {
    let codes = codes.par_chunks_mut(CHUNK * BLOCK_BYTES);
    let packed = codes.zip(scales.par_chunks_mut(CHUNK));
    let chunks = values.par_chunks(CHUNK * BLOCK).zip(packed);
    let finite = chunks.map(|(values, (codes, scales))| {
        dispatch(Blocks {
            values,
            codes,
            scales,
            rule,
        })
    });
    finite.reduce(|| true, |a, b| a & b)
}

fn quantize_strided<T: Fp4Element>(
    values: &[T],
    BlockAxis { len, inner, .. }: BlockAxis,
    rule: ScaleRule,
    codes: &mut [u8],
    scales: &mut [u8],
) -> bool {
    let (row_codes, row_scales) = (len / 2, len / BLOCK);
    let codes = codes.par_chunks_mut(inner * row_codes);
    let packed = codes.zip(scales.par_chunks_mut(inner * row_scales));
    let matrices = values.par_chunks(len * inner).zip(packed);
    let finite = matrices.map(|(values, (codes, scales))| {
        let codes = codes.par_chunks_mut(TILE * row_codes);
        let packed = codes.zip(scales.par_chunks_mut(TILE * row_scales));
        let finite = packed.enumerate().map(|(tile, (codes, scales))| {
            dispatch(Columns {
                values,
                inner,
                start: tile * TILE,
                codes,
                scales,
                rule,
            })
        });
        finite.reduce(|| true, |a, b| a & b)
    });
    finite.reduce(|| true, |a, b| a & b)
}

/// The error for `values`, one of which a kernel found not to be finite.
#[cold]
fn first_non_finite<T: Lane>(values: &[T]) -> Fp4Error {
    let position = values.iter().position(|x| !x.widen().is_finite());
    let index = position.unwrap_or_default();
    Fp4Error::NonFinite {
        index,
        value: values[index].widen(),
    }
}

/// Whole blocks one after the other.
struct Blocks<'a, T> {
    values: &'a [T],
    codes: &'a mut [u8],
    scales: &'a mut [u8],
    rule: ScaleRule,
}

impl<T: Fp4Element> Kernel for Blocks<'_, T> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let (values, _) = self.values.as_chunks::<BLOCK>();
        let (codes, _) = self.codes.as_chunks_mut::<BLOCK_BYTES>();
        let mut finite = true;
        for ((block, codes), scale) in values.iter().zip(codes).zip(self.scales) {
            let max = block_max(block);
            finite &= T::finite(max);
            let biased = self.rule.biased_exponent(T::amax(max));
            let inverse = e8m0::inverse_scale(biased);
            let mut nibbles = [0u8; BLOCK];
            for (nibble, x) in nibbles.iter_mut().zip(block) {
                *nibble = e2m1::encode_bits(x.widen() * inverse) as u8;
            }
            for (byte, pair) in codes.iter_mut().zip(nibbles.as_chunks::<2>().0) {
                *byte = pair[0] | (pair[1] << 4);
            }
            *scale = biased as u8;
        }
        finite
    }
}

/// Up to `TILE` columns of a `[len, inner]` matrix, from column `start`; every column becomes a row
/// of `codes` and of `scales`.
struct Columns<'a, T> {
    values: &'a [T],
    inner: usize,
    start: usize,
    codes: &'a mut [u8],
    scales: &'a mut [u8],
    rule: ScaleRule,
}

impl<T: Fp4Element> Kernel for Columns<'_, T> {
    type Output = bool;

    #[inline(always)]
    fn run(mut self) -> bool {
        let slabs = self.values.chunks_exact(BLOCK * self.inner);
        let n_blocks = slabs.len();
        let mut finite = true;
        for (block, slab) in slabs.enumerate() {
            finite &= self.pack_slab(slab, block, n_blocks);
        }
        finite
    }
}

impl<T: Fp4Element> Columns<'_, T> {
    /// Packs block number `block` of every column of the tile.
    #[inline(always)]
    fn pack_slab(&mut self, slab: &[T], block: usize, n_blocks: usize) -> bool {
        let width = self.scales.len() / n_blocks;
        let columns = self.start..self.start + width;
        let mut maxima = [<T as Lane>::Magnitude::default(); TILE];
        for row in slab.chunks_exact(self.inner) {
            for (max, x) in maxima.iter_mut().zip(&row[columns.clone()]) {
                *max = (*max).max(x.magnitude());
            }
        }
        let mut inverse = [1.0f32; TILE];
        let scales = self.scales[block..].iter_mut().step_by(n_blocks);
        for ((scale, inverse), &max) in scales.zip(&mut inverse).zip(&maxima) {
            let biased = self.rule.biased_exponent(T::amax(max));
            *scale = biased as u8;
            *inverse = e8m0::inverse_scale(biased);
        }
        // Two rows make one row of bytes; turning bytes moves half as much as turning elements.
        let mut bytes = [[0u8; TILE]; BLOCK_BYTES];
        for (bytes, pair) in bytes.iter_mut().zip(slab.chunks_exact(2 * self.inner)) {
            let (low, high) = pair.split_at(self.inner);
            let pairs = low[columns.clone()].iter().zip(&high[columns.clone()]);
            for ((byte, (low, high)), &inverse) in bytes.iter_mut().zip(pairs).zip(&inverse) {
                let low = e2m1::encode_bits(low.widen() * inverse);
                let high = e2m1::encode_bits(high.widen() * inverse);
                *byte = (low | (high << 4)) as u8;
            }
        }
        let rows = self.codes.chunks_exact_mut(n_blocks * BLOCK_BYTES);
        for (column, row) in rows.enumerate() {
            let row = &mut row[block * BLOCK_BYTES..][..BLOCK_BYTES];
            for (byte, turned) in row.iter_mut().zip(&bytes) {
                *byte = turned[column];
            }
        }
        T::finite(maxima.iter().copied().max().unwrap_or_default())
    }
}
