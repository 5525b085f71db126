//! What a backend implements, and what its operations take and give.

pub use crate::ops::{
    AttentionBackend, AttentionInputs, AttentionOutput, CombineGradients, EmbeddingBackend,
    ExpertBackend, ExpertPrimitive, ExpertRoutes, LinearBackend, NextTokenLossBackend,
    RmsNormBackend, RotaryBackend, SwigluBackend,
};
