//! Which FP4 format, as plain data.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::e8m0;

/// Elements of an MXFP4 block (OCP MX v1.0, section 5.2: `k = 32` for every MX format).
pub(crate) const MXFP4_BLOCK_SIZE: usize = 32;

/// A numeric FP4 format: element type, block size, block scale type and how the scale is chosen.
///
/// Plain data: copy it, compare it, hash it, keep it in a configuration file. In serde's data
/// model it is a map tagged by `format`, for instance `{"format": "mxfp4", "scale_rule": "ceil"}`;
/// `scale_rule` may be left out and is then [`ScaleRule::Ceil`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "format", rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Fp4Scheme {
    /// MXFP4 of OCP MX v1.0, section 5: E2M1 elements in blocks of 32 with one E8M0 block scale.
    Mxfp4 {
        /// How the block scale follows from the largest magnitude of the block.
        #[serde(default)]
        scale_rule: ScaleRule,
    },
}

impl Fp4Scheme {
    /// MXFP4 with [`ScaleRule::Ceil`], the format of the gpt-oss checkpoints and of ModelOpt.
    pub const fn mxfp4() -> Self {
        Self::Mxfp4 {
            scale_rule: ScaleRule::Ceil,
        }
    }

    /// Number of elements that share one block scale: 32 for MXFP4.
    pub const fn block_size(&self) -> usize {
        match self {
            Self::Mxfp4 { .. } => MXFP4_BLOCK_SIZE,
        }
    }

    /// The rule that chooses the block scale.
    pub const fn scale_rule(&self) -> ScaleRule {
        match self {
            Self::Mxfp4 { scale_rule } => *scale_rule,
        }
    }
}

impl fmt::Display for Fp4Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mxfp4 { scale_rule } => write!(f, "MXFP4 ({scale_rule})"),
        }
    }
}

/// How a block scale is chosen from `amax`, the largest magnitude of the block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ScaleRule {
    /// The smallest power of two with `amax / scale <= 6`: no element is ever clipped.
    ///
    /// ModelOpt's rule; torchao calls it RCEIL, triton_kernels ROUND_UP. It is not the rule of
    /// OCP MX v1.0, section 6.3, which rounds down and clips.
    #[default]
    Ceil,
}

impl ScaleRule {
    /// Biased E8M0 exponent for a finite `amax >= 0`.
    #[inline(always)]
    pub(crate) fn biased_exponent(self, amax: f32) -> u32 {
        match self {
            Self::Ceil => e8m0::biased_ceil(amax),
        }
    }
}

impl fmt::Display for ScaleRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ceil => f.write_str("Ceil"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serde_uses_lowercase_names_and_defaults_the_rule() {
        let json = serde_json::to_string(&Fp4Scheme::mxfp4()).unwrap();
        assert_eq!(json, r#"{"format":"mxfp4","scale_rule":"ceil"}"#);
        let read = |text: &str| serde_json::from_str::<Fp4Scheme>(text);
        assert_eq!(read(&json).unwrap(), Fp4Scheme::mxfp4());
        assert_eq!(read(r#"{"format":"mxfp4"}"#).unwrap(), Fp4Scheme::mxfp4());
        assert!(read(r#"{"format":"mxfp4","scale_rule":"up"}"#).is_err());
        assert!(read(r#"{"format":"mxfp4","rule":"ceil"}"#).is_err());
    }

    #[test]
    fn names_are_those_of_the_literature() {
        assert_eq!(Fp4Scheme::mxfp4().to_string(), "MXFP4 (Ceil)");
        assert_eq!(Fp4Scheme::mxfp4().block_size(), 32);
    }
}
