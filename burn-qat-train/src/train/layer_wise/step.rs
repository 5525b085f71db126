//! One step of a module that is trained layer by layer.

use std::io;

use super::norm::{Squares, coefficient};
use super::states::{Rules, States};
use super::update::Update;
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
        let (mut model, setup) = module.into_parts();
        let mut norm = match self.settings.clipping {
            Clipping::Previous => self.states.previous_norm,
            Clipping::Exact | Clipping::Parameter => None,
        };
        let measures_before = match self.settings.clipping {
            Clipping::Exact => true,
            Clipping::Previous => norm.is_none(),
            Clipping::Parameter => false,
        };
        if measures_before {
            let mut squares = Squares::default();
            let (measured, losses) =
                model.layer_wise(&batch.micro_batches, setup.pass(&batch), &mut squares);
            model = measured;
            let of_all = squares.norm(&model);
            norm = Some(of_all);
            if !of_all.is_finite() {
                let output = setup.output(&batch, &losses);
                let refusal = refusal(&output, of_all, &squares);
                setup.refuse(&model, batch, &losses, refusal);
                return (setup.with(model), Ok(output));
            }
        }
        let mut update = Update {
            states: &mut self.states,
            rules: &self.rules,
            settings: self.settings,
            learning_rate,
            coefficient: norm.map_or(1.0, |norm| coefficient(norm, self.max_grad_norm)),
            max_grad_norm: self.max_grad_norm,
            squares: (!measures_before).then(Squares::default),
            seed: (self.seed as u32).wrapping_mul(0x85eb_ca6b) ^ (setup.steps + 1) as u32,
            stopped: false,
            failed: None,
        };
        let (model, losses) =
            model.layer_wise(&batch.micro_batches, setup.pass(&batch), &mut update);
        let (squares, stopped, failed) = (update.squares, update.stopped, update.failed);
        if let Some(error) = failed {
            return (setup.with(model), Err(error));
        }
        let output = setup.output(&batch, &losses);
        let of_all = match (&squares, norm) {
            (Some(squares), _) => squares.norm(&model),
            (None, norm) => norm.unwrap_or(f32::NAN),
        };
        if stopped {
            let squares = squares.unwrap_or_default();
            let refusal = refusal(&output, of_all, &squares);
            setup.refuse(&model, batch, &losses, refusal);
            return (setup.with(model), Ok(output));
        }
        self.states.previous_norm = Some(of_all);
        output.grad_norm.set(f64::from(of_all)).unwrap_or_default();
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
