//! A scheme as kernels are compiled for it.

use super::arithmetic::Arithmetic;
use crate::codec::e8m0;
use crate::scheme::Fp4Scheme;
use crate::scheme::scale_rule::{Nvfp4ScaleRule, ScaleRule};

/// What a kernel must know of a scheme when it is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KernelFormat {
    pub scales: BlockScales,
    pub block_size: usize,
    pub arithmetic: Arithmetic,
}

/// The block scales of a format and how they follow from the largest magnitude.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BlockScales {
    /// E8M0; the number is added to the bits of the magnitude before the mantissa is dropped.
    Mx { bias: u32 },
    /// E4M3, relative to a global scale.
    Nv,
}

impl KernelFormat {
    /// The format for values that exist already: any scale rule.
    pub fn decoding(scheme: &Fp4Scheme, arithmetic: Arithmetic) -> Self {
        Self {
            scales: match scheme {
                Fp4Scheme::Mxfp4 { .. } => BlockScales::Mx { bias: 0 },
                Fp4Scheme::Nvfp4 { .. } => BlockScales::Nv,
            },
            block_size: scheme.block_size(),
            arithmetic,
        }
    }

    /// The format for quantizing; none if the scale rule searches.
    pub fn quantizing(scheme: &Fp4Scheme, arithmetic: Arithmetic) -> Option<Self> {
        let mut format = Self::decoding(scheme, arithmetic);
        match *scheme {
            Fp4Scheme::Mxfp4 { scale_rule } => {
                let bias = match scale_rule {
                    ScaleRule::Ceil => e8m0::CEIL_BIAS,
                    ScaleRule::Floor => 0,
                    ScaleRule::Even => e8m0::EVEN_BIAS,
                    ScaleRule::Mse => return None,
                };
                format.scales = BlockScales::Mx { bias };
                Some(format)
            }
            Fp4Scheme::Nvfp4 { scale_rule, .. } => {
                (scale_rule == Nvfp4ScaleRule::Nearest).then_some(format)
            }
        }
    }
}

impl BlockScales {
    /// Whether every value of the format is exact in `bf16`.
    pub const fn exact_in_bf16(self) -> bool {
        matches!(self, Self::Mx { .. })
    }
}
