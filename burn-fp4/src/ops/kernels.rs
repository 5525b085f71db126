//! Kernels in CubeCL: what runs on GPUs, and on CubeCL's CPU runtime.
// The language of kernels has neither iterators nor all methods of integers.
#![allow(clippy::needless_range_loop, clippy::manual_is_multiple_of)]

pub(crate) mod amax;
pub(crate) mod arithmetic;
pub(crate) mod block_amax;
pub(crate) mod block_scale;
pub(crate) mod clip_gradient;
pub(crate) mod codes;
pub(crate) mod columns;
pub(crate) mod dequantize;
pub(crate) mod e2m1_rounding;
pub(crate) mod e4m3;
pub(crate) mod fake_quantize;
pub(crate) mod float_words;
pub(crate) mod format;
pub(crate) mod fp8;
pub(crate) mod global_scale;
#[cfg(all(test, feature = "cuda"))]
mod ptx;
pub(crate) mod quantize;
pub(crate) mod rows;
pub(crate) mod soft_float;
pub(crate) mod threshold;
