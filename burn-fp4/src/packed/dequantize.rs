//! From codes and scales to floats.

use rayon::prelude::*;

use super::PackedFp4;
use crate::block_axis::BlockAxis;
use crate::scheme::MXFP4_BLOCK_SIZE;
use crate::simd::{Kernel, dispatch};
use crate::{Fp4Element, Fp4Error, e2m1, e8m0};

const BLOCK: usize = MXFP4_BLOCK_SIZE;
const BLOCK_BYTES: usize = BLOCK / 2;
/// Blocks per task where blocks are contiguous.
const CHUNK: usize = 1 << 10;
/// Columns that are turned together where they are not.
const TILE: usize = 64;
/// Rows of blocks per task there: their codes fill one 64-byte cache line per column.
const SLABS: usize = 4;

impl<S: AsRef<[u8]>> PackedFp4<S> {
    /// Decodes to `f32`, exactly, in the order of [`shape`](Self::shape).
    pub fn dequantize(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.n_elements()];
        self.decode_contiguous(&mut out);
        out
    }

    /// Decodes into `out` with the block axis moved from the end to `axis`.
    ///
    /// The inverse of [`quantize`](PackedFp4::quantize) with the same axis. Exact for `f32` and
    /// `bf16`, apart from scale byte 254, where 4 and 6 overflow to infinity; `f16` rounds.
    ///
    /// # Shapes
    ///
    /// - self: `[..., len]`, for instance `[E, out, in]`
    /// - out: `[..., len, ...]` with `len` at position `axis`, for instance `[E, in, out]` with
    ///   axis 1
    ///
    /// # Errors
    ///
    /// If `axis` does not exist or `out` does not have as many elements as this tensor.
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
        if out.is_empty() {
            return Ok(());
        }
        if geometry.inner == 1 {
            self.decode_contiguous(out);
        } else {
            self.decode_strided(geometry, out);
        }
        Ok(())
    }

    fn decode_contiguous<T: Fp4Element>(&self, out: &mut [T]) {
        let codes = self.codes().par_chunks(CHUNK * BLOCK_BYTES);
        let packed = codes.zip(self.scales().par_chunks(CHUNK));
        let chunks = out.par_chunks_mut(CHUNK * BLOCK).zip(packed);
        chunks.for_each(|(out, (codes, scales))| dispatch(Blocks { codes, scales, out }));
    }

    fn decode_strided<T: Fp4Element>(&self, geometry: BlockAxis, out: &mut [T]) {
        let BlockAxis { len, inner, .. } = geometry;
        let n_blocks = len / BLOCK;
        let codes = self.codes().par_chunks(inner * len / 2);
        let packed = codes.zip(self.scales().par_chunks(inner * n_blocks));
        let matrices = out.par_chunks_mut(len * inner).zip(packed);
        matrices.for_each(|(out, (codes, scales))| {
            let slabs = out.par_chunks_mut(SLABS * BLOCK * inner).enumerate();
            slabs.for_each(|(slab, out)| {
                dispatch(Slabs {
                    codes,
                    scales,
                    n_blocks,
                    first: slab * SLABS,
                    out,
                });
            });
        });
    }
}

/// Whole blocks one after the other.
struct Blocks<'a, T> {
    codes: &'a [u8],
    scales: &'a [u8],
    out: &'a mut [T],
}

impl<T: Fp4Element> Kernel for Blocks<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (codes, _) = self.codes.as_chunks::<BLOCK_BYTES>();
        let (out, _) = self.out.as_chunks_mut::<BLOCK>();
        for ((codes, &scale), out) in codes.iter().zip(self.scales).zip(out) {
            let scale = e8m0::decode(scale);
            for (pair, &byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(codes) {
                pair[0] = decode(low(byte), scale);
                pair[1] = decode(high(byte), scale);
            }
        }
    }
}

/// Some consecutive rows of blocks of one `[len, inner]` matrix, whose packed form is
/// `[inner, len]`.
struct Slabs<'a, T> {
    codes: &'a [u8],
    scales: &'a [u8],
    n_blocks: usize,
    first: usize,
    out: &'a mut [T],
}

impl<T: Fp4Element> Kernel for Slabs<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            codes,
            scales,
            n_blocks,
            first,
            out,
        } = self;
        let inner = scales.len() / n_blocks;
        for start in (0..inner).step_by(TILE) {
            let columns = start..inner.min(start + TILE);
            for (slab, out) in out.chunks_exact_mut(BLOCK * inner).enumerate() {
                let tile = Tile::load(codes, scales, n_blocks, first + slab, columns.clone());
                tile.store(out, inner, columns.clone());
            }
        }
    }
}

/// The codes of one block of up to `TILE` columns, turned: a row of bytes is two rows of output.
struct Tile {
    bytes: [[u8; TILE]; BLOCK_BYTES],
    scales: [f32; TILE],
}

impl Tile {
    #[inline(always)]
    fn load(
        codes: &[u8],
        scales: &[u8],
        n_blocks: usize,
        block: usize,
        columns: core::ops::Range<usize>,
    ) -> Self {
        let mut tile = Self {
            bytes: [[0; TILE]; BLOCK_BYTES],
            scales: [0.0; TILE],
        };
        for (slot, column) in columns.enumerate() {
            let index = column * n_blocks + block;
            tile.scales[slot] = e8m0::decode(scales[index]);
            let column = &codes[index * BLOCK_BYTES..][..BLOCK_BYTES];
            for (bytes, &byte) in tile.bytes.iter_mut().zip(column) {
                bytes[slot] = byte;
            }
        }
        tile
    }

    #[inline(always)]
    fn store<T: Fp4Element>(&self, out: &mut [T], inner: usize, columns: core::ops::Range<usize>) {
        for (pair, bytes) in out.chunks_exact_mut(2 * inner).zip(&self.bytes) {
            let (even, odd) = pair.split_at_mut(inner);
            let packed = bytes.iter().zip(&self.scales);
            for (out, (&byte, &scale)) in even[columns.clone()].iter_mut().zip(packed.clone()) {
                *out = decode(low(byte), scale);
            }
            for (out, (&byte, &scale)) in odd[columns.clone()].iter_mut().zip(packed) {
                *out = decode(high(byte), scale);
            }
        }
    }
}

#[inline(always)]
fn low(byte: u8) -> u32 {
    u32::from(byte) & 0xf
}

#[inline(always)]
fn high(byte: u8) -> u32 {
    u32::from(byte) >> 4
}

#[inline(always)]
fn decode<T: Fp4Element>(code: u32, scale: f32) -> T {
    T::narrow(e2m1::decode_bits(code) * scale)
}
