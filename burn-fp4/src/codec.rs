//! Values to codes and back: elements, scales and blocks of slices. No tensors.

pub mod e2m1;
pub mod e4m3;
pub mod e8m0;

pub(crate) mod amax;
pub(crate) mod block_axis;
pub(crate) mod block_scales;
pub(crate) mod clip_gradient;
pub(crate) mod element;
pub(crate) mod fake_quantize;
pub(crate) mod format;
pub(crate) mod fp8;
pub(crate) mod frozen;
pub(crate) mod learned_scales;
pub(crate) mod nibbles;
pub(crate) mod non_finite;
pub(crate) mod slice_quantizer;
