//! The operations that Burn does not have: attention with sinks, products of the rows of experts, loss,
//! norm, rotation. They know tensors and nothing of gpt-oss, and serve other models as well.

#[cfg(feature = "_cube")]
mod cube;
pub(crate) mod embedding;
pub(crate) mod experts;
#[cfg(feature = "flex")]
mod flex;
pub(crate) mod linear;
pub(crate) mod next_token_loss;
mod ordered_sum;
#[cfg(all(test, feature = "cuda"))]
mod ptx;
pub(crate) mod rms_norm;
pub(crate) mod rotary;
pub(crate) mod sink_attention;
pub(crate) mod swiglu;

pub use embedding::embedding;
pub use experts::{ExpertMatrices, ExpertRouting, expert_combine, expert_linear, expert_routing};
pub use linear::linear;
pub(crate) use linear::project;
pub use next_token_loss::next_token_loss;
pub use ordered_sum::ordered_sum;
pub use rms_norm::rms_norm;
pub use rotary::rotary_embedding;
pub use sink_attention::{AttentionOptions, KeySegments, Visibility, sink_attention};
pub use swiglu::clamped_swiglu;
