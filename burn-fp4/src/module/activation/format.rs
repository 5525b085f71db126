//! Formats of activations.

use serde::{Deserialize, Serialize};

use crate::codec::e4m3;
use crate::scheme::Fp4Scheme;
use crate::scheme::global_scale::GlobalScope;

/// What activations are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ActivationFormat {
    /// MXFP4 or NVFP4 in blocks along the last axis (W4A4). NVFP4 has one global scale per tensor,
    /// whatever the scope of the scheme: an activation has no experts.
    Fp4(Fp4Scheme),
    /// E4M3 with one scale per tensor (W4A8).
    Fp8,
}

impl ActivationFormat {
    pub(super) fn per_tensor(self) -> Self {
        match self {
            Self::Fp4(scheme) => Self::Fp4(scheme.with_global_scope(GlobalScope::Tensor)),
            Self::Fp8 => self,
        }
    }

    /// The scheme whose largest magnitude this format needs.
    pub(super) fn amax_scheme(self) -> Fp4Scheme {
        match self {
            Self::Fp4(scheme) => scheme,
            Self::Fp8 => Fp4Scheme::nvfp4(),
        }
    }

    /// The static scale of a calibrated magnitude, if the format has one.
    pub(super) fn input_scale(self, amax: f32) -> Option<f32> {
        match self {
            Self::Fp4(Fp4Scheme::Mxfp4 { .. }) => None,
            Self::Fp4(Fp4Scheme::Nvfp4 { scale_rule, .. }) => Some(scale_rule.global_scale(amax)),
            Self::Fp8 => Some(amax / e4m3::MAX),
        }
    }
}
