//! Exponentials for softmax and SwiGLU.

#[cfg(feature = "_cube")]
pub(super) mod cube;
#[cfg(feature = "flex")]
pub(super) mod flex;
