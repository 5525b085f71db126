//! From codes and scale bytes to floats.

use cubecl::prelude::*;

use super::arithmetic::Arithmetic;
use super::block_scale::factor;
use super::float_words::{FloatWords, join, narrow};
use super::format::KernelFormat;
use super::quantize::{BYTES_PER_WORD, CODES_PER_WORD};
use super::soft_float::INFINITY;
use super::threshold::magnitude;

/// Bits of `2^126`.
const TWO_126: u32 = 0x7e80_0000;

/// The geometry of packed rows.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(crate) struct PackedRows {
    /// Vectors of codes, without gaps.
    pub n_vectors: usize,
    /// Vectors of codes in a row.
    pub width: usize,
    /// Vectors of codes from one row to the next.
    pub code_pitch: usize,
    /// Scale bytes from one row to the next.
    pub scale_pitch: usize,
}

/// How units decode; a vector of codes does not reach beyond its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Decoding {
    /// Vectors of codes that a unit has under way at a time.
    pub in_flight: usize,
    /// Whether rows of codes or scales have a gap between them.
    pub pitched: bool,
}

/// Decodes rows of codes; neighbouring units have neighbouring vectors of `N` words.
///
/// # Shapes
///
/// - codes: rows of `width` vectors
/// - scales: bytes, in words
/// - output: `[n_vectors * N * 8]` floats in vectors of `M` words
#[cube(launch_unchecked, address_type = "dynamic")]
pub(crate) fn dequantize<N: Size, M: Size>(
    codes: &[Vector<u32, N>],
    scales: &[u32],
    global_scales: &[u32],
    output: &mut [Vector<u32, M>],
    rows: PackedRows,
    blocks_per_global_scale: usize,
    #[comptime] decoding: Decoding,
    #[comptime] format: KernelFormat,
    #[comptime] floats: FloatWords,
) {
    let size = N::value().comptime();
    let per_block = comptime!(format.block_size / CODES_PER_WORD / size);
    let first = CUBE_POS * decoding.in_flight * CUBE_DIM as usize + UNIT_POS as usize;
    let mut vectors = Sequence::<Vector<u32, N>>::new();
    let mut bytes = Sequence::<u32>::new();
    #[unroll]
    for j in 0..comptime!(decoding.in_flight) {
        let i = min(first + j * CUBE_DIM as usize, rows.n_vectors - 1);
        let mut code = i;
        let mut scale = i / per_block;
        if comptime!(decoding.pitched) {
            let (row, column) = (i / rows.width, i % rows.width);
            code = row * rows.code_pitch + column;
            scale = row * rows.scale_pitch + column / per_block;
        }
        vectors.push(codes[code]);
        let word = scales[scale / BYTES_PER_WORD];
        bytes.push((word >> (scale as u32 % 4u32 * 8u32)) & 0xffu32);
    }
    #[unroll]
    for j in 0..comptime!(decoding.in_flight) {
        let i = first + j * CUBE_DIM as usize;
        if i < rows.n_vectors {
            let global_scale = global_scales[i / per_block / blocks_per_global_scale];
            let decoder = Decoder::new(*bytes.index(j), global_scale, format);
            let out_size = M::value().comptime();
            let n_out = comptime!(CODES_PER_WORD / floats.per_word() * size / out_size);
            #[unroll]
            for v in 0..n_out {
                let vector = decoder.vector::<N, M>(*vectors.index(j), v, floats);
                output[i * n_out + v] = vector;
            }
        }
    }
}

/// What turns the codes of a block into floats.
#[derive(CubeType, Clone)]
pub(crate) struct Decoder {
    /// Bits of what values of the grid are multiplied with, negative or NaN for scale bytes that no
    /// quantizer makes.
    unit: u32,
    /// Integer arithmetic: bits of the magnitudes of codes 1 to 7.
    values: Sequence<u32>,
    #[cube(comptime)]
    format: KernelFormat,
}

#[cube]
impl Decoder {
    pub fn new(byte: u32, global_scale: u32, #[comptime] format: KernelFormat) -> Decoder {
        let unit = factor(byte, global_scale, format);
        let mut values = Sequence::new();
        if comptime!(format.arithmetic == Arithmetic::Integer) {
            #[unroll]
            for code in 1..8usize {
                values.push(magnitude(unit & 0x7fff_ffffu32, code));
            }
        }
        Decoder {
            unit,
            values,
            format,
        }
    }

    /// Vector `vector` of the floats that a vector of codes stands for.
    fn vector<N: Size, M: Size>(
        &self,
        codes: Vector<u32, N>,
        #[comptime] vector: usize,
        #[comptime] floats: FloatWords,
    ) -> Vector<u32, M> {
        let size = M::value().comptime();
        let mut out = Vector::<u32, M>::empty();
        #[unroll]
        for w in 0..size {
            let float = comptime!((vector * size + w) * floats.per_word());
            let word = codes.extract(comptime!(float / CODES_PER_WORD));
            let code = comptime!(float % CODES_PER_WORD);
            let low = self.float(word, code, floats);
            let word = if comptime!(floats.per_word() == 1) {
                low
            } else {
                join(low, self.float(word, comptime!(code + 1), floats))
            };
            out.insert(w, word);
        }
        out
    }

    /// The low bits of the float for code `index` of a word.
    pub fn float(
        &self,
        word: u32,
        #[comptime] index: usize,
        #[comptime] floats: FloatWords,
    ) -> u32 {
        let value = match comptime!(self.format.arithmetic) {
            Arithmetic::Float => self.multiply(word, index),
            Arithmetic::Integer => self.choose(word, index),
        };
        // NaN is the same for all codes; not every processor hands its bits on.
        let is_nan = (self.unit & 0x7fff_ffffu32) > INFINITY;
        let value = select(is_nan, self.unit, value);
        narrow(value, comptime!(self.format.scales.exact_in_bf16()), floats)
    }

    /// The three bits of a magnitude are those of an `f32` with a tiny exponent, also where both are
    /// subnormal.
    fn multiply(&self, word: u32, #[comptime] index: usize) -> u32 {
        let magnitude = place(word, index, 22u32) & 0x01c0_0000u32;
        let sign = place(word, index, 28u32) & 0x8000_0000u32;
        let value = f32::reinterpret(magnitude | sign) * f32::reinterpret(TWO_126.runtime());
        u32::reinterpret(value * f32::reinterpret(self.unit))
    }

    fn choose(&self, word: u32, #[comptime] index: usize) -> u32 {
        let code = word >> comptime!(index as u32 * 4);
        let mut value = 0u32;
        #[unroll]
        for i in 1..8u32 {
            value = select(
                (code & 7u32) == i,
                *self.values.index(i as usize - 1),
                value,
            );
        }
        value | (((code << 28u32) ^ self.unit) & 0x8000_0000u32)
    }
}

/// A word shifted so that the first bit of code `index` comes to bit `bit`.
#[cube]
fn place(word: u32, #[comptime] index: usize, #[comptime] bit: u32) -> u32 {
    let from = comptime!(index as u32 * 4);
    if comptime!(from <= bit) {
        word << comptime!(bit - from)
    } else {
        word >> comptime!(from - bit)
    }
}
