//! The settings of training that a stage says.

use std::num::NonZeroUsize;

use serde_json::json;

use super::{Method, Stage};
use crate::error::QatError;
use crate::quantize::{GlobalRefresh, GradientRule};
use crate::train::{LayerWise, Masters, TrainConfig};

impl Stage {
    /// Checks the ranges.
    pub(in crate::recipe) fn check(&self) -> Result<(), QatError> {
        let refuse = |key, expected: &str, found: f64| {
            Err(QatError::Setting {
                key,
                expected: expected.into(),
                found: found.to_string(),
            })
        };
        if !(self.epochs.is_finite() && self.epochs > 0.0) {
            return refuse("epochs", "a positive number", self.epochs);
        }
        if !(self.max_grad_norm.is_finite() && self.max_grad_norm >= 0.0) {
            let expected = "0 (no limit) or a positive number";
            return refuse("max_grad_norm", expected, self.max_grad_norm);
        }
        if self.layer_wise && self.method == Method::Qad && self.masters != Masters::F32 {
            return Err(QatError::Setting {
                key: "masters",
                expected: "f32 where a teacher teaches".into(),
                found: json!(self.masters).to_string(),
            });
        }
        let is_narrow = self.layer_wise && self.masters != Masters::F32;
        if is_narrow && (self.learned_scales || self.gradient != GradientRule::StraightThrough) {
            return Err(QatError::Setting {
                key: "masters",
                expected: "f32 with `learned_scales` or another `gradient`".into(),
                found: json!(self.masters).to_string(),
            });
        }
        self.distill.check()?;
        self.quantize.policy()?;
        // The number of steps follows from the data where it is not given.
        let steps = self.steps.unwrap_or(100_000_000);
        let config = self.train_config(1, 0, 0);
        TrainConfig { steps, ..config }.check()
    }

    /// The settings of training, for so many training examples. `depth` is the number of stages before this one:
    /// the order of the data goes on with other data than the one before began with.
    pub fn train_config(&self, n_examples: usize, seed: u64, depth: usize) -> TrainConfig {
        let epochs = self.epochs * n_examples as f64 / self.batch_size.max(1) as f64;
        let save_steps = self.save_steps.unwrap_or(self.eval_steps);
        TrainConfig {
            steps: self.steps.unwrap_or(epochs.ceil() as usize),
            batch_size: self.batch_size,
            micro_batch_size: self.micro_batch_size,
            parallel_micro_batches: self.parallel_micro_batches,
            learning_rate: self.learning_rate,
            min_lr_ratio: self.min_lr_ratio,
            warmup_ratio: self.warmup_ratio,
            warmup_steps: self.warmup_steps,
            lr_scheduler: self.lr_scheduler,
            beta_1: self.beta_1 as f32,
            beta_2: self.beta_2 as f32,
            epsilon: self.epsilon as f32,
            weight_decay: self.weight_decay as f32,
            no_weight_decay: self.no_weight_decay.clone(),
            parameter_groups: self.parameter_groups.clone(),
            trainable: self.trainable.clone(),
            frozen: self.frozen.clone(),
            max_grad_norm: (self.max_grad_norm != 0.0).then_some(self.max_grad_norm),
            eval_steps: self.eval_steps,
            eval_on_start: self.eval_on_start,
            quantization_metrics: self.quantization_metrics,
            report_to: self.report_to.clone(),
            early_stopping: self.early_stopping,
            gradient_checkpointing: self.gradient_checkpointing,
            recompute_layers: self.recompute_layers,
            layer_wise: self.layer_wise.then_some(LayerWise {
                clipping: self.clipping,
                masters: self.masters,
                moments: self.moments,
                offload: self.offload,
            }),
            global_refresh_steps: match self.global_refresh {
                GlobalRefresh::Every(steps) => Some(steps),
                GlobalRefresh::Dynamic | GlobalRefresh::Frozen => None,
            },
            checkpoint_steps: NonZeroUsize::new(save_steps),
            distill: (self.method == Method::Qad).then_some(self.distill),
            seed: seed.wrapping_add(depth as u64),
            ..TrainConfig::default()
        }
    }
}
