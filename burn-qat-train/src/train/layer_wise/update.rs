//! The update of parameters whose gradients arrive.

use std::io;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor};

use super::LayerWise;
use super::norm::{Squares, coefficient};
use super::sink::{Change, EachParameter, GradientSink, ModulePath};
use super::states::{Rules, States};
use crate::train::adamw::compact::{CompactState, CompactStep, step};

/// Updates parameters as their gradients arrive, and drops these.
pub(super) struct Update<'a> {
    pub states: &'a mut States,
    pub rules: &'a Rules,
    pub settings: LayerWise,
    pub learning_rate: f64,
    pub max_grad_norm: Option<f64>,
    pub limit: Limit,
    /// Those of the gradients that were measured.
    pub squares: Squares,
    /// Chooses random bits.
    pub seed: u32,
    /// Set where a gradient is not finite: nothing is updated from there on.
    pub stopped: bool,
    /// Set where moments cannot be read or written; nothing is updated from there on, either.
    pub failed: Option<io::Error>,
}

/// The norm that limits gradients.
pub(super) enum Limit {
    /// None yet: all gradients are measured before the first is taken.
    Measuring,
    /// That of all gradients.
    Exact(f32),
    /// That of the step before. Gradients are measured as they are taken.
    Previous(f32),
    /// That of each parameter, measured as it is taken.
    Parameter,
}

impl<M: Module> GradientSink<M> for Update<'_> {
    fn take(&mut self, module: M, grads: GradientsParams) -> M {
        module.map(&mut EachParameter {
            grads,
            path: ModulePath::default(),
            change: self,
        })
    }

    fn is_measuring(&self) -> bool {
        matches!(self.limit, Limit::Measuring)
    }

    fn measure(&mut self, module: &M, grads: &GradientsParams) {
        self.squares.add_all(module, grads);
    }

    fn measured(&mut self, module: &M) -> bool {
        let norm = self.squares.norm(module);
        self.limit = Limit::Exact(norm);
        self.stopped = !norm.is_finite();
        !self.stopped
    }
}

impl Update<'_> {
    /// The coefficient of a gradient; none if it must not be used.
    fn coefficient<const D: usize>(&mut self, path: &str, grad: &Tensor<D>) -> Option<f32> {
        let norm = match self.limit {
            Limit::Exact(norm) => norm,
            Limit::Previous(norm) => self.norm_of(path, grad).map(|_| norm)?,
            Limit::Parameter => self.norm_of(path, grad)?,
            Limit::Measuring => return None,
        };
        Some(coefficient(norm, self.max_grad_norm))
    }

    /// The norm of a gradient; none from the first one that is not finite on.
    fn norm_of<const D: usize>(&mut self, path: &str, grad: &Tensor<D>) -> Option<f32> {
        let n = grad.shape().num_elements();
        self.squares.add(path.into(), grad.clone().reshape([n]));
        let norm = self.squares.of(path).unwrap_or_default().sqrt();
        self.stopped |= !norm.is_finite();
        (!self.stopped).then_some(norm)
    }
}

impl Change for Update<'_> {
    fn change<const D: usize>(
        &mut self,
        path: &str,
        weight: Tensor<D>,
        grad: Tensor<D>,
    ) -> Tensor<D> {
        let Some(coefficient) = self.coefficient(path, &grad) else {
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
