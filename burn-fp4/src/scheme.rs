//! Which FP4 format, as plain data.
pub(crate) mod global_scale;
pub(crate) mod quant_scheme;
pub(crate) mod scale_rule;

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Fp4Error;
use crate::scheme::global_scale::GlobalScope;
use crate::scheme::scale_rule::{Nvfp4ScaleRule, ScaleRule};

/// Elements of an MXFP4 block (OCP MX v1.0, section 5.2: `k = 32` for every MX format).
pub(crate) const MXFP4_BLOCK_SIZE: usize = 32;

/// Elements of an NVFP4 block in every runtime.
pub(crate) const NVFP4_BLOCK_SIZE: usize = 16;

/// A numeric FP4 format: element type, block size, scale types and how scales are chosen.
///
/// Plain data: copy it, compare it, hash it, keep it in a configuration file. In serde's data
/// model it is a map tagged by `format`, for instance `{"format": "mxfp4", "scale_rule": "ceil"}` or
/// `{"format": "nvfp4", "scale_rule": "nearest", "block_size": 16, "global_scope": "tensor"}`; what
/// is left out has the default of [`mxfp4`](Self::mxfp4) and [`nvfp4`](Self::nvfp4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "format", rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Fp4Scheme {
    /// MXFP4 of OCP MX v1.0, section 5: E2M1 elements in blocks of 32 with one E8M0 block scale.
    Mxfp4 {
        /// How the block scale follows from the block.
        #[serde(default)]
        scale_rule: ScaleRule,
    },
    /// NVFP4: E2M1 elements in blocks of 16 with one E4M3 block scale, and an `f32` global scale.
    Nvfp4 {
        /// How the block scale follows from the block and the global scale.
        #[serde(default)]
        scale_rule: Nvfp4ScaleRule,
        /// Elements per block.
        #[serde(default)]
        block_size: Nvfp4BlockSize,
        /// What one global scale covers.
        #[serde(default)]
        global_scope: GlobalScope,
    },
}

/// Elements of an NVFP4 block: 16, or 32 for those who ask for it.
///
/// Serde reads and writes the number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "usize", into = "usize")]
pub enum Nvfp4BlockSize {
    /// What hardware and inference runtimes compute with.
    #[default]
    Sixteen,
    /// ModelOpt's `nvfp4_bs32`, which few runtimes load.
    ThirtyTwo,
}

impl From<Nvfp4BlockSize> for usize {
    fn from(block_size: Nvfp4BlockSize) -> Self {
        match block_size {
            Nvfp4BlockSize::Sixteen => NVFP4_BLOCK_SIZE,
            Nvfp4BlockSize::ThirtyTwo => 32,
        }
    }
}

impl TryFrom<usize> for Nvfp4BlockSize {
    type Error = Fp4Error;

    fn try_from(block_size: usize) -> Result<Self, Fp4Error> {
        match block_size {
            16 => Ok(Self::Sixteen),
            32 => Ok(Self::ThirtyTwo),
            found => Err(Fp4Error::Nvfp4BlockSize { found }),
        }
    }
}

impl Fp4Scheme {
    /// MXFP4 with [`ScaleRule::Ceil`], the format of the gpt-oss checkpoints and of ModelOpt.
    pub const fn mxfp4() -> Self {
        Self::mxfp4_with(ScaleRule::Ceil)
    }

    /// MXFP4 with a chosen scale rule.
    pub const fn mxfp4_with(scale_rule: ScaleRule) -> Self {
        Self::Mxfp4 { scale_rule }
    }

    /// NVFP4 in blocks of 16 with [`Nvfp4ScaleRule::Nearest`] and one global scale per tensor.
    pub const fn nvfp4() -> Self {
        Self::nvfp4_with(Nvfp4ScaleRule::Nearest)
    }

    /// NVFP4 in blocks of 16 with a chosen scale rule and one global scale per tensor.
    pub const fn nvfp4_with(scale_rule: Nvfp4ScaleRule) -> Self {
        Self::Nvfp4 {
            scale_rule,
            block_size: Nvfp4BlockSize::Sixteen,
            global_scope: GlobalScope::Tensor,
        }
    }

    /// NVFP4 in blocks of 32, ModelOpt's `nvfp4_bs32`.
    ///
    /// vLLM's kernels assume 16; TensorRT-LLM takes 32 for weight-only layers. For deployment use
    /// [`nvfp4`](Self::nvfp4).
    pub const fn nvfp4_block32() -> Self {
        Self::Nvfp4 {
            scale_rule: Nvfp4ScaleRule::Nearest,
            block_size: Nvfp4BlockSize::ThirtyTwo,
            global_scope: GlobalScope::Tensor,
        }
    }

    /// The same format with another scope of the global scale; MXFP4, which has none, unchanged.
    pub const fn with_global_scope(self, global_scope: GlobalScope) -> Self {
        match self {
            Self::Mxfp4 { .. } => self,
            Self::Nvfp4 {
                scale_rule,
                block_size,
                ..
            } => Self::Nvfp4 {
                scale_rule,
                block_size,
                global_scope,
            },
        }
    }

    /// Number of elements that share one block scale.
    pub const fn block_size(&self) -> usize {
        match self {
            Self::Mxfp4 { .. } => MXFP4_BLOCK_SIZE,
            Self::Nvfp4 { block_size, .. } => match block_size {
                Nvfp4BlockSize::Sixteen => NVFP4_BLOCK_SIZE,
                Nvfp4BlockSize::ThirtyTwo => 32,
            },
        }
    }

    /// Number of global scales of a tensor of this shape: none for MXFP4, else one, or one for every
    /// index of the leading axis.
    pub fn n_global_scales(&self, shape: &[usize]) -> usize {
        match self {
            Self::Mxfp4 { .. } => 0,
            Self::Nvfp4 { global_scope, .. } => global_scope.n_scales(shape),
        }
    }

    /// The same format with the scale rule that costs nothing where scales do not come from a rule.
    pub(crate) const fn without_search(self) -> Self {
        match self {
            Self::Mxfp4 { .. } => self,
            Self::Nvfp4 {
                block_size,
                global_scope,
                ..
            } => Self::Nvfp4 {
                scale_rule: Nvfp4ScaleRule::Nearest,
                block_size,
                global_scope,
            },
        }
    }

    /// Whether every index of the leading axis has its own global scale.
    pub(crate) const fn has_expert_scales(&self) -> bool {
        matches!(
            self,
            Self::Nvfp4 {
                global_scope: GlobalScope::Expert,
                ..
            }
        )
    }
}

impl fmt::Display for Fp4Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mxfp4 { scale_rule } => write!(f, "MXFP4 ({scale_rule})"),
            Self::Nvfp4 {
                scale_rule,
                block_size,
                global_scope,
            } => {
                write!(f, "NVFP4 ({scale_rule}")?;
                if *block_size != Nvfp4BlockSize::Sixteen {
                    write!(f, ", block {}", usize::from(*block_size))?;
                }
                if *global_scope != GlobalScope::Tensor {
                    write!(f, ", {global_scope}")?;
                }
                f.write_str(")")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Fp4Scheme, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn serde_uses_lowercase_names_and_defaults_the_rule() {
        let json = serde_json::to_string(&Fp4Scheme::mxfp4()).unwrap();
        assert_eq!(json, r#"{"format":"mxfp4","scale_rule":"ceil"}"#);
        assert_eq!(read(&json).unwrap(), Fp4Scheme::mxfp4());
        assert_eq!(read(r#"{"format":"mxfp4"}"#).unwrap(), Fp4Scheme::mxfp4());
        assert!(read(r#"{"format":"mxfp4","scale_rule":"up"}"#).is_err());
        assert!(read(r#"{"format":"mxfp4","rule":"ceil"}"#).is_err());
    }

    #[test]
    fn serde_of_nvfp4() {
        let scheme = Fp4Scheme::nvfp4_with(Nvfp4ScaleRule::FourOverSix);
        let scheme = scheme.with_global_scope(GlobalScope::Expert);
        let json = serde_json::to_string(&scheme).unwrap();
        assert_eq!(
            json,
            r#"{"format":"nvfp4","scale_rule":"four_over_six","block_size":16,"global_scope":"expert"}"#
        );
        assert_eq!(read(&json).unwrap(), scheme);
        assert_eq!(read(r#"{"format":"nvfp4"}"#).unwrap(), Fp4Scheme::nvfp4());
        let block32 = read(r#"{"format":"nvfp4","block_size":32}"#).unwrap();
        assert_eq!(block32, Fp4Scheme::nvfp4_block32());
        let error = read(r#"{"format":"nvfp4","block_size":64}"#).unwrap_err();
        assert!(error.to_string().contains("16"), "{error}");
    }

    #[test]
    fn names_are_those_of_the_literature() {
        assert_eq!(Fp4Scheme::mxfp4().to_string(), "MXFP4 (Ceil)");
        assert_eq!(Fp4Scheme::nvfp4().to_string(), "NVFP4 (Nearest)");
        let experts = Fp4Scheme::nvfp4_block32().with_global_scope(GlobalScope::Expert);
        assert_eq!(experts.to_string(), "NVFP4 (Nearest, block 32, per expert)");
        assert_eq!(Fp4Scheme::mxfp4().block_size(), 32);
        assert_eq!(Fp4Scheme::nvfp4().block_size(), 16);
        assert_eq!(experts.n_global_scales(&[4, 64, 64]), 4);
    }
}
