//! The traits that a backend implements, and the types that their operations take and return.

pub use crate::ops::embedding::EmbeddingBackend;
pub use crate::ops::next_token_loss::NextTokenLossBackend;
pub use crate::ops::rms_norm::RmsNormBackend;
pub use crate::ops::rotary::RotaryBackend;
pub use crate::ops::sink_attention::{AttentionBackend, AttentionInputs, AttentionOutput};
pub use crate::ops::swiglu::SwigluBackend;
