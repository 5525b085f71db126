//! What a backend implements for the optimizer in one pass.

pub use crate::train::AdamWFactors;
#[cfg(feature = "flex")]
pub use crate::train::{AdamWBackend, AdamWUpdated};
