//! What the derivative of rounding is taken to be.

use core::fmt;

use serde::{Deserialize, Serialize};

/// How the gradient passes through fake quantization.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GradientRule {
    /// Unchanged, everywhere.
    #[default]
    StraightThrough,
    /// Unchanged where `|x| <= 6 * scale` of its block (in NVFP4 times the global scale), zero where
    /// rounding saturates. Costs a second pass over `x` in the backward pass.
    ClipAware,
}

impl fmt::Display for GradientRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StraightThrough => "straight-through",
            Self::ClipAware => "clip-aware",
        })
    }
}
