//! From codes and scales to floats.

use super::PackedFp4;
use super::code_tile::{ByteRow, CodeTile, TILE_COLUMNS, TILE_ROWS};
use crate::codec::block_axis::BlockAxis;
use crate::codec::e2m1;
use crate::codec::element::Fp4Element;
use crate::codec::format::{Format, FormatTask, with_format};
use crate::codec::nibbles;
use crate::error::Fp4Error;
use crate::parallel::for_each;
use crate::simd::{Kernel, dispatch};

/// Blocks per task where blocks are contiguous.
const CHUNK: usize = 1 << 10;
/// Rows per task where they are not: 64 bytes of codes in every column, a cache line.
const TASK_ROWS: usize = 4 * TILE_ROWS;

impl<S: AsRef<[u8]>> PackedFp4<S> {
    /// Decodes to `f32` in the order of [`shape`](Self::shape).
    pub fn dequantize(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.n_elements()];
        let geometry = BlockAxis {
            outer: 1,
            len: out.len(),
            inner: 1,
        };
        self.decode(geometry, &mut out);
        out
    }

    /// Decodes into `out` with the block axis moved from the end to `axis`.
    ///
    /// The inverse of [`quantize`](PackedFp4::quantize) with the same axis. MXFP4 is exact in `f32`
    /// and `bf16`, apart from scale bytes 253, where 4 and 6 overflow to infinity, and 254, where all
    /// from 2 do; NVFP4 is `f32` arithmetic rounded once to a narrower type; `f16` rounds in both.
    ///
    /// # Shapes
    ///
    /// - self: `[..., len]`, for instance `[E, out, in]`
    /// - out: `[..., len, ...]` with `len` at position `axis`, for instance `[E, in, out]` with
    ///   axis 1
    ///
    /// # Errors
    ///
    /// If `axis` does not exist, is the axis of the experts that have global scales, or `out` does
    /// not have as many elements as this tensor.
    pub fn dequantize_along<T: Fp4Element>(
        &self,
        axis: usize,
        out: &mut [T],
    ) -> Result<(), Fp4Error> {
        let mut shape = self.shape.clone();
        if let Some(len) = shape.pop().filter(|_| axis <= shape.len()) {
            shape.insert(axis, len);
        } else {
            let shape = self.shape.clone();
            return Err(Fp4Error::Axis { axis, shape });
        }
        let geometry = BlockAxis::new(&shape, axis, &self.scheme)?;
        geometry.check_len("out", &shape, out.len())?;
        self.decode(geometry, out);
        Ok(())
    }

    fn decode<T: Fp4Element>(&self, geometry: BlockAxis, out: &mut [T]) {
        if out.is_empty() {
            return;
        }
        let unpack = Unpack {
            codes: self.codes(),
            scales: self.scales(),
            geometry,
            out,
        };
        with_format(&self.scheme, &self.global_scales, unpack);
    }
}

/// Decoding of a whole tensor.
struct Unpack<'a, T> {
    codes: &'a [u8],
    scales: &'a [u8],
    geometry: BlockAxis,
    out: &'a mut [T],
}

impl<T: Fp4Element> FormatTask for Unpack<'_, T> {
    type Output = ();

    fn run<F: Format, const N: usize>(self, formats: &[F]) {
        let part = self.out.len() / formats.len();
        let geometry = self.geometry;
        let packed = self.codes.chunks(part / 2);
        let packed = packed.zip(self.scales.chunks(part / N));
        let parts = self.out.chunks_mut(part).zip(packed).zip(formats);
        for_each(parts, |((out, (codes, scales)), &format)| {
            if geometry.inner == 1 {
                contiguous::<T, F, N>(codes, scales, format, out);
            } else {
                strided::<T, F, N>(codes, scales, format, geometry, out);
            }
        });
    }
}

fn contiguous<T: Fp4Element, F: Format, const N: usize>(
    codes: &[u8],
    scales: &[u8],
    format: F,
    out: &mut [T],
) {
    let codes = codes.chunks(CHUNK * N / 2);
    let packed = codes.zip(scales.chunks(CHUNK));
    let chunks = out.chunks_mut(CHUNK * N).zip(packed);
    for_each(chunks, |(out, (codes, scales))| {
        dispatch(Blocks::<T, F, N> {
            codes,
            scales,
            format,
            out,
        });
    });
}

fn strided<T: Fp4Element, F: Format, const N: usize>(
    codes: &[u8],
    scales: &[u8],
    format: F,
    BlockAxis { len, inner, .. }: BlockAxis,
    out: &mut [T],
) {
    let n_blocks = len / N;
    let codes = codes.chunks(inner * len / 2);
    let packed = codes.zip(scales.chunks(inner * n_blocks));
    let matrices = out.chunks_mut(len * inner).zip(packed);
    for_each(matrices, |(out, (codes, scales))| {
        let tiles = out.chunks_mut(TASK_ROWS * inner).enumerate();
        for_each(tiles, |(tile, out)| {
            dispatch(Slabs::<T, F, N> {
                codes,
                scales,
                format,
                n_blocks,
                first: tile * (TASK_ROWS / N),
                out,
            });
        });
    });
}

/// Whole blocks one after the other.
struct Blocks<'a, T, F, const N: usize> {
    codes: &'a [u8],
    scales: &'a [u8],
    format: F,
    out: &'a mut [T],
}

impl<T: Fp4Element, F: Format, const N: usize> Kernel for Blocks<'_, T, F, N> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let codes = self.codes.chunks_exact(N / 2);
        let (out, _) = self.out.as_chunks_mut::<N>();
        for ((codes, &scale), out) in codes.zip(self.scales).zip(out) {
            let factor = self.format.factor_of_byte(scale);
            let codes = nibbles::unpack::<N>(codes);
            for (out, &code) in out.iter_mut().zip(&codes) {
                *out = decode::<T, F>(u32::from(code), factor);
            }
        }
    }
}

/// Consecutive blocks of every column of one `[len, inner]` matrix, whose packed form is
/// `[inner, len]`: at most [`TASK_ROWS`] rows.
struct Slabs<'a, T, F, const N: usize> {
    codes: &'a [u8],
    scales: &'a [u8],
    format: F,
    n_blocks: usize,
    first: usize,
    out: &'a mut [T],
}

impl<T: Fp4Element, F: Format, const N: usize> Kernel for Slabs<'_, T, F, N> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            codes,
            scales,
            format,
            n_blocks,
            first,
            out,
        } = self;
        let inner = scales.len() / n_blocks;
        let row = n_blocks * N / 2;
        let mut tile = CodeTile::ZERO;
        let mut factors = [0f32; TILE_COLUMNS];
        for start in (0..inner).step_by(TILE_COLUMNS) {
            let columns = start..inner.min(start + TILE_COLUMNS);
            let codes = &codes[start * row..columns.end * row];
            let factors = &mut factors[..columns.len()];
            for (i, out) in out.chunks_mut(TILE_ROWS * inner).enumerate() {
                let first = first + i * (TILE_ROWS / N);
                tile.load(out.len() / inner / 2, &codes[first * N / 2..], row);
                let rows = tile.rows.chunks_exact(N / 2);
                for (slab, (out, rows)) in out.chunks_exact_mut(N * inner).zip(rows).enumerate() {
                    let scales = scales[start * n_blocks + first + slab..].iter();
                    for (factor, &scale) in factors.iter_mut().zip(scales.step_by(n_blocks)) {
                        *factor = format.factor_of_byte(scale);
                    }
                    for (pair, bytes) in out.chunks_exact_mut(2 * inner).zip(rows) {
                        let (even, odd) = pair.split_at_mut(inner);
                        decode_row::<T, F>(bytes, factors, &mut even[columns.clone()], 0);
                        decode_row::<T, F>(bytes, factors, &mut odd[columns.clone()], 4);
                    }
                }
            }
        }
    }
}

/// Decodes the codes that begin at bit `shift` of every byte.
#[inline(always)]
fn decode_row<T: Fp4Element, F: Format>(
    bytes: &ByteRow,
    factors: &[f32],
    out: &mut [T],
    shift: u32,
) {
    for (out, (&byte, &factor)) in out.iter_mut().zip(bytes.iter().zip(factors)) {
        *out = decode::<T, F>(u32::from(byte) >> shift & 0xf, factor);
    }
}

#[inline(always)]
fn decode<T: Fp4Element, F: Format>(code: u32, factor: f32) -> T {
    F::narrow(e2m1::decode_bits(code) * factor)
}
