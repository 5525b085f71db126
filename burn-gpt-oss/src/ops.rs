//! The operations of a mixture-of-experts model that Burn does not have: attention with sinks, loss, norm,
//! rotation, SwiGLU. They know tensors and nothing of gpt-oss, and serve other models as well. Products of
//! rows with weights are in `burn-fp4`.

pub(crate) mod embedding;
mod exponential;
pub(crate) mod next_token_loss;
mod ordered_sum;
#[cfg(all(test, feature = "cuda"))]
mod ptx;
pub(crate) mod rms_norm;
pub(crate) mod rotary;
pub(crate) mod sink_attention;
pub(crate) mod swiglu;

pub use embedding::{embedding, embedding_gradient};
pub use next_token_loss::{next_token_loss, next_token_loss_gradients};
pub use ordered_sum::{ordered_sum, ordered_sum_of_squares};
pub use rms_norm::rms_norm;
pub use rotary::rotary_embedding;
pub use sink_attention::{AttentionOptions, KeySegments, Visibility, sink_attention};
pub use swiglu::clamped_swiglu;
