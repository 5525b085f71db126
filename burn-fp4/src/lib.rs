#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod backend;
pub mod layout;

mod codec;
mod error;
mod module;
mod ops;
mod packed;
mod parallel;
mod product;
mod scheme;
mod simd;
mod written;

pub use codec::element::Fp4Element;
pub use codec::fake_quantize::{fake_quantize_into, fake_quantize_slice};
pub use codec::fp8::fp8_fake_quantize_slice;
pub use codec::non_finite::NonFinite;
pub use codec::slice_quantizer::SliceQuantizer;
pub use codec::{e2m1, e4m3, e8m0};
pub use error::Fp4Error;
pub use module::activation::{ActivationFormat, ActivationQuantizer, ActivationState, Calibration};
pub use module::{
    GlobalRefresh, LowRankAdapter, PackedModule, WeightQuantization, WeightQuantizer,
    refresh_global_amax,
};
pub use ops::{
    FakeQuantizer, GradientRule, LearnedQuantizer, dequantize, fake_quantize, fake_quantize_along,
    fp8_fake_quantize, global_amax, quantize,
};
pub use packed::cast::CastReport;
pub use packed::fp4_tensor::Fp4Tensor;
pub use packed::stats::{CodeChanges, QuantStats, codes_changed};
pub use packed::{PackedFp4, PackedFp4Ref};
pub use product::experts::{
    ExpertRouting, expert_combine, expert_combine_gradients, expert_linear, expert_routing,
};
pub use product::fp4_expert_linear::fp4_expert_linear;
pub use product::fp4_linear::{Fp4Linear, fp4_linear};
pub use product::linear::linear;
pub use product::low_rank::{Adapted, LowRank};
pub use product::operand::{Operand, Rounded};
pub use product::packed_product::{PackedMatrix, ProductRows, packed_product};
pub use scheme::global_scale::{GlobalAmax, GlobalScope};
pub use scheme::scale_rule::{Nvfp4ScaleRule, ScaleRule};
pub use scheme::{Fp4Scheme, Nvfp4BlockSize};
