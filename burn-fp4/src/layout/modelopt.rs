//! NVFP4 weights in the unified Hugging Face checkpoints of NVIDIA's ModelOpt.
//!
//! A weight is three tensors: codes, E4M3 block scales and a global scale, in `f32`. An element is
//! worth `code * (scale * global_scale)`, as in a [`PackedFp4`]; no scale is swizzled. Blocks of 16
//! are `group_size: 16` in the configuration; its `nvfp4_bs32` has 32 in the place of every 16 below.
//!
//! | | linear layer `X` | fused experts `P`, for instance `experts.gate_up_proj` |
//! |---|---|---|
//! | codes, U8 | `X.weight [.., out, in/2]` | `P [E, in/2, out]` |
//! | block scales, F8_E4M3 | `X.weight_scale [.., out, in/16]` | `P_weight_scale [E, in/16, out]` |
//! | global scale, F32 | `X.weight_scale_2 []` | `P_weight_scale_2 []` |
//! | scale of the input, F32, in W4A4 | `X.input_scale []` | `P_input_scale []` |
//!
//! Linear layers are the bytes of a [`PackedFp4`] of logical shape `[.., out, in]`. Fused experts are
//! its transpose, byte by byte: a byte still holds inputs `2i` (low nibble) and `2i + 1`.
//!
//! ModelOpt writes one global scale for all experts. Several, `[E]`, are what vLLM computes with and
//! are read and written for [`GlobalScope::Expert`](crate::GlobalScope::Expert).
//!
//! The scale of the input is [`ActivationQuantizer::input_scale`](crate::ActivationQuantizer::input_scale)
//! as it is, `amax / 2688`, in a [`StoredTensor::scalar`].

use super::transpose::swap_last_axes;
use super::{StoredTensor, shapes};
use crate::error::Fp4Error;
use crate::packed::PackedFp4;
use crate::scheme::Fp4Scheme;

/// What ModelOpt calls the codes of a linear layer; fused experts have the name of the parameter.
pub const WEIGHT: &str = "weight";
/// What ModelOpt calls block scales, after a dot or, for fused experts, an underscore.
pub const WEIGHT_SCALE: &str = "weight_scale";
/// What ModelOpt calls the global scale, after a dot or an underscore.
pub const WEIGHT_SCALE_2: &str = "weight_scale_2";

/// What ModelOpt calls the scale of the input, after a dot or an underscore.
pub const INPUT_SCALE: &str = "input_scale";

/// The tensors of one NVFP4 weight.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelOptWeight<S = Vec<u8>> {
    /// Codes, `[.., out, in/2]` or `[E, in/2, out]`, dtype U8.
    pub weight: StoredTensor<S>,
    /// Block scales, `[.., out, in/16]` or `[E, in/16, out]`, dtype F8_E4M3.
    pub weight_scale: StoredTensor<S>,
    /// Global scales, `[]`, `[1]` or `[E]`.
    pub weight_scale_2: StoredTensor<Vec<f32>>,
}

/// The tensors of a linear layer; moves the bytes, copies none.
///
/// # Shapes
///
/// - packed: `[.., out, in]`
/// - output: `weight [.., out, in/2]`, `weight_scale [.., out, in/16]`, `weight_scale_2` `[]` or
///   `[E]`
///
/// # Errors
///
/// If the tensor is not in NVFP4.
pub fn to_linear<S: AsRef<[u8]>>(packed: PackedFp4<S>) -> Result<ModelOptWeight<S>, Fp4Error> {
    check_scheme(packed.scheme())?;
    let weight = shapes::divide_last(packed.shape(), 2);
    let weight_scale = shapes::divide_last(packed.shape(), packed.scheme().block_size());
    let weight_scale_2 = shapes::stored_global(&packed, &[]);
    let (codes, scales) = packed.into_parts();
    Ok(ModelOptWeight {
        weight: StoredTensor::new(weight, codes),
        weight_scale: StoredTensor::new(weight_scale, scales),
        weight_scale_2,
    })
}

/// The inverse of [`to_linear`]. Blocks of 16 and of 32 are told apart by the shapes.
///
/// # Shapes
///
/// - tensors: `weight [.., out, in/2]`, `weight_scale [.., out, in/16]`, `weight_scale_2` `[]`, `[1]`
///   or `[E]`
/// - output: `[.., out, in]`
///
/// # Errors
///
/// If the shapes do not belong together or a tensor has another number of elements than its shape
/// says.
pub fn from_linear<S: AsRef<[u8]>>(tensors: ModelOptWeight<S>) -> Result<PackedFp4<S>, Fp4Error> {
    const EXPECTED: &str = "codes [.., out, in/2], scales [.., out, in/16] (or in/32) and global \
                            scales [], [1] or [E]";
    let (weight, weight_scale) = (&tensors.weight.shape, &tensors.weight_scale.shape);
    let (scheme, shape) = logical(weight, weight_scale, &tensors)
        .ok_or_else(|| mismatch("ModelOpt, linear layer", EXPECTED, &tensors))?;
    tensors.check_len()?;
    PackedFp4::from_parts_with_global(
        scheme,
        shape,
        tensors.weight.data,
        tensors.weight_scale.data,
        tensors.weight_scale_2.data,
    )
}

/// The tensors of fused experts: codes and block scales transposed.
///
/// # Shapes
///
/// - packed: `[E, out, in]`
/// - output: `weight [E, in/2, out]`, `weight_scale [E, in/16, out]`, `weight_scale_2` `[]` or `[E]`
///
/// # Errors
///
/// If the tensor is not in NVFP4 or has less than two axes.
pub fn to_fused_experts<S: AsRef<[u8]>>(packed: &PackedFp4<S>) -> Result<ModelOptWeight, Fp4Error> {
    let tensors = to_linear(packed.view())?;
    if packed.shape().len() < 2 {
        return Err(mismatch("ModelOpt, fused experts", EXPERTS, &tensors));
    }
    Ok(tensors.swap_last_axes())
}

/// The inverse of [`to_fused_experts`]. Blocks of 16 and of 32 are told apart by the shapes.
///
/// # Shapes
///
/// - tensors: `weight [E, in/2, out]`, `weight_scale [E, in/16, out]`, `weight_scale_2` `[]`, `[1]` or
///   `[E]`
/// - output: `[E, out, in]`
///
/// # Errors
///
/// If the shapes do not belong together or a tensor has another number of elements than its shape
/// says.
pub fn from_fused_experts<S: AsRef<[u8]>>(
    tensors: &ModelOptWeight<S>,
) -> Result<PackedFp4, Fp4Error> {
    let swapped = |shape: &[usize]| {
        let mut shape = shape.to_vec();
        let last = shape.len().checked_sub(1)?;
        shape.swap(last.checked_sub(1)?, last);
        Some(shape)
    };
    swapped(&tensors.weight.shape)
        .zip(swapped(&tensors.weight_scale.shape))
        .and_then(|(weight, weight_scale)| logical(&weight, &weight_scale, tensors))
        .ok_or_else(|| mismatch("ModelOpt, fused experts", EXPERTS, tensors))?;
    tensors.check_len()?;
    from_linear(tensors.swap_last_axes())
}

const EXPERTS: &str = "codes [E, in/2, out], scales [E, in/16, out] (or in/32) and global scales \
                       [], [1] or [E]";

impl<S: AsRef<[u8]>> ModelOptWeight<S> {
    fn check_len(&self) -> Result<(), Fp4Error> {
        self.weight.check_len(WEIGHT)?;
        self.weight_scale.check_len(WEIGHT_SCALE)?;
        self.weight_scale_2.check_len(WEIGHT_SCALE_2)
    }

    fn swap_last_axes(&self) -> ModelOptWeight {
        let swap = |tensor: &StoredTensor<S>| swap_last_axes(&tensor.shape, tensor.data.as_ref());
        ModelOptWeight {
            weight: swap(&self.weight),
            weight_scale: swap(&self.weight_scale),
            weight_scale_2: self.weight_scale_2.clone(),
        }
    }
}

/// Format and logical shape of codes `[.., out, in/2]` and scales `[.., out, in/block_size]`.
fn logical<S>(
    weight: &[usize],
    weight_scale: &[usize],
    tensors: &ModelOptWeight<S>,
) -> Option<(Fp4Scheme, Vec<usize>)> {
    let schemes = [Fp4Scheme::nvfp4(), Fp4Scheme::nvfp4_block32()];
    let (scheme, shape) = schemes.into_iter().find_map(|scheme| {
        let shape = shapes::logical(weight, weight_scale, scheme.block_size())?;
        Some((scheme, shape))
    })?;
    let scope = shapes::global_scope(&tensors.weight_scale_2.shape, &shape)?;
    Some((scheme.with_global_scope(scope), shape))
}

fn check_scheme(found: Fp4Scheme) -> Result<(), Fp4Error> {
    match found {
        Fp4Scheme::Nvfp4 { .. } => Ok(()),
        Fp4Scheme::Mxfp4 { .. } => Err(Fp4Error::Scheme {
            what: "the ModelOpt layout",
            expected: "NVFP4",
            found,
        }),
    }
}

fn mismatch<S>(
    layout: &'static str,
    expected: &'static str,
    tensors: &ModelOptWeight<S>,
) -> Fp4Error {
    Fp4Error::LayoutShapes {
        layout,
        expected,
        codes: tensors.weight.shape.clone(),
        scales: tensors.weight_scale.shape.clone(),
        global_scales: tensors.weight_scale_2.shape.clone(),
    }
}

#[cfg(test)]
mod tests;
