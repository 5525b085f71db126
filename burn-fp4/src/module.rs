//! FP4 for the weights of any Burn module.
//!
//! Weights are `[.., in, out]`, as in Burn's `Linear`, and blocks run along `in`, the axis that a
//! matrix product sums over.
pub(crate) mod activation;

mod low_rank_adapter;
mod packed_module;
mod packed_weight;
mod packing;
mod path;
mod refresh;
mod selection;
mod weight_quantization;
mod weight_quantizer;

pub use low_rank_adapter::LowRankAdapter;
pub use packed_module::PackedModule;
pub use refresh::{GlobalRefresh, refresh_global_amax};
pub use weight_quantization::WeightQuantization;
pub use weight_quantizer::WeightQuantizer;

#[cfg(all(test, feature = "flex"))]
mod tests;
