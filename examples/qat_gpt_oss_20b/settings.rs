//! A recipe as this program runs it: the stages with their titles, policies and numbers of steps.

use anyhow::Result;
use burn_gpt_oss::{CheckpointForm, GptOssConfig};
use burn_qat_train::{
    ChatFormat, DatasetSettings, EvalOptions, Method, PtqMethod, PtqMethods, QuantPolicy,
    QuantizerOptions, Recipe, Stage, TrainConfig,
};

/// What a run does, all values decided.
#[derive(Clone, Debug)]
pub struct Settings {
    pub recipe: Recipe,
    pub stages: Vec<StagePlan>,
    pub format: ChatFormat,
    pub eval: EvalOptions,
}

/// One stage.
#[derive(Clone, Debug)]
pub struct StagePlan {
    /// Names its directories.
    pub name: String,
    /// Names its row.
    pub title: String,
    pub method: Method,
    /// The stage that it goes on from.
    pub from: Option<String>,
    /// The stage that it learns from.
    pub teacher: Option<String>,
    pub ptq: PtqMethods,
    pub quantizers: QuantizerOptions,
    pub policy: QuantPolicy,
    pub config: TrainConfig,
}

impl StagePlan {
    /// Whether it trains rounded weights.
    pub fn is_qat(&self) -> bool {
        self.method.is_rounded()
    }

    /// Names the row of its rounded result.
    pub fn ptq_title(&self, method: PtqMethod) -> String {
        Stage::ptq_title(&self.title, method)
    }

    /// The directory of its rounded result.
    pub fn ptq_name(&self, method: PtqMethod) -> String {
        Stage::ptq_name(&self.name, method)
    }

    /// The way of rounding that QAT is compared with: the nearest codes, which QAT starts from, where there are several.
    pub fn compared(&self) -> PtqMethod {
        let nearest = self.ptq.iter().find(|method| *method == PtqMethod::Nearest);
        let first = nearest.or_else(|| self.ptq.iter().next());
        first.unwrap_or(PtqMethod::Nearest)
    }

    /// Block scales that train: one for each block of the expert matrices.
    pub fn n_learned_scales(&self, config: &GptOssConfig) -> u64 {
        let learns = self.is_qat() && self.quantizers.learned_scales;
        let mut schemes = self.policy.rules.iter().filter_map(|rule| rule.scheme);
        let scheme = schemes.next().filter(|_| learns);
        scheme.map_or(0, |scheme| {
            config.num_expert_weights() / scheme.block_size() as u64
        })
    }

    /// The form of its checkpoints with rounded weights.
    pub fn packed_form(&self) -> CheckpointForm {
        let mut schemes = self.policy.rules.iter().filter_map(|rule| rule.scheme);
        let form = schemes.find_map(CheckpointForm::of_scheme);
        let form = form.unwrap_or(CheckpointForm::Mxfp4);
        let with_inputs = form
            .with_input_scales()
            .filter(|_| self.policy.inputs.is_some());
        with_inputs.unwrap_or(form)
    }

    /// The directory of its factors.
    pub fn adapter_name(&self) -> String {
        format!("{}_adapter", self.name)
    }
}

/// Rows that belong together: a stage, its rounded result, and QAT that goes on from it.
#[derive(Clone, Debug)]
pub struct Comparison {
    pub before: String,
    pub ptq: String,
    pub qat: String,
}

impl Settings {
    /// Decides the rest; `n_examples` is the size of the training data, for epochs.
    pub fn new(recipe: Recipe, format: ChatFormat, n_examples: usize) -> Result<Self> {
        let plan = |(name, stage): &(String, Stage)| {
            let config = stage.train_config(n_examples, recipe.seed, recipe.depth(name));
            config.check()?;
            Ok(StagePlan {
                name: name.clone(),
                title: stage.title.clone().unwrap_or_else(|| name.clone()),
                method: stage.method,
                from: stage.from.clone(),
                teacher: stage.teacher.clone().or_else(|| stage.from.clone()),
                ptq: stage.ptq.clone(),
                quantizers: stage.quantizer_options(),
                policy: stage.quantize.policy()?,
                config,
            })
        };
        let stages: Vec<StagePlan> = recipe.stages.iter().map(plan).collect::<Result<_>>()?;
        let first = &stages[0].config;
        let eval = EvalOptions {
            batch_size: recipe
                .evaluation
                .batch_size
                .unwrap_or(first.micro_batch_size),
            parallel: first.parallel_micro_batches,
            max_new_tokens: recipe.evaluation.max_new_tokens,
            element_types: first.element_types,
        };
        Ok(Self {
            recipe,
            stages,
            format,
            eval,
        })
    }

    /// Whether a later stage goes on from a stage.
    pub fn is_needed_after(&self, name: &str, index: usize) -> bool {
        let mut later = self.stages.iter().skip(index + 1);
        later.any(|stage| stage.from.as_deref() == Some(name))
    }

    /// Whether the weights of a stage are kept as they were trained until the run ends: a checkpoint in BF16 or MXFP4
    /// has fewer bits than a stage that goes on from them, or is rounded.
    pub fn keeps_record(&self, stage: &StagePlan, index: usize) -> bool {
        let goes_on = !stage.ptq.is_empty() || self.is_needed_after(&stage.name, index);
        self.recipe.lora.is_none() && stage.config.checkpoint_steps.is_some() && goes_on
    }

    /// Whether the weights of a stage are kept in memory while another one changes its own.
    pub fn keeps_weights(&self) -> bool {
        let stages = self.stages.iter().enumerate();
        let mut pairs = stages.flat_map(|(index, _)| {
            let before = self.stages[..index].iter();
            before.map(move |stage| (index, stage))
        });
        pairs.any(|(index, before)| self.is_needed_after(&before.name, index))
    }

    /// Names of the rows behind the original's, in order.
    pub fn rows(&self) -> Vec<String> {
        let rows = |stage: &StagePlan| {
            let rounded = stage.ptq.iter().map(|method| stage.ptq_title(method));
            let rows: Vec<_> = [stage.title.clone()].into_iter().chain(rounded).collect();
            rows
        };
        self.stages.iter().flat_map(rows).collect()
    }

    /// QAT stages with what they are compared with.
    pub fn comparisons(&self) -> Vec<Comparison> {
        let stages = self.stages.iter().filter(|stage| stage.is_qat());
        let compared = stages.filter_map(|qat| {
            let from = qat.from.as_deref()?;
            let before = self.stages.iter().find(|stage| stage.name == from)?;
            // What another format costs says nothing about this one.
            (before.policy == qat.policy).then(|| Comparison {
                before: before.title.clone(),
                ptq: before.ptq_title(before.compared()),
                qat: qat.title.clone(),
            })
        });
        compared.collect()
    }
}

/// How conversations become tokens that a model with this context can be trained on.
pub fn format_of(dataset: &DatasetSettings, config: &GptOssConfig) -> ChatFormat {
    let format = ChatFormat::new(dataset);
    ChatFormat {
        max_length: format.max_length.min(config.max_position_embeddings),
        ..format
    }
}
