//! AdamW in one pass over weights, gradients and moments where there is an operation for it.

pub(super) mod compact;
#[cfg(feature = "flex")]
mod update;

#[cfg(feature = "flex")]
pub use update::{AdamWBackend, AdamWUpdated};

#[cfg(feature = "flex")]
pub use compact::{CompactAdamWBackend, CompactPrimitive, CompactStep};
pub use compact::{CompactFormat, CompactState, Masters, Moments};

use burn::optim::{AdamW, AdamWConfig, AdamWState, ModuleOptimizer, Optimizer};
use burn::tensor::{Device, Tensor};

use super::TrainConfig;

/// The optimizer of a stage: Burn's [`AdamW`], with the same state, in one pass over memory where the backend
/// has that operation. On the CPU the result equals Burn's bit for bit.
pub fn adamw(config: &TrainConfig) -> ModuleOptimizer {
    ModuleOptimizer::from(FusedAdamW::new(config))
}

#[derive(Clone)]
pub(super) struct FusedAdamW {
    /// For backends and dtypes without the operation.
    burn: AdamW,
    beta_1: f32,
    beta_2: f32,
    epsilon: f32,
    weight_decay: f32,
    /// What the learning rate is multiplied with.
    ratio: f64,
}

/// The factors of one step.
#[derive(Clone, Copy, Debug)]
pub struct AdamWFactors {
    /// LearningRateDecay of the first moment, the running mean of the gradients.
    pub beta_1: f32,
    /// LearningRateDecay of the second moment, the running mean of the squared gradients.
    pub beta_2: f32,
    /// Bias correction of the first moment: its divisor `1 - beta_1^t` in step `t`, counted from 1.
    pub bias_1: f32,
    /// Bias correction of the second moment: its divisor `1 - beta_2^t`.
    pub bias_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// The learning rate.
    pub learning_rate: f32,
    /// Weight decay: the factor `1 - learning_rate * weight_decay` on the weight, `None` for no decay.
    pub decay: Option<f32>,
}

impl FusedAdamW {
    pub fn new(config: &TrainConfig) -> Self {
        let new = Self {
            burn: AdamWConfig::new().build(),
            beta_1: config.beta_1,
            beta_2: config.beta_2,
            epsilon: config.epsilon,
            weight_decay: config.weight_decay,
            ratio: 1.0,
        };
        new.with_weight_decay(config.weight_decay)
    }

    pub fn with_weight_decay(self, weight_decay: f32) -> Self {
        let burn = AdamWConfig::new()
            .with_beta_1(self.beta_1)
            .with_beta_2(self.beta_2)
            .with_epsilon(self.epsilon)
            .with_weight_decay(weight_decay);
        Self {
            burn: burn.build(),
            weight_decay,
            ..self
        }
    }

    pub fn with_ratio(self, ratio: f64) -> Self {
        Self { ratio, ..self }
    }

    /// The learning rate of these parameters where that of the rest is `learning_rate`.
    pub fn learning_rate(&self, learning_rate: f64) -> f64 {
        self.ratio * learning_rate
    }

    /// The factors of step `time`, counted from 1.
    pub fn factors(&self, learning_rate: f64, time: usize) -> AdamWFactors {
        let decay = learning_rate * f64::from(self.weight_decay);
        AdamWFactors {
            beta_1: self.beta_1,
            beta_2: self.beta_2,
            bias_1: 1.0 - self.beta_1.powi(time as i32),
            bias_2: 1.0 - self.beta_2.powi(time as i32),
            epsilon: self.epsilon,
            learning_rate: learning_rate as f32,
            decay: (decay != 0.0).then_some((1.0 - decay) as f32),
        }
    }
}

impl Optimizer for FusedAdamW {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: f64,
        weight: Tensor<D>,
        grad: Tensor<D>,
        state: Option<AdamWState<D>>,
    ) -> (Tensor<D>, Option<AdamWState<D>>) {
        let learning_rate = self.learning_rate(learning_rate);
        #[cfg(feature = "flex")]
        if update::is_possible(&weight, &grad, state.as_ref()) {
            let time = state.as_ref().map_or(0, |state| state.momentum.time) + 1;
            let factors = self.factors(learning_rate, time);
            let (weight, state) = update::step(weight, grad, state, factors);
            return (weight, Some(state));
        }
        self.burn.step(learning_rate, weight, grad, state)
    }

    fn to_device<const D: usize>(state: AdamWState<D>, device: &Device) -> AdamWState<D> {
        AdamW::to_device(state, device)
    }
}
