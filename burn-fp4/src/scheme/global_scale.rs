//! The second level of NVFP4: one `f32` scale per tensor or per expert.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::codec::e2m1;
use crate::codec::e4m3;
use crate::error::Fp4Error;
use crate::scheme::scale_rule::Nvfp4ScaleRule;

/// What one global scale covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GlobalScope {
    /// The whole tensor, as ModelOpt does for gpt-oss.
    #[default]
    Tensor,
    /// One index of the leading axis: every expert of `[E, in, out]` weights has its own scale.
    Expert,
}

impl GlobalScope {
    /// Number of global scales of a tensor of this shape.
    pub fn n_scales(self, shape: &[usize]) -> usize {
        match self {
            Self::Tensor => 1,
            Self::Expert => shape.first().copied().unwrap_or(1),
        }
    }
}

impl fmt::Display for GlobalScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tensor => "per tensor",
            Self::Expert => "per expert",
        })
    }
}

/// The source of the largest magnitude from which a global scale is computed.
///
/// Formats without a global scale (MXFP4) ignore it.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum GlobalAmax {
    /// From the tensor, every time: one more pass over memory, never stale.
    #[default]
    Dynamic,
    /// Given: one magnitude per global scale. Larger elements saturate.
    Frozen(Vec<f32>),
}

impl Nvfp4ScaleRule {
    /// The E4M3 value that the largest block scale gets.
    pub(crate) const fn largest_scale(self) -> f32 {
        match self {
            Self::Nearest | Self::Mse => e4m3::MAX,
            Self::FourOverSix => 256.0,
        }
    }

    /// Global scale for the largest magnitude of what it covers: `amax / (6 * 448)`, for
    /// [`FourOverSix`](Self::FourOverSix) `amax / (6 * 256)`.
    ///
    /// Zero for zero; a positive `amax` whose quotient underflows gives the smallest subnormal.
    #[inline]
    pub fn global_scale(self, amax: f32) -> f32 {
        let scale = amax / (e2m1::MAX * self.largest_scale());
        if scale == 0.0 && amax > 0.0 {
            return f32::from_bits(1);
        }
        scale
    }
}

impl GlobalAmax {
    /// Fails unless `n_scales` finite magnitudes are given, or none.
    pub(crate) fn check(&self, n_scales: usize) -> Result<(), Fp4Error> {
        let Self::Frozen(amax) = self else {
            return Ok(());
        };
        if amax.len() != n_scales {
            return Err(Fp4Error::GlobalScales {
                expected: n_scales,
                found: amax.len(),
            });
        }
        match amax
            .iter()
            .find(|amax| !(amax.is_finite() && **amax >= 0.0))
        {
            Some(&value) => Err(Fp4Error::GlobalAmax { value }),
            None => Ok(()),
        }
    }
}
