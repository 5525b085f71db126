//! Shapes that belong together.

use super::StoredTensor;
use crate::packed::PackedFp4;
use crate::scheme::global_scale::GlobalScope;

/// Logical shape `[.., len]` of codes `[.., len/2]` with scales `[.., len/block_size]`, if they fit.
pub(super) fn logical(codes: &[usize], scales: &[usize], block_size: usize) -> Option<Vec<usize>> {
    let (&n_codes, leading) = codes.split_last()?;
    let (&n_scales, of_scales) = scales.split_last()?;
    let len = n_codes.checked_mul(2)?;
    if leading != of_scales || n_scales.checked_mul(block_size)? != len {
        return None;
    }
    let mut shape = leading.to_vec();
    shape.push(len);
    Some(shape)
}

/// `[.., len]` to `[.., len / divisor]`.
pub(super) fn divide_last(shape: &[usize], divisor: usize) -> Vec<usize> {
    let mut shape = shape.to_vec();
    if let Some(last) = shape.last_mut() {
        *last /= divisor;
    }
    shape
}

/// What a global scale of this shape covers: everything with `[]` and `[1]`, one index of the
/// leading axis with `[E]`.
pub(super) fn global_scope(global: &[usize], logical: &[usize]) -> Option<GlobalScope> {
    match (global, logical) {
        ([] | [1], _) => Some(GlobalScope::Tensor),
        (&[n_scales], &[n_experts, _, ..]) if n_scales == n_experts => Some(GlobalScope::Expert),
        _ => None,
    }
}

/// Global scales in the shape of one for everything, `whole`, or `[E]`.
pub(super) fn stored_global<S: AsRef<[u8]>>(
    packed: &PackedFp4<S>,
    whole: &[usize],
) -> StoredTensor<Vec<f32>> {
    let scales = packed.global_scales().to_vec();
    let shape = if packed.scheme().has_expert_scales() {
        vec![scales.len()]
    } else {
        whole.to_vec()
    };
    StoredTensor::new(shape, scales)
}
