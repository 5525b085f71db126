pub(super) mod map;
mod method;
mod training;

pub use method::Method;

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::{PolicyChoice, PtqMethods};
use crate::distill::DistillConfig;
use crate::quantize::{GlobalRefresh, GradientRule, PtqMethod, QuantizerOptions};
use crate::train::{
    Clipping, LearningRateDecay, Masters, Moments, ParameterGroup, ReportTo, TrainConfig,
};

/// Stages with their names, in order.
pub(super) type StageMap = Vec<(String, Stage)>;

/// One stage of training. Its keys are those of `train` in a file, which all stages share, and its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// How it trains.
    pub method: Method,
    /// What tables call it; none is its name.
    pub title: Option<String>,
    /// The stage whose weights it goes on with; none starts from the model.
    pub from: Option<String>,
    /// Which weights are rounded, in a QAT stage and by `ptq`.
    pub quantize: PolicyChoice,
    /// The stage whose checkpoint teaches a QAD stage; none is the one that it goes on from, or the model.
    pub teacher: Option<String>,
    /// How a teacher teaches.
    pub distill: DistillConfig,
    /// Also round the result without training, in each of these ways, and measure that.
    pub ptq: PtqMethods,
    /// Passes over the training data, if there is no number of `steps`.
    pub epochs: f64,
    /// Optimizer steps.
    pub steps: Option<usize>,
    /// Sequences per optimizer step.
    pub batch_size: usize,
    /// Sequences per forward and backward pass.
    pub micro_batch_size: usize,
    /// Micro-batches, and batches of an evaluation, that are computed side by side.
    pub parallel_micro_batches: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Final learning rate as a fraction of the peak.
    pub min_lr_ratio: f64,
    /// Share of the steps over which the learning rate rises.
    pub warmup_ratio: f64,
    /// The number of these steps, in place of a share.
    pub warmup_steps: Option<usize>,
    /// How the learning rate falls behind them.
    pub lr_scheduler: LearningRateDecay,
    /// AdamW's decay of the first moment.
    pub beta_1: f64,
    /// AdamW's decay of the second moment.
    pub beta_2: f64,
    /// AdamW's epsilon.
    pub epsilon: f64,
    /// AdamW's decoupled weight decay.
    pub weight_decay: f64,
    /// Globs of parameters without weight decay.
    pub no_weight_decay: Vec<String>,
    /// Parameters with another learning rate or weight decay.
    pub parameter_groups: Vec<ParameterGroup>,
    /// Globs of parameters that train; none for all.
    pub trainable: Option<Vec<String>>,
    /// Globs of parameters that do not train.
    pub frozen: Vec<String>,
    /// Largest norm of all gradients together; 0 for no limit.
    pub max_grad_norm: f64,
    /// Steps between evaluations of the validation loss.
    pub eval_steps: usize,
    /// Also evaluate before the first step.
    pub eval_on_start: bool,
    /// Measure quantized weights at every evaluation.
    pub quantization_metrics: bool,
    /// Formats of the metrics beside `metrics.jsonl`.
    pub report_to: Vec<ReportTo>,
    /// End after so many evaluations in a row that are no better.
    pub early_stopping: Option<NonZeroUsize>,
    /// Steps between two saved states; none takes `eval_steps`, 0 saves none.
    pub save_steps: Option<usize>,
    /// Recompute cheap operations in the backward pass.
    pub gradient_checkpointing: bool,
    /// Recompute every layer in the backward pass from its input.
    pub recompute_layers: bool,
    /// Train layer by layer, in a few bytes per parameter.
    pub layer_wise: bool,
    /// With `layer_wise`: the norm that `max_grad_norm` limits.
    pub clipping: Clipping,
    /// With `layer_wise`: what matrices are kept in.
    pub masters: Masters,
    /// With `layer_wise`: what their moments are kept in.
    pub moments: Moments,
    /// With `layer_wise`: keep moments in files.
    pub offload: bool,
    /// How gradients pass quantizers.
    pub gradient: GradientRule,
    /// Train a parameter for every block scale, beside the weights.
    pub learned_scales: bool,
    /// When the global scales of NVFP4 follow the weights.
    #[serde(with = "super::choices::refresh")]
    pub global_refresh: GlobalRefresh,
}

impl Default for Stage {
    /// SFT with the published hyper-parameters.
    fn default() -> Self {
        let train = TrainConfig::default();
        Self {
            method: Method::Sft,
            title: None,
            from: None,
            quantize: PolicyChoice::Preset("mxfp4_mlp_weight_only".into()),
            teacher: None,
            distill: DistillConfig::default(),
            ptq: PtqMethods::default(),
            epochs: 1.0,
            steps: None,
            batch_size: train.batch_size,
            micro_batch_size: train.micro_batch_size,
            parallel_micro_batches: train.parallel_micro_batches,
            learning_rate: train.learning_rate,
            min_lr_ratio: train.min_lr_ratio,
            warmup_ratio: train.warmup_ratio,
            warmup_steps: None,
            lr_scheduler: LearningRateDecay::Cosine,
            // Not from the defaults in float32, whose digits differ.
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            no_weight_decay: train.no_weight_decay,
            parameter_groups: Vec::new(),
            trainable: None,
            frozen: Vec::new(),
            max_grad_norm: train.max_grad_norm.unwrap_or_default(),
            eval_steps: train.eval_steps,
            eval_on_start: false,
            quantization_metrics: true,
            report_to: Vec::new(),
            early_stopping: None,
            save_steps: None,
            gradient_checkpointing: train.gradient_checkpointing,
            recompute_layers: train.recompute_layers,
            layer_wise: false,
            clipping: Clipping::default(),
            masters: Masters::default(),
            moments: Moments::default(),
            offload: false,
            gradient: GradientRule::StraightThrough,
            learned_scales: false,
            global_refresh: GlobalRefresh::Dynamic,
        }
    }
}

impl Stage {
    /// How its quantizers train.
    pub fn quantizer_options(&self) -> QuantizerOptions {
        QuantizerOptions {
            global_refresh: self.global_refresh,
            gradient: self.gradient,
            learned_scales: self.learned_scales,
        }
    }

    /// What the row of a rounded result is called.
    pub fn ptq_title(title: &str, method: PtqMethod) -> String {
        let method = method.title();
        match title.split_once(" (") {
            Some((title, rest)) => format!("{title} + {method} ({rest}"),
            None => format!("{title} + {method}"),
        }
    }

    /// The directory of a rounded result of a stage.
    pub fn ptq_name(name: &str, method: PtqMethod) -> String {
        format!("{name}_{}", method.name())
    }

    /// The directories that a stage of this name may write: its result, that rounded, and its factors.
    pub fn directories(name: &str) -> Vec<String> {
        let rounded = PtqMethod::ALL.map(|method| Self::ptq_name(name, method));
        let mut directories = vec![name.to_owned(), format!("{name}_adapter")];
        directories.extend(rounded);
        directories
    }

    /// The rows of a table that a stage of this name makes.
    pub fn rows(&self, name: &str) -> Vec<String> {
        let title = self.title.as_deref().unwrap_or(name);
        let rounded = self.ptq.iter().map(|method| Self::ptq_title(title, method));
        [title.to_owned()].into_iter().chain(rounded).collect()
    }
}
