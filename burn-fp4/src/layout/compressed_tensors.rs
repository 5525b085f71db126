//! The `nvfp4-pack-quantized` and `mxfp4-pack-quantized` formats of compressed-tensors, which
//! llm-compressor writes and vLLM reads.
//!
//! | | `nvfp4-pack-quantized` | `mxfp4-pack-quantized` |
//! |---|---|---|
//! | `weight_packed`, U8 | `[.., out, in/2]` | `[.., out, in/2]` |
//! | `weight_scale` | F8_E4M3 `[.., out, in/16]` | U8 (E8M0) `[.., out, in/32]` |
//! | `weight_global_scale`, F32 | `[1]` | none |
//! | `input_global_scale`, F32, in W4A4 | `[1]` | none |
//!
//! Codes and block scales are the bytes of a [`PackedFp4`] of logical shape `[.., out, in]`.
//! compressed-tensors itself stores matrices `[out, in]`; the same layout with leading axes and one
//! global scale per expert, `[E]`, is read and written, too.
//!
//! # The global scale
//!
//! `weight_global_scale` is the reciprocal of [`PackedFp4::global_scales`], rounded to `f32`: an
//! element is worth `code * (scale / weight_global_scale)`. What that rounding means:
//!
//! - Powers of two, such as those of [`PackedFp4::cast_to_nvfp4`], are exact: everything decodes to
//!   the same bits on both sides.
//! - For other values, no `f32` reciprocal makes every quotient equal to the product. Writing and reading
//!   both take the nearest reciprocal. Decoded block scales, `scale * global_scale` here and
//!   `scale / weight_global_scale` there, then agree to one unit in the last place.
//! - Writing and reading again returns a global scale `m * 2^e`, `1 <= m < 2`, unchanged if
//!   `m < sqrt(2)`, else itself or a neighbour. Codes and block scales always come back unchanged.
//! - 0, the global scale of a tensor of zeros, becomes 1, as in compressed-tensors.

use super::{StoredTensor, shapes};
use crate::codec::e2m1;
use crate::error::Fp4Error;
use crate::packed::PackedFp4;
use crate::scheme::Fp4Scheme;
use crate::scheme::NVFP4_BLOCK_SIZE;

/// Name of the codes, after the name of the layer and a dot.
pub const WEIGHT_PACKED: &str = "weight_packed";
/// Name of the block scales.
pub const WEIGHT_SCALE: &str = "weight_scale";
/// Name of the reciprocal global scale.
pub const WEIGHT_GLOBAL_SCALE: &str = "weight_global_scale";

/// Name of the reciprocal scale of the input.
pub const INPUT_GLOBAL_SCALE: &str = "input_global_scale";

/// The tensors of one weight.
#[derive(Clone, Debug, PartialEq)]
pub struct PackQuantized<S = Vec<u8>> {
    /// Codes, `[.., out, in/2]`, dtype U8.
    pub weight_packed: StoredTensor<S>,
    /// Block scales: `[.., out, in/16]`, dtype F8_E4M3, in NVFP4; `[.., out, in/32]`, dtype U8, in
    /// MXFP4.
    pub weight_scale: StoredTensor<S>,
    /// Reciprocal global scales, `[1]` or `[E]`, in NVFP4.
    pub weight_global_scale: Option<StoredTensor<Vec<f32>>>,
}

impl<S> PackQuantized<S> {
    /// What the configuration calls the format of these tensors.
    pub const fn format(&self) -> &'static str {
        match self.weight_global_scale {
            Some(_) => "nvfp4-pack-quantized",
            None => "mxfp4-pack-quantized",
        }
    }
}

/// The tensors of a weight; moves the bytes, copies none.
///
/// # Shapes
///
/// - packed: `[.., out, in]`
/// - output: `weight_packed [.., out, in/2]`, `weight_scale [.., out, in/block_size]`,
///   `weight_global_scale` `[1]` or `[E]`
///
/// # Errors
///
/// If the tensor is in NVFP4 with blocks of 32, or a global scale has no finite, normal reciprocal
/// and is not that of a tensor of zeros.
pub fn to_tensors<S: AsRef<[u8]>>(packed: PackedFp4<S>) -> Result<PackQuantized<S>, Fp4Error> {
    let scheme = packed.scheme();
    let weight_global_scale = match scheme {
        Fp4Scheme::Mxfp4 { .. } => None,
        Fp4Scheme::Nvfp4 { .. } if scheme.block_size() == NVFP4_BLOCK_SIZE => {
            let mut stored = shapes::stored_global(&packed, &[1]);
            let part = packed.codes().len() / stored.data.len().max(1);
            for (index, scale) in stored.data.iter_mut().enumerate() {
                let codes = &packed.codes()[index * part..][..part];
                *scale = if *scale == 0.0 && e2m1::are_zeros(codes) {
                    1.0
                } else {
                    reciprocal(*scale)?
                };
            }
            Some(stored)
        }
        Fp4Scheme::Nvfp4 { .. } => {
            return Err(Fp4Error::Scheme {
                what: "the compressed-tensors layout",
                expected: "MXFP4 or NVFP4 in blocks of 16",
                found: scheme,
            });
        }
    };
    let weight_packed = shapes::divide_last(packed.shape(), 2);
    let weight_scale = shapes::divide_last(packed.shape(), scheme.block_size());
    let (codes, scales) = packed.into_parts();
    Ok(PackQuantized {
        weight_packed: StoredTensor::new(weight_packed, codes),
        weight_scale: StoredTensor::new(weight_scale, scales),
        weight_global_scale,
    })
}

/// The inverse of [`to_tensors`]: NVFP4 if there is a global scale, else MXFP4.
///
/// # Shapes
///
/// - tensors: `weight_packed [.., out, in/2]`, `weight_scale [.., out, in/block_size]`,
///   `weight_global_scale` `[]`, `[1]` or `[E]`
/// - output: `[.., out, in]`
///
/// # Errors
///
/// If the shapes do not belong together, a tensor has another number of elements than its shape
/// says, or a global scale is not positive, finite and normal, or its reciprocal is not.
pub fn from_tensors<S: AsRef<[u8]>>(tensors: PackQuantized<S>) -> Result<PackedFp4<S>, Fp4Error> {
    let (scheme, shape) = logical(&tensors).ok_or_else(|| mismatch(&tensors))?;
    tensors.weight_packed.check_len(WEIGHT_PACKED)?;
    tensors.weight_scale.check_len(WEIGHT_SCALE)?;
    let mut global_scales = Vec::new();
    if let Some(stored) = tensors.weight_global_scale {
        stored.check_len(WEIGHT_GLOBAL_SCALE)?;
        let reciprocals = stored.data.into_iter().map(reciprocal);
        global_scales = reciprocals.collect::<Result<_, _>>()?;
    }
    PackedFp4::from_parts_with_global(
        scheme,
        shape,
        tensors.weight_packed.data,
        tensors.weight_scale.data,
        global_scales,
    )
}

/// The tensor [`INPUT_GLOBAL_SCALE`] from
/// [`ActivationQuantizer::input_scale`](crate::ActivationQuantizer::input_scale): its reciprocal, `[1]`.
///
/// # Errors
///
/// If the scale is not positive, finite and normal, or its reciprocal is not.
pub fn to_input_global_scale(input_scale: f32) -> Result<StoredTensor<Vec<f32>>, Fp4Error> {
    Ok(StoredTensor::new([1], vec![reciprocal(input_scale)?]))
}

/// The inverse of [`to_input_global_scale`], to the precision of a reciprocal.
///
/// # Shapes
///
/// - stored: `[]` or `[1]`
///
/// # Errors
///
/// Those of `to_input_global_scale`, and if there is not one element.
pub fn from_input_global_scale(stored: &StoredTensor<Vec<f32>>) -> Result<f32, Fp4Error> {
    stored.check_len(INPUT_GLOBAL_SCALE)?;
    match *stored.data {
        [value] => reciprocal(value),
        _ => Err(Fp4Error::GlobalScales {
            expected: 1,
            found: stored.data.len(),
        }),
    }
}

fn logical<S>(tensors: &PackQuantized<S>) -> Option<(Fp4Scheme, Vec<usize>)> {
    let (codes, scales) = (&tensors.weight_packed.shape, &tensors.weight_scale.shape);
    let scheme = match tensors.weight_global_scale {
        Some(_) => Fp4Scheme::nvfp4(),
        None => Fp4Scheme::mxfp4(),
    };
    let shape = shapes::logical(codes, scales, scheme.block_size())?;
    let Some(global_scale) = &tensors.weight_global_scale else {
        return Some((scheme, shape));
    };
    let scope = shapes::global_scope(&global_scale.shape, &shape)?;
    Some((scheme.with_global_scope(scope), shape))
}

fn reciprocal(value: f32) -> Result<f32, Fp4Error> {
    let reciprocal = 1.0 / value;
    if value > 0.0 && value.is_normal() && reciprocal.is_normal() {
        Ok(reciprocal)
    } else {
        Err(Fp4Error::GlobalScale { value })
    }
}

fn mismatch<S>(tensors: &PackQuantized<S>) -> Fp4Error {
    let global_scales = tensors.weight_global_scale.as_ref();
    Fp4Error::LayoutShapes {
        layout: tensors.format(),
        expected: match global_scales {
            Some(_) => "codes [.., out, in/2], scales [.., out, in/16], global scales [1] or [E]",
            None => "codes [.., out, in/2] and scales [.., out, in/32]",
        },
        codes: tensors.weight_packed.shape.clone(),
        scales: tensors.weight_scale.shape.clone(),
        global_scales: global_scales.map_or_else(Vec::new, |scale| scale.shape.clone()),
    }
}

#[cfg(test)]
mod tests;
