//! What a backend implements for optimizers in one pass.

pub use crate::train::AdamWFactors;
#[cfg(feature = "flex")]
pub use crate::train::{
    AdamWBackend, AdamWUpdated, CompactAdamWBackend, CompactPrimitive, CompactStep,
};
