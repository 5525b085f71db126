#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod e2m1;
pub mod e4m3;
pub mod e8m0;
pub mod layout;

mod activation;
mod amax;
mod block_axis;
mod block_scales;
mod cast;
mod clip_gradient;
mod element;
mod error;
mod fake_quantize;
mod format;
mod fp4_expert_linear;
mod fp4_linear;
mod fp4_tensor;
mod fp8;
mod frozen;
mod global_scale;
mod host;
#[cfg(feature = "_cube")]
mod kernels;
mod learned_scales;
mod module;
mod nibbles;
mod non_finite;
mod ops;
mod packed;
mod packed_product;
mod quant_scheme;
mod quantized_tensor;
mod scale_rule;
mod scheme;
mod simd;
mod slice_quantizer;
mod stats;

pub use activation::{ActivationFormat, ActivationQuantizer, ActivationState, Calibration};
pub use cast::CastReport;
pub use element::Fp4Element;
pub use error::Fp4Error;
pub use fake_quantize::{fake_quantize_into, fake_quantize_slice};
pub use fp4_expert_linear::fp4_expert_linear;
pub use fp4_linear::{Fp4Linear, fp4_linear};
pub use fp4_tensor::Fp4Tensor;
pub use fp8::fp8_fake_quantize_slice;
pub use global_scale::{GlobalAmax, GlobalScope};
pub use module::{
    GlobalRefresh, PackedModule, WeightQuantization, WeightQuantizer, refresh_global_amax,
};
pub use non_finite::NonFinite;
pub use ops::{
    FakeQuantizer, Fp4Backend, Fp4Primitive, GradientRule, LearnedGradients, LearnedQuantizer,
    dequantize, fake_quantize, fake_quantize_along, fp8_fake_quantize, global_amax, quantize,
};
pub use packed::{PackedFp4, PackedFp4Ref};
pub use packed_product::{PackedMatrix, ProductRows, packed_product};
pub use scale_rule::{Nvfp4ScaleRule, ScaleRule};
pub use scheme::{Fp4Scheme, Nvfp4BlockSize};
pub use slice_quantizer::SliceQuantizer;
pub use stats::{CodeChanges, QuantStats, codes_changed};
