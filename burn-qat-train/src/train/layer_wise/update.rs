//! The update of parameters whose gradients arrive.

use std::io;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor};

use super::norm::{Squares, coefficient};
use super::sink::{Change, EachParameter, GradientSink, ModulePath};
use super::states::{Rules, States};
use super::{Clipping, LayerWise};
use crate::train::adamw::compact::{CompactState, CompactStep, step};

/// Updates parameters as their gradients arrive, and drops these.
pub(super) struct Update<'a> {
    pub states: &'a mut States,
    pub rules: &'a Rules,
    pub settings: LayerWise,
    pub learning_rate: f64,
    /// Of all gradients; each parameter has its own with [`Clipping::Parameter`].
    pub coefficient: f32,
    pub max_grad_norm: Option<f64>,
    /// Those of the gradients that arrived; whether they are wanted.
    pub squares: Option<Squares>,
    /// Chooses random bits.
    pub seed: u32,
    /// Set where a gradient is not finite: nothing is updated from there on.
    pub stopped: bool,
    /// Set where moments cannot be read or written; nothing is updated from there on, either.
    pub failed: Option<io::Error>,
}

impl<M: Module> GradientSink<M> for Update<'_> {
    fn take(&mut self, module: M, grads: GradientsParams) -> M {
        module.map(&mut EachParameter {
            grads,
            path: ModulePath::default(),
            change: self,
        })
    }
}

impl Update<'_> {
    /// The coefficient of a gradient; none if it must not be used.
    fn measured<const D: usize>(&mut self, path: &str, grad: &Tensor<D>) -> Option<f32> {
        let Some(squares) = &mut self.squares else {
            return Some(self.coefficient);
        };
        let n = grad.shape().num_elements();
        squares.add(path.into(), grad.clone().reshape([n]));
        let norm = squares.of(path).unwrap_or_default().sqrt();
        if !norm.is_finite() {
            self.stopped = true;
        }
        let coefficient = match self.settings.clipping {
            Clipping::Parameter => coefficient(norm, self.max_grad_norm),
            Clipping::Exact | Clipping::Previous => self.coefficient,
        };
        (!self.stopped).then_some(coefficient)
    }
}

impl Change for Update<'_> {
    fn change<const D: usize>(
        &mut self,
        path: &str,
        weight: Tensor<D>,
        grad: Tensor<D>,
    ) -> Tensor<D> {
        let Some(coefficient) = self.measured(path, &grad) else {
            return weight;
        };
        if self.failed.is_some() {
            return weight;
        }
        let format = self.settings.format_of(path, D);
        let n_weights = weight.shape().num_elements();
        let device = weight.device();
        let state = match self.states.take(path, &device) {
            Ok(state) => state,
            Err(error) => {
                self.failed = Some(error);
                return weight;
            }
        };
        let state = state.unwrap_or_else(|| CompactState::zeros(format, n_weights, &device));
        let rule = self.rules.of(path);
        let of_step = CompactStep {
            format,
            factors: rule.factors(rule.learning_rate(self.learning_rate), state.time + 1),
            coefficient,
            seed: self.seed ^ hash(path),
        };
        let (weight, state) = step(weight, grad.cast(DType::F32), state, of_step);
        if let Err(error) = self.states.put(path, state) {
            self.failed = Some(error);
        }
        weight
    }
}

/// FNV-1a in 32 bits: parameters have random bits of their own.
fn hash(path: &str) -> u32 {
    let bytes = path.bytes();
    bytes.fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}
