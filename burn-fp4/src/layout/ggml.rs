//! `block_mxfp4` and `block_nvfp4` of GGML, the tensors of GGUF files.
//!
//! A row of `in` elements is a sequence of blocks, each with its scales in front:
//!
//! | type | elements | bytes | scales | codes |
//! |---|---|---|---|---|
//! | `GGML_TYPE_MXFP4` (39) | 32 | 17 | 1 E8M0 byte | 16 bytes |
//! | `GGML_TYPE_NVFP4` (40) | 64 | 36 | 4 E4M3 bytes without sign, one per 16 elements | 4 times 8 bytes |
//!
//! Under one scale, the first half of the elements is in the low nibbles and the second half in the
//! high nibbles: byte `j` holds elements `j` and `j + 16` in MXFP4, `j` and `j + 8` in NVFP4. Nibbles
//! are [`e2m1`](crate::codec::e2m1) codes and scale bytes mean what they mean elsewhere; GGML's sources halve
//! scales only because their table of values is doubled.
//! (`ggml-common.h`, `ggml-impl.h` and `ggml-quants.c` of llama.cpp; `gguf/quants.py` of gguf 0.19.)
//!
//! NaN scales are errors in both directions: GGML computes with 255 as `2^128` in MXFP4 and with 127
//! as 0 in NVFP4. Negative E4M3 scales are, too. Codes and scales go there and back unchanged; a
//! decoded `-0` is `+0` in GGML.
//!
//! The global scale of NVFP4 is another tensor, `X.scale` beside `X.weight`, `[1]` or `[E]`, that
//! multiplies the result of the matrix product; an absent one means 1. GGUF lists axes in the reverse
//! order of the shapes here.

mod blocks;

use super::{StoredTensor, shapes};
use crate::error::Fp4Error;
use crate::packed::PackedFp4;
use crate::scheme::Fp4Scheme;
use crate::scheme::NVFP4_BLOCK_SIZE;
use blocks::{from_blocks, to_blocks};

/// Elements of a `block_mxfp4`.
pub const MXFP4_ELEMENTS: usize = 32;
/// Bytes of a `block_mxfp4`.
pub const MXFP4_BYTES: usize = 1 + 16;
/// Elements of a `block_nvfp4`, four NVFP4 blocks.
pub const NVFP4_ELEMENTS: usize = 64;
/// Bytes of a `block_nvfp4`.
pub const NVFP4_BYTES: usize = 4 + 32;

/// The blocks of a tensor in MXFP4.
///
/// # Shapes
///
/// - packed: `[.., out, in]`
/// - output: `[.., out, in/32 * 17]` bytes
///
/// # Errors
///
/// If the tensor is not in MXFP4 or a scale byte is 255 (NaN).
pub fn to_mxfp4<S: AsRef<[u8]>>(packed: &PackedFp4<S>) -> Result<StoredTensor, Fp4Error> {
    if !matches!(packed.scheme(), Fp4Scheme::Mxfp4 { .. }) {
        return Err(Fp4Error::Scheme {
            what: "GGML's block_mxfp4",
            expected: "MXFP4",
            found: packed.scheme(),
        });
    }
    packed.check_scales()?;
    let data = to_blocks::<1, 16>(packed.codes(), packed.scales());
    let shape = rescale_last(packed.shape(), MXFP4_ELEMENTS, MXFP4_BYTES);
    Ok(StoredTensor::new(shape, data))
}

/// The inverse of [`to_mxfp4`].
///
/// # Shapes
///
/// - blocks: `[.., out, in/32 * 17]` bytes
/// - output: `[.., out, in]`
///
/// # Errors
///
/// If the last axis is not a multiple of 17, the number of bytes is wrong or a scale byte is 255.
pub fn from_mxfp4<S: AsRef<[u8]>>(blocks: &StoredTensor<S>) -> Result<PackedFp4, Fp4Error> {
    const EXPECTED: &str = "blocks [.., out, in/32 * 17]";
    let shape = check_blocks(blocks, MXFP4_BYTES, MXFP4_ELEMENTS, EXPECTED)?;
    let (codes, scales) = from_blocks::<1, 16>(blocks.data.as_ref());
    let packed = PackedFp4::from_parts(Fp4Scheme::mxfp4(), shape, codes, scales)?;
    packed.check_scales()?;
    Ok(packed)
}

/// The blocks of a tensor in NVFP4, without its [global scales](PackedFp4::global_scales).
///
/// # Shapes
///
/// - packed: `[.., out, in]`, `in` a multiple of 64
/// - output: `[.., out, in/64 * 36]` bytes
///
/// # Errors
///
/// If the tensor is not in NVFP4 in blocks of 16, `in` is not a multiple of 64, or a scale is NaN or
/// has a sign.
pub fn to_nvfp4<S: AsRef<[u8]>>(packed: &PackedFp4<S>) -> Result<StoredTensor, Fp4Error> {
    let scheme = packed.scheme();
    if !matches!(scheme, Fp4Scheme::Nvfp4 { .. }) || scheme.block_size() != NVFP4_BLOCK_SIZE {
        return Err(Fp4Error::Scheme {
            what: "GGML's block_nvfp4",
            expected: "NVFP4 in blocks of 16",
            found: scheme,
        });
    }
    let axis = packed.shape().len() - 1;
    let length = packed.shape()[axis];
    if !length.is_multiple_of(NVFP4_ELEMENTS) {
        return Err(Fp4Error::BlockSize {
            axis,
            length,
            block_size: NVFP4_ELEMENTS,
        });
    }
    packed.check_scales()?;
    let data = to_blocks::<4, 8>(packed.codes(), packed.scales());
    let shape = rescale_last(packed.shape(), NVFP4_ELEMENTS, NVFP4_BYTES);
    Ok(StoredTensor::new(shape, data))
}

/// The inverse of [`to_nvfp4`].
///
/// # Shapes
///
/// - blocks: `[.., out, in/64 * 36]` bytes
/// - global_scales: `[]`, `[1]` or `[E]`; [`StoredTensor::scalar`]`(1.0)` if the file has none
/// - output: `[.., out, in]`
///
/// # Errors
///
/// If the last axis is not a multiple of 36, the number of bytes or of global scales is wrong, or a
/// scale is NaN or has a sign.
pub fn from_nvfp4<S: AsRef<[u8]>>(
    blocks: &StoredTensor<S>,
    global_scales: StoredTensor<Vec<f32>>,
) -> Result<PackedFp4, Fp4Error> {
    const EXPECTED: &str = "blocks [.., out, in/64 * 36] and global scales [], [1] or [E]";
    let shape = check_blocks(blocks, NVFP4_BYTES, NVFP4_ELEMENTS, EXPECTED)?;
    let scope = shapes::global_scope(&global_scales.shape, &shape)
        .ok_or_else(|| mismatch(&blocks.shape, &global_scales.shape, EXPECTED))?;
    global_scales.check_len("global_scales")?;
    let (codes, scales) = from_blocks::<4, 8>(blocks.data.as_ref());
    let scheme = Fp4Scheme::nvfp4().with_global_scope(scope);
    let global_scales = global_scales.data;
    let packed = PackedFp4::from_parts_with_global(scheme, shape, codes, scales, global_scales)?;
    packed.check_scales()?;
    Ok(packed)
}

/// Logical shape of blocks, once all sizes are right.
fn check_blocks<S: AsRef<[u8]>>(
    blocks: &StoredTensor<S>,
    bytes: usize,
    elements: usize,
    expected: &'static str,
) -> Result<Vec<usize>, Fp4Error> {
    match blocks.shape.last() {
        Some(last) if last.is_multiple_of(bytes) => {}
        _ => return Err(mismatch(&blocks.shape, &[], expected)),
    }
    blocks.check_len("blocks")?;
    Ok(rescale_last(&blocks.shape, bytes, elements))
}

/// `[.., len]` to `[.., len / from * to]`; an overflow saturates and is found with the shape.
fn rescale_last(shape: &[usize], from: usize, to: usize) -> Vec<usize> {
    let mut shape = shapes::divide_last(shape, from);
    if let Some(last) = shape.last_mut() {
        *last = last.saturating_mul(to);
    }
    shape
}

fn mismatch(blocks: &[usize], global_scales: &[usize], expected: &'static str) -> Fp4Error {
    Fp4Error::LayoutShapes {
        layout: "GGML",
        expected,
        codes: blocks.to_vec(),
        scales: Vec::new(),
        global_scales: global_scales.to_vec(),
    }
}

#[cfg(test)]
mod tests;
