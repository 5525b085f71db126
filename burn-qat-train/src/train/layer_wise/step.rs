//! One step of a module that is trained layer by layer.

use std::io;

use super::norm::Squares;
use super::states::{Rules, States};
use super::update::{Limit, Update};
use super::{Clipping, LayerWise};
use crate::train::guard::Refusal;
use crate::train::step::{FineTune, StepOutput};
use crate::train::{StepBatch, TrainConfig, Trainable};

/// The optimizer of a stage.
pub(in crate::train) struct LayerWiseOptimizer {
    pub settings: LayerWise,
    pub states: States,
    pub rules: Rules,
    pub max_grad_norm: Option<f64>,
    pub seed: u64,
}

impl LayerWiseOptimizer {
    pub fn new(settings: LayerWise, states: States, rules: Rules, config: &TrainConfig) -> Self {
        Self {
            settings,
            states,
            rules,
            max_grad_norm: config.max_grad_norm,
            seed: config.seed,
        }
    }

    /// The module after a step with a learning rate, and what the step reports, or why moments could not be fetched or put
    /// away. A step that is not finite leaves the
    /// module as it was, or, where gradients are not measured before, as it was from that gradient on.
    pub fn step<M: Trainable>(
        &mut self,
        module: FineTune<M>,
        batch: StepBatch<M::Batch>,
        learning_rate: f64,
    ) -> (FineTune<M>, io::Result<StepOutput>) {
        let (model, setup) = module.into_parts();
        let limit = match (self.settings.clipping, self.states.previous_norm) {
            (Clipping::Exact, _) | (Clipping::Previous, None) => Limit::Measuring,
            (Clipping::Previous, Some(norm)) => Limit::Previous(norm),
            (Clipping::Parameter, _) => Limit::Parameter,
        };
        let mut update = Update {
            states: &mut self.states,
            rules: &self.rules,
            settings: self.settings,
            learning_rate,
            limit,
            squares: Squares::default(),
            max_grad_norm: self.max_grad_norm,
            seed: (self.seed as u32).wrapping_mul(0x85eb_ca6b) ^ (setup.steps + 1) as u32,
            stopped: false,
            failed: None,
        };
        let (model, losses) =
            model.layer_wise(&batch.micro_batches, setup.pass(&batch), &mut update);
        let Update {
            limit,
            squares,
            stopped,
            failed,
            ..
        } = update;
        if let Some(error) = failed {
            return (setup.with(model), Err(error));
        }
        let output = setup.output(&batch, &losses);
        let norm = match limit {
            Limit::Exact(norm) => norm,
            Limit::Measuring | Limit::Previous(_) | Limit::Parameter => squares.norm(&model),
        };
        if stopped {
            let refusal = refusal(&output, norm, &squares);
            setup.refuse(&model, batch, &losses, refusal);
            return (setup.with(model), Ok(output));
        }
        self.states.previous_norm = Some(norm);
        output.grad_norm.set(f64::from(norm)).unwrap_or_default();
        let stepped = setup.with(model).updated(&self.states);
        (stepped, Ok(output))
    }
}

fn refusal<'a>(output: &'a StepOutput, norm: f32, squares: &'a Squares) -> Refusal<'a> {
    Refusal {
        output,
        norm: f64::from(norm),
        parameter: squares.first_non_finite(),
    }
}
