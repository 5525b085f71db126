use std::num::NonZeroUsize;

use burn::tensor::FloatDType;
use burn_gpt_oss::ElementTypes;
use serde::{Deserialize, Serialize};

use super::parameters::without_decay;
use super::{LayerWise, LearningRateDecay, ParameterGroup, ReportTo};
use crate::distill::DistillConfig;
use crate::error::QatError;

/// Hyper-parameters of one training stage. The defaults are those of the published full fine-tuning
/// recipe (ModelOpt `sft_full.yaml`, TRL's AdamW), for one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainConfig {
    /// Optimizer steps.
    pub steps: usize,
    /// Sequences per optimizer step.
    pub batch_size: usize,
    /// Sequences per forward and backward pass; a batch is accumulated from several of them.
    pub micro_batch_size: usize,
    /// Micro-batches computed side by side, each with activations of its own: worth it on a CPU, whose
    /// cores one small model does not fill.
    pub parallel_micro_batches: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Final learning rate as a fraction of the peak.
    pub min_lr_ratio: f64,
    /// Share of the steps over which the learning rate rises from zero.
    pub warmup_ratio: f64,
    /// The number of these steps, in place of a share.
    #[serde(default)]
    pub warmup_steps: Option<usize>,
    /// How the learning rate falls behind them.
    #[serde(default)]
    pub lr_scheduler: LearningRateDecay,
    /// AdamW's decay of the first moment.
    pub beta_1: f32,
    /// AdamW's decay of the second moment.
    pub beta_2: f32,
    /// AdamW's epsilon.
    pub epsilon: f32,
    /// AdamW's decoupled weight decay.
    pub weight_decay: f32,
    /// Globs on the module paths of parameters that have no weight decay.
    #[serde(default = "without_decay")]
    pub no_weight_decay: Vec<String>,
    /// Parameters with another learning rate or weight decay.
    #[serde(default)]
    pub parameter_groups: Vec<ParameterGroup>,
    /// Globs on the module paths of parameters that train; none for all.
    #[serde(default)]
    pub trainable: Option<Vec<String>>,
    /// Globs on the module paths of parameters that do not train, also of those that `trainable` names.
    #[serde(default)]
    pub frozen: Vec<String>,
    /// Largest L2 norm of all gradients together; larger ones are scaled down. None to leave them.
    pub max_grad_norm: Option<f64>,
    /// Steps between evaluations on the validation data.
    pub eval_steps: usize,
    /// Also evaluate before the first step. That value is shown and logged, and never the best one.
    #[serde(default)]
    pub eval_on_start: bool,
    /// Measure quantized weights at every evaluation: their codes, and how far they are from them.
    #[serde(default = "yes")]
    pub quantization_metrics: bool,
    /// Formats of the metrics beside `metrics.jsonl`.
    #[serde(default)]
    pub report_to: Vec<ReportTo>,
    /// End after so many evaluations in a row that are no better than the best before them.
    #[serde(default)]
    pub early_stopping: Option<NonZeroUsize>,
    /// Recompute cheap operations in the backward pass instead of keeping their results.
    pub gradient_checkpointing: bool,
    /// Recompute every layer from its input in the backward pass. Activations then take the memory of one
    /// hidden state per layer and token and of the working set of one layer, at the cost of a second forward
    /// pass. `gradient_checkpointing` has no effect then.
    #[serde(default)]
    pub recompute_layers: bool,
    /// Train layer by layer, with weights and moments in few bytes; none for the optimizer of the whole model. Micro-batches
    /// are computed one after the other then, and layers are recomputed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_wise: Option<LayerWise>,
    /// Steps between refreshes of global scales that quantizers keep; none leaves them as they are.
    #[serde(default)]
    pub global_refresh_steps: Option<NonZeroUsize>,
    /// Steps between two states that [`StageRun::resume`](crate::StageRun::resume) goes on from; none writes no states. One is also
    /// written before every evaluation, after the last step, and before a stop that was asked for.
    #[serde(default)]
    pub checkpoint_steps: Option<NonZeroUsize>,
    /// How a [`Teacher`](crate::Teacher) teaches; none trains on the targets alone. The validation loss is that of the
    /// targets either way.
    #[serde(default)]
    pub distill: Option<DistillConfig>,
    /// Element types of weights, activations and gradients.
    #[serde(default = "ElementTypes::training")]
    pub element_types: ElementTypes,
    /// Seed of the data order.
    pub seed: u64,
}

fn yes() -> bool {
    true
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 100,
            batch_size: 4,
            micro_batch_size: 2,
            parallel_micro_batches: 1,
            learning_rate: 2e-5,
            min_lr_ratio: 0.1,
            warmup_ratio: 0.03,
            warmup_steps: None,
            lr_scheduler: LearningRateDecay::Cosine,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            no_weight_decay: without_decay(),
            parameter_groups: Vec::new(),
            trainable: None,
            frozen: Vec::new(),
            max_grad_norm: Some(1.0),
            eval_steps: 8,
            eval_on_start: false,
            quantization_metrics: true,
            report_to: Vec::new(),
            early_stopping: None,
            gradient_checkpointing: false,
            recompute_layers: false,
            layer_wise: None,
            global_refresh_steps: None,
            checkpoint_steps: None,
            distill: None,
            element_types: ElementTypes::training(),
            seed: 42,
        }
    }
}

impl TrainConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`QatError::Setting`] for the first value out of range.
    pub fn check(&self) -> Result<(), QatError> {
        let sizes = [
            ("steps", self.steps),
            ("batch_size", self.batch_size),
            ("micro_batch_size", self.micro_batch_size),
            ("parallel_micro_batches", self.parallel_micro_batches),
            ("eval_steps", self.eval_steps),
        ];
        for (key, size) in sizes {
            require(key, size > 0, "at least 1", size)?;
            // A plan of the data order is made for all of them.
            require(key, size <= 100_000_000, "at most 100000000", size)?;
        }
        let rate = self.learning_rate;
        require(
            "learning_rate",
            rate.is_finite() && rate > 0.0,
            "a positive number",
            rate,
        )?;
        for (key, ratio) in [
            ("min_lr_ratio", self.min_lr_ratio),
            ("warmup_ratio", self.warmup_ratio),
        ] {
            require(
                key,
                (0.0..=1.0).contains(&ratio),
                "a number from 0 to 1",
                ratio,
            )?;
        }
        if let Some(norm) = self.max_grad_norm {
            let holds = norm.is_finite() && norm > 0.0;
            require("max_grad_norm", holds, "a positive number", norm)?;
        }
        for (key, beta) in [("beta_1", self.beta_1), ("beta_2", self.beta_2)] {
            let holds = (0.0..1.0).contains(&beta);
            require(key, holds, "a number from 0 to below 1", beta)?;
        }
        let epsilon = self.epsilon;
        let holds = epsilon.is_finite() && epsilon > 0.0;
        require("epsilon", holds, "a positive number", epsilon)?;
        let decay = self.weight_decay;
        let holds = decay.is_finite() && decay >= 0.0;
        require("weight_decay", holds, "0 or a positive number", decay)?;
        if let Some(steps) = self.warmup_steps {
            let expected = format!("at most the {} steps", self.steps);
            require("warmup_steps", steps <= self.steps, &expected, steps)?;
        }
        self.check_parameters()?;
        if let Some(distill) = &self.distill {
            distill.check()?;
        }
        check_element_types(self.element_types)
    }
}

fn check_element_types(types: ElementTypes) -> Result<(), QatError> {
    let ElementTypes {
        storage,
        compute,
        master,
    } = types;
    let found = |dtype| format!("{dtype:?}");
    require(
        "element_types.storage",
        storage == FloatDType::BF16,
        "BF16",
        found(storage),
    )?;
    let expected = format!("{master:?}, the type of the master weights");
    require(
        "element_types.compute",
        compute == master,
        &expected,
        found(compute),
    )
}

fn require(
    key: &'static str,
    holds: bool,
    expected: &str,
    found: impl std::fmt::Display,
) -> Result<(), QatError> {
    match holds {
        true => Ok(()),
        false => Err(QatError::Setting {
            key,
            expected: expected.into(),
            found: found.to_string(),
        }),
    }
}
