//! When the global scales of NVFP4 weights follow the weights.

use core::num::NonZeroUsize;

use burn::module::{Module, ModuleMapper, Param, Reparameterization};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::WeightQuantizer;
use super::path::REPARAMETERIZATION;
use super::weight_quantizer::LEARNED_SCALES;
use crate::ops::global_amax;
use crate::scheme::Fp4Scheme;
use crate::scheme::global_scale::GlobalScope;

/// How often the global scale of a weight is computed while the weight is trained.
///
/// MXFP4, which has no global scale, ignores it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GlobalRefresh {
    /// In every forward pass: one more pass over memory, never stale.
    #[default]
    Dynamic,
    /// Once, when the quantizer is attached. Weights that grow beyond it saturate.
    Frozen,
    /// When the quantizer is attached, and after so many optimizer steps again: whoever trains calls
    /// [`refresh_global_amax`] when [`is_due`](Self::is_due).
    Every(NonZeroUsize),
}

impl GlobalRefresh {
    /// Whether frozen scales are to be refreshed after optimizer step `step`, counted from 1.
    pub fn is_due(self, step: usize) -> bool {
        match self {
            Self::Dynamic | Self::Frozen => false,
            Self::Every(interval) => step.is_multiple_of(interval.get()),
        }
    }

    /// Whether the scale is kept between forward passes.
    pub(super) fn keeps(self) -> bool {
        self != Self::Dynamic
    }
}

/// Recomputes the largest magnitudes that [`WeightQuantizer`]s keep, from the current weights. Quantizers
/// that keep none are not changed.
///
/// # Panics
///
/// If a weight is not `f32`, `bf16` or `f16`.
pub fn refresh_global_amax<M: Module>(module: M) -> M {
    module.map(&mut Refresh::default())
}

/// Largest magnitudes of a weight, when they are asked for.
type Amax = Box<dyn FnOnce(GlobalScope) -> Tensor<1>>;

/// Meets a weight first, then what its quantizer holds.
#[derive(Default)]
struct Refresh {
    within_quantizer: bool,
    within_learned_scales: bool,
    /// That of the last parameter outside of quantizers.
    amax: Option<Amax>,
}

impl ModuleMapper for Refresh {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.within_quantizer |= is_quantizer(name, container_type);
        self.within_learned_scales = self.within_quantizer && name == LEARNED_SCALES;
    }

    fn exit_module(&mut self, name: &str, container_type: &str) {
        self.within_quantizer &= !is_quantizer(name, container_type);
        self.within_learned_scales &= name != LEARNED_SCALES;
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !self.within_quantizer {
            let weight = param.clone();
            self.amax = Some(Box::new(move |scope| {
                let scheme = Fp4Scheme::nvfp4().with_global_scope(scope);
                global_amax(weight.base(), &scheme)
            }));
            return param;
        }
        if self.within_learned_scales {
            return param;
        }
        let Some(amax) = self.amax.take() else {
            return param;
        };
        // Of a single expert, both are the same.
        let scope = match param.lazy_shape().num_elements() {
            1 => GlobalScope::Tensor,
            _ => GlobalScope::Expert,
        };
        param.map(|old| amax(scope).reshape(old.dims()).set_require_grad(false))
    }
}

fn is_quantizer(name: &str, container_type: &str) -> bool {
    name == WeightQuantizer::NAME && container_type == REPARAMETERIZATION
}
