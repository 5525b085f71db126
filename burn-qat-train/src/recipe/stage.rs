use std::fmt;
use std::num::NonZeroUsize;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::distill::DistillConfig;
use crate::error::QatError;
use crate::quantize::{QuantPolicy, QuantRule};
use crate::train::TrainConfig;

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
    /// Also round the result without training, and measure that.
    pub ptq: bool,
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
    /// AdamW's decay of the first moment.
    pub beta_1: f64,
    /// AdamW's decay of the second moment.
    pub beta_2: f64,
    /// AdamW's epsilon.
    pub epsilon: f64,
    /// AdamW's decoupled weight decay.
    pub weight_decay: f64,
    /// Largest norm of all gradients together; 0 for no limit.
    pub max_grad_norm: f64,
    /// Steps between evaluations of the validation loss.
    pub eval_steps: usize,
    /// Steps between two saved states; none takes `eval_steps`, 0 saves none.
    pub save_steps: Option<usize>,
    /// Recompute cheap operations in the backward pass.
    pub gradient_checkpointing: bool,
    /// Recompute every layer in the backward pass from its input.
    pub recompute_layers: bool,
    /// Steps between refreshes of global scales that quantizers keep.
    pub global_refresh_steps: Option<NonZeroUsize>,
}

/// How a stage trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Fine-tuning of the weights as they are.
    Sft,
    /// Fine-tuning on rounded weights.
    Qat,
    /// Distillation of rounded weights: they learn what a frozen teacher gives.
    Qad,
}

impl Method {
    /// Whether weights are rounded while they are trained.
    pub fn is_rounded(self) -> bool {
        self != Self::Sft
    }
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
            ptq: false,
            epochs: 1.0,
            steps: None,
            batch_size: train.batch_size,
            micro_batch_size: train.micro_batch_size,
            parallel_micro_batches: train.parallel_micro_batches,
            learning_rate: train.learning_rate,
            min_lr_ratio: train.min_lr_ratio,
            warmup_ratio: train.warmup_ratio,
            // Not from the defaults in float32, whose digits differ.
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            max_grad_norm: train.max_grad_norm.unwrap_or_default(),
            eval_steps: train.eval_steps,
            save_steps: None,
            gradient_checkpointing: train.gradient_checkpointing,
            recompute_layers: train.recompute_layers,
            global_refresh_steps: None,
        }
    }
}

impl Stage {
    /// What the row of a rounded result is called.
    pub fn ptq_title(title: &str) -> String {
        match title.split_once(" (") {
            Some((title, rest)) => format!("{title} + PTQ ({rest}"),
            None => format!("{title} + PTQ"),
        }
    }

    /// The directories that a stage of this name may write: its result, that rounded, and its factors.
    pub fn directories(name: &str) -> [String; 3] {
        ["", "_ptq", "_adapter"].map(|what| format!("{name}{what}"))
    }

    /// The rows of a table that a stage of this name makes.
    pub fn rows(&self, name: &str) -> Vec<String> {
        let title = self.title.as_deref().unwrap_or(name);
        let rounded = self.ptq.then(|| Self::ptq_title(title));
        [Some(title.to_owned()), rounded]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Checks the ranges.
    pub(super) fn check(&self) -> Result<(), QatError> {
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
        self.distill.check()?;
        self.quantize.policy()?;
        self.train_config(1, 0, 0).check()
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
            beta_1: self.beta_1 as f32,
            beta_2: self.beta_2 as f32,
            epsilon: self.epsilon as f32,
            weight_decay: self.weight_decay as f32,
            max_grad_norm: (self.max_grad_norm != 0.0).then_some(self.max_grad_norm),
            eval_steps: self.eval_steps,
            gradient_checkpointing: self.gradient_checkpointing,
            recompute_layers: self.recompute_layers,
            global_refresh_steps: self.global_refresh_steps,
            checkpoint_steps: NonZeroUsize::new(save_steps),
            distill: (self.method == Method::Qad).then_some(self.distill),
            seed: seed.wrapping_add(depth as u64),
            ..TrainConfig::default()
        }
    }
}

/// A preset by its name, or rules of which the last match wins.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum PolicyChoice {
    /// A name that [`QuantPolicy::preset`] knows.
    Preset(String),
    /// Rules: globs on module paths, each with a scheme or none.
    Rules(Vec<QuantRule>),
}

impl<'de> Deserialize<'de> for PolicyChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ChoiceVisitor)
    }
}

/// Text or a list: an untagged enum would not say what is wrong in a rule.
struct ChoiceVisitor;

impl<'de> Visitor<'de> for ChoiceVisitor {
    type Value = PolicyChoice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a preset, or a list of rules with `pattern` and `scheme`")
    }

    fn visit_str<E>(self, name: &str) -> Result<PolicyChoice, E> {
        Ok(PolicyChoice::Preset(name.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<PolicyChoice, A::Error> {
        let mut rules = Vec::new();
        while let Some(rule) = list.next_element()? {
            rules.push(rule);
        }
        Ok(PolicyChoice::Rules(rules))
    }
}

impl PolicyChoice {
    /// The policy.
    ///
    /// # Errors
    /// An unknown preset, with the known ones.
    pub fn policy(&self) -> Result<QuantPolicy, QatError> {
        match self {
            Self::Preset(name) => QuantPolicy::preset(name),
            Self::Rules(rules) => Ok(QuantPolicy {
                name: "rules".into(),
                rules: rules.clone(),
            }),
        }
    }
}

/// Stages as a map that keeps its order.
pub(super) mod map {
    use std::fmt;

    use serde::de::{MapAccess, Visitor};
    use serde::{Deserializer, Serializer};

    use super::{Stage, StageMap};

    pub fn serialize<S: Serializer>(stages: &StageMap, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(stages.iter().map(|(name, stage)| (name, stage)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StageMap, D::Error> {
        deserializer.deserialize_map(Stages)
    }

    struct Stages;

    impl<'de> Visitor<'de> for Stages {
        type Value = StageMap;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("stages by name")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StageMap, A::Error> {
            let mut stages = StageMap::new();
            while let Some((name, stage)) = map.next_entry::<String, Stage>()? {
                stages.push((name, stage));
            }
            Ok(stages)
        }
    }
}
