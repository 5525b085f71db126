//! The `_blocks` and `_scales` tensors of gpt-oss checkpoints.
//!
//! A matrix of `out` rows and `in` columns, usually one per expert, is stored as two byte tensors:
//! `_blocks [.., out, in/32, 16]` with two codes per byte and `_scales [.., out, in/32]`. These are
//! the codes and scales of a [`PackedFp4`] of logical shape `[.., out, in]`, byte
//! for byte; only the shapes are spelled differently. The dense parameter is its transpose,
//! `[.., in, out]`.

use super::StoredTensor;
use crate::codec::block_axis::BlockAxis;
use crate::error::Fp4Error;
use crate::packed::PackedFp4;
use crate::scheme::Fp4Scheme;
use crate::scheme::MXFP4_BLOCK_SIZE;

/// Bytes of the last axis of `_blocks`: one block of 32 codes.
pub const BLOCK_BYTES: usize = MXFP4_BLOCK_SIZE / 2;

/// Shape of `_blocks` for a logical shape: `[.., out, in]` to `[.., out, in/32, 16]`.
///
/// # Errors
///
/// If the shape is empty or its last dimension is not a multiple of 32.
pub fn blocks_shape(logical: &[usize]) -> Result<Vec<usize>, Fp4Error> {
    let mut shape = scales_shape(logical)?;
    shape.push(BLOCK_BYTES);
    Ok(shape)
}

/// Shape of `_scales` for a logical shape: `[.., out, in]` to `[.., out, in/32]`.
///
/// # Errors
///
/// If the shape is empty or its last dimension is not a multiple of 32.
pub fn scales_shape(logical: &[usize]) -> Result<Vec<usize>, Fp4Error> {
    let last = logical.len().saturating_sub(1);
    let axis = BlockAxis::new(logical, last, &Fp4Scheme::mxfp4())?;
    let mut shape = logical[..last].to_vec();
    shape.push(axis.len / MXFP4_BLOCK_SIZE);
    Ok(shape)
}

/// Logical shape of a pair of tensors: `[.., out, in/32, 16]` and `[.., out, in/32]` to
/// `[.., out, in]`.
///
/// # Errors
///
/// If the two shapes do not belong together, the last dimension of `blocks` is not 16, or the
/// number of elements overflows.
pub fn logical_shape(blocks: &[usize], scales: &[usize]) -> Result<Vec<usize>, Fp4Error> {
    let mismatch = || Fp4Error::LayoutShapes {
        layout: "gpt-oss",
        expected: "blocks [.., out, in/32, 16] and scales [.., out, in/32]",
        codes: blocks.to_vec(),
        scales: scales.to_vec(),
        global_scales: Vec::new(),
    };
    let (&n_blocks, leading) = scales.split_last().ok_or_else(mismatch)?;
    if blocks.split_last() != Some((&BLOCK_BYTES, scales)) {
        return Err(mismatch());
    }
    let len = n_blocks
        .checked_mul(MXFP4_BLOCK_SIZE)
        .ok_or_else(mismatch)?;
    let mut shape = leading.to_vec();
    shape.push(len);
    BlockAxis::new(&shape, leading.len(), &Fp4Scheme::mxfp4())?;
    Ok(shape)
}

/// The tensors `_blocks` and `_scales` of a weight; moves the bytes, copies none.
///
/// # Shapes
///
/// - packed: `[.., out, in]`
/// - output: `_blocks [.., out, in/32, 16]` and `_scales [.., out, in/32]`
///
/// # Errors
///
/// If the tensor is not in MXFP4.
pub fn to_tensors<S: AsRef<[u8]>>(
    packed: PackedFp4<S>,
) -> Result<(StoredTensor<S>, StoredTensor<S>), Fp4Error> {
    if !matches!(packed.scheme(), Fp4Scheme::Mxfp4 { .. }) {
        return Err(Fp4Error::Scheme {
            what: "the gpt-oss layout",
            expected: "MXFP4",
            found: packed.scheme(),
        });
    }
    let blocks = blocks_shape(packed.shape())?;
    let scales = scales_shape(packed.shape())?;
    let (codes, scale_bytes) = packed.into_parts();
    Ok((
        StoredTensor::new(blocks, codes),
        StoredTensor::new(scales, scale_bytes),
    ))
}

/// The inverse of [`to_tensors`]. Borrowed bytes, of a memory-mapped file for instance, give a
/// [`PackedFp4Ref`](crate::PackedFp4Ref).
///
/// # Shapes
///
/// - blocks: `[.., out, in/32, 16]`
/// - scales: `[.., out, in/32]`
/// - output: `[.., out, in]`
///
/// # Errors
///
/// Those of [`logical_shape`], and if a tensor has another number of bytes than its shape says.
pub fn from_tensors<S: AsRef<[u8]>>(
    blocks: StoredTensor<S>,
    scales: StoredTensor<S>,
) -> Result<PackedFp4<S>, Fp4Error> {
    let shape = logical_shape(&blocks.shape, &scales.shape)?;
    blocks.check_len("blocks")?;
    scales.check_len("scales")?;
    PackedFp4::from_parts(Fp4Scheme::mxfp4(), shape, blocks.data, scales.data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_shapes_of_gate_up_proj() {
        let logical = [32, 5760, 2880];
        let (blocks, scales) = ([32, 5760, 90, 16], [32, 5760, 90]);
        assert_eq!(blocks_shape(&logical).unwrap(), blocks);
        assert_eq!(scales_shape(&logical).unwrap(), scales);
        assert_eq!(logical_shape(&blocks, &scales).unwrap(), logical);
    }

    #[test]
    fn shapes_that_do_not_belong_together() {
        assert!(logical_shape(&[8, 2, 16], &[8, 3]).is_err());
        assert!(logical_shape(&[8, 2, 8], &[8, 2]).is_err());
        assert!(logical_shape(&[16], &[]).is_err());
        assert!(logical_shape(&[usize::MAX, 16], &[usize::MAX]).is_err());
        assert!(blocks_shape(&[8, 33]).is_err() && blocks_shape(&[]).is_err());
    }

    #[test]
    fn tensors_are_views_of_the_bytes() {
        let (codes, scales): (Vec<u8>, Vec<u8>) = ((0..64).collect(), vec![1, 2, 3, 4]);
        let blocks = StoredTensor::new([2, 2, 16], codes.as_slice());
        let scales = StoredTensor::new([2, 2], scales.as_slice());
        let packed = from_tensors(blocks.clone(), scales.clone()).unwrap();
        assert_eq!(
            (packed.shape(), packed.codes()),
            ([2, 64].as_slice(), blocks.data)
        );
        assert_eq!(
            to_tensors(packed).unwrap(),
            (blocks.clone(), scales.clone())
        );
        let short = StoredTensor::new([2, 2, 16], &codes[..63]);
        assert!(matches!(
            from_tensors(short, scales),
            Err(Fp4Error::Length { what: "blocks", .. })
        ));
        let nvfp4 = PackedFp4::quantize(&[1.0f32; 32], &[32], 0, Fp4Scheme::nvfp4()).unwrap();
        assert!(matches!(to_tensors(nvfp4), Err(Fp4Error::Scheme { .. })));
    }
}
