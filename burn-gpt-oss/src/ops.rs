//! The operations that Burn does not have: attention with sinks, products of the rows of experts, loss,
//! norm, rotation. They know tensors and nothing of gpt-oss, and serve other models as well.

#[cfg(feature = "_cube")]
mod cube;
mod embedding;
mod experts;
#[cfg(feature = "flex")]
mod flex;
mod linear;
mod next_token_loss;
mod ordered_sum;
#[cfg(all(test, feature = "cuda"))]
mod ptx;
mod rms_norm;
mod rotary;
mod sink_attention;
mod swiglu;

pub use embedding::{EmbeddingBackend, embedding};
pub use experts::{
    CombineGradients, ExpertBackend, ExpertMatrices, ExpertPrimitive, ExpertRoutes, ExpertRouting,
    expert_combine, expert_linear, expert_routing,
};
pub(crate) use linear::project;
pub use linear::{LinearBackend, linear};
pub use next_token_loss::{NextTokenLossBackend, next_token_loss};
pub use ordered_sum::ordered_sum;
pub use rms_norm::{RmsNormBackend, rms_norm};
pub use rotary::{RotaryBackend, rotary_embedding};
pub use sink_attention::{
    AttentionBackend, AttentionInputs, AttentionOptions, AttentionOutput, KeySegments, Visibility,
    sink_attention,
};
pub use swiglu::{SwigluBackend, clamped_swiglu};
