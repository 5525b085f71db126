//! From floats to codes and scales.

use super::PackedFp4;
use super::code_tile::{ByteRow, CodeTile, TILE_COLUMNS, TILE_ROWS};
use crate::codec::block_axis::BlockAxis;
use crate::codec::block_scales::{SPAN, of_columns, of_contiguous};
use crate::codec::element::Fp4Element;
use crate::codec::element::private::Lane;
use crate::codec::format::{Format, FormatTask};
use crate::codec::nibbles;
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::error::Fp4Error;
use crate::parallel::map;
use crate::scheme::Fp4Scheme;
use crate::simd::{Kernel, dispatch, prefetch_run};

/// Blocks per task where blocks are contiguous.
const CHUNK: usize = 1 << 10;
/// Columns between two requests for the next rows.
const PIECE: usize = 128;

impl PackedFp4 {
    /// Quantizes `values` and moves the block axis last: [`SliceQuantizer::quantize`] with a dynamic
    /// global scale and [`NonFinite::Error`](crate::NonFinite::Error).
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
        SliceQuantizer::new(scheme).quantize(values, shape, axis)
    }
}

/// Packing of a whole tensor, a [`FormatTask`] that returns whether all values are finite.
pub(crate) struct Pack<'a, T> {
    pub values: &'a [T],
    pub geometry: BlockAxis,
    pub codes: &'a mut [u8],
    pub scales: &'a mut [u8],
}

impl<T: Fp4Element> FormatTask for Pack<'_, T> {
    type Output = bool;

    fn run<F: Format, const N: usize>(self, formats: &[F]) -> bool {
        let part = self.values.len() / formats.len();
        let geometry = self.geometry;
        let codes = self.codes.chunks_mut(part / 2);
        let packed = codes.zip(self.scales.chunks_mut(part / N));
        let parts = self.values.chunks(part).zip(packed).zip(formats);
        let finite = map(parts, |((values, (codes, scales)), &format)| {
            if geometry.inner == 1 {
                contiguous::<T, F, N>(values, format, codes, scales)
            } else {
                strided::<T, F, N>(values, geometry, format, codes, scales)
            }
        });
        finite.into_iter().all(|finite| finite)
    }
}

/// Returns whether all values are finite.
fn contiguous<T: Fp4Element, F: Format, const N: usize>(
    values: &[T],
    format: F,
    codes: &mut [u8],
    scales: &mut [u8],
) -> bool {
    let codes = codes.chunks_mut(CHUNK * N / 2);
    let packed = codes.zip(scales.chunks_mut(CHUNK));
    let chunks = values.chunks(CHUNK * N).zip(packed);
    let finite = map(chunks, |(values, (codes, scales))| {
        dispatch(Blocks::<T, F, N> {
            values,
            codes,
            scales,
            format,
        })
    });
    finite.into_iter().all(|finite| finite)
}

fn strided<T: Fp4Element, F: Format, const N: usize>(
    values: &[T],
    BlockAxis { len, inner, .. }: BlockAxis,
    format: F,
    codes: &mut [u8],
    scales: &mut [u8],
) -> bool {
    let (row_codes, row_scales) = (len / 2, len / N);
    let codes = codes.chunks_mut(inner * row_codes);
    let packed = codes.zip(scales.chunks_mut(inner * row_scales));
    let matrices = values.chunks(len * inner).zip(packed);
    let finite = map(matrices, |(values, (codes, scales))| {
        let codes = codes.chunks_mut(TILE_COLUMNS * row_codes);
        let packed = codes.zip(scales.chunks_mut(TILE_COLUMNS * row_scales));
        let finite = map(packed.enumerate(), |(tile, (codes, scales))| {
            dispatch(Columns::<T, F, N> {
                values,
                inner,
                start: tile * TILE_COLUMNS,
                codes,
                scales,
                format,
            })
        });
        finite.into_iter().all(|finite| finite)
    });
    finite.into_iter().all(|finite| finite)
}

/// Whole blocks one after the other.
struct Blocks<'a, T, F, const N: usize> {
    values: &'a [T],
    codes: &'a mut [u8],
    scales: &'a mut [u8],
    format: F,
}

impl<T: Fp4Element, F: Format, const N: usize> Kernel for Blocks<'_, T, F, N> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let format = self.format;
        let (values, _) = self.values.as_chunks::<N>();
        let spans = self.codes.chunks_mut(SPAN * N / 2);
        let spans = spans.zip(self.scales.chunks_mut(SPAN));
        let mut scales = [1.0; SPAN];
        let mut finite = true;
        for (span, (blocks, (codes, bytes))) in values.chunks(SPAN).zip(spans).enumerate() {
            finite &= of_contiguous(format, blocks, &mut scales);
            for (byte, &scale) in bytes.iter_mut().zip(&scales) {
                *byte = format.byte(scale);
            }
            let codes = codes.chunks_exact_mut(N / 2);
            for (i, ((block, codes), &scale)) in blocks.iter().zip(codes).zip(&scales).enumerate() {
                prefetch_run(self.values, ((span + 1) * SPAN + i) * N, N);
                pack_block(format, block, format.key(scale), codes);
            }
        }
        finite
    }
}

#[inline(always)]
fn pack_block<T: Lane, F: Format, const N: usize>(
    format: F,
    block: &[T; N],
    key: f32,
    codes: &mut [u8],
) {
    let mut nibbles = [0u8; N];
    for (nibble, x) in nibbles.iter_mut().zip(block) {
        *nibble = format.code(x.widen(), key) as u8;
    }
    nibbles::pack(&nibbles, codes);
}

/// Up to [`TILE_COLUMNS`] columns of a `[len, inner]` matrix, from column `start`; every column
/// becomes a row of `codes` and of `scales`.
struct Columns<'a, T, F, const N: usize> {
    values: &'a [T],
    inner: usize,
    start: usize,
    codes: &'a mut [u8],
    scales: &'a mut [u8],
    format: F,
}

impl<T: Fp4Element, F: Format, const N: usize> Kernel for Columns<'_, T, F, N> {
    type Output = bool;

    #[inline(always)]
    fn run(mut self) -> bool {
        let inner = self.inner;
        let n_blocks = self.values.len() / (N * inner);
        let mut tile = CodeTile::ZERO;
        let mut finite = true;
        for first in (0..n_blocks).step_by(TILE_ROWS / N) {
            let blocks = first..n_blocks.min(first + TILE_ROWS / N);
            let rows = tile.rows.chunks_exact_mut(N / 2);
            for (block, bytes) in blocks.clone().zip(rows) {
                let values = &self.values[block * N * inner..];
                finite &= self.pack_slab(values, block, n_blocks, bytes);
            }
            let codes = &mut self.codes[first * N / 2..];
            tile.store(blocks.len() * N / 2, codes, n_blocks * N / 2);
        }
        finite
    }
}

impl<T: Fp4Element, F: Format, const N: usize> Columns<'_, T, F, N> {
    /// Packs block number `block` of every column; `values` begins with its rows and goes on with
    /// those that are packed next.
    #[inline(always)]
    fn pack_slab(
        &mut self,
        values: &[T],
        block: usize,
        n_blocks: usize,
        bytes: &mut [ByteRow],
    ) -> bool {
        let (format, inner) = (self.format, self.inner);
        let (slab, next) = values.split_at(N * inner);
        let width = self.scales.len() / n_blocks;
        let mut maxima = [<T as Lane>::Magnitude::default(); TILE_COLUMNS];
        let mut keys = [1f32; TILE_COLUMNS];
        let (maxima, keys) = (&mut maxima[..width], &mut keys[..width]);
        let finite = of_columns::<T, F, N>(format, slab, inner, self.start, maxima, keys);
        let scales = self.scales[block..].iter_mut().step_by(n_blocks);
        for (byte, key) in scales.zip(keys.iter_mut()) {
            *byte = format.byte(*key);
            *key = format.key(*key);
        }
        let pairs = slab.chunks_exact(2 * inner);
        for (row, (bytes, pair)) in bytes.iter_mut().zip(pairs).enumerate() {
            let (low, high) = pair.split_at(inner);
            for from in (0..width).step_by(PIECE) {
                let piece = from..width.min(from + PIECE);
                for row in [2 * row, 2 * row + 1] {
                    prefetch_run(next, row * inner + self.start + from, PIECE);
                }
                let columns = self.start + piece.start..self.start + piece.end;
                let pairs = low[columns.clone()].iter().zip(&high[columns]);
                let bytes = bytes[piece.clone()].iter_mut();
                for ((byte, (low, high)), &key) in bytes.zip(pairs).zip(&keys[piece]) {
                    let low = format.code(low.widen(), key);
                    let high = format.code(high.widen(), key);
                    *byte = (low | (high << 4)) as u8;
                }
            }
        }
        finite
    }
}
