//! How block scales are chosen.

use core::fmt;

use serde::{Deserialize, Serialize};

/// How the E8M0 scale of an MXFP4 block is chosen from its largest magnitude, `amax`.
///
/// With `e = log2(scale)`:
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ScaleRule {
    /// `e = ceil(log2(amax / 6))`: the smallest power of two that clips nothing.
    ///
    /// ModelOpt's rule; torchao calls it RCEIL, triton_kernels ROUND_UP.
    #[default]
    Ceil,
    /// `e = floor(log2(amax)) - 2`: magnitudes above `6 * scale` are clipped.
    ///
    /// The rule of OCP MX v1.0, section 6.3; torchao's default FLOOR, GGML, triton_kernels
    /// ROUND_DOWN.
    Floor,
    /// `e = floor(log2(amax rounded to one mantissa bit, half up)) - 2`: clips less than `Floor`.
    ///
    /// torchao EVEN, llm-compressor.
    Even,
    /// The exponent with the least squared error of the block: that of `Ceil` or one less.
    ///
    /// No other exponent can be better: a larger one has a coarser grid, a smaller one loses more on
    /// the largest element than it gains on all others. A tie goes to `Ceil`.
    Mse,
}

impl fmt::Display for ScaleRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ceil => "Ceil",
            Self::Floor => "Floor",
            Self::Even => "Even",
            Self::Mse => "Mse",
        })
    }
}

/// How the E4M3 scale of an NVFP4 block is chosen, relative to the global scale.
///
/// A block of zeros stores 1 under every rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Nvfp4ScaleRule {
    /// The E4M3 value nearest to `amax / (6 * global_scale)`, within `2^-9 ..= 448`.
    #[default]
    Nearest,
    /// The positive E4M3 value with the least squared error of the block, of all 126; the smallest
    /// of equally good ones. ModelOpt's `fp8_scale_sweep`.
    Mse,
    /// The better of two scales: `amax` becomes 6, or `amax` becomes 4 (a tie takes the first).
    ///
    /// The global scale is `amax / (6 * 256)` instead of `amax / (6 * 448)`, so that the larger
    /// scale of the block with the largest magnitude still fits E4M3. The bytes decode like any
    /// NVFP4. ModelOpt's `four_over_six`.
    FourOverSix,
}

impl fmt::Display for Nvfp4ScaleRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nearest => "Nearest",
            Self::Mse => "Mse",
            Self::FourOverSix => "FourOverSix",
        })
    }
}
