use std::path::PathBuf;
use std::sync::Arc;

use burn_fp4::Fp4Scheme;
use burn_gpt_oss::{AnalysisPolicy, ConvertTarget, HarmonyVariant, LossMask, RenderOptions};
use serde::{Deserialize, Serialize, Serializer};

use super::stage::{self, StageMap};
use super::{Method, Stage};
use crate::adapt::LoraConfig;
use crate::data::{BadRows, ColumnMap, ReadOptions};
use crate::error::QatError;
use crate::evaluate::{JudgeCommand, Multilingual, OverRefusal, Task};
use crate::quantize::PtqMethod;

/// What a run does. [`RecipeSource`](super::RecipeSource) makes one of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The checkpoint directory to start from; none where a program brings its own model.
    #[serde(serialize_with = "as_text")]
    pub model: Option<PathBuf>,
    /// The dataset, a file, a directory or a pattern of files; none where a program brings its own.
    #[serde(serialize_with = "as_text")]
    pub data: Option<PathBuf>,
    /// The validation data; none holds a share of `data` out.
    #[serde(serialize_with = "as_text")]
    pub eval_data: Option<PathBuf>,
    /// Where the results go; none leaves the choice to the program.
    #[serde(serialize_with = "as_text")]
    pub output: Option<PathBuf>,
    /// Seed of the split into training and validation data, of the data order and of the adapters.
    pub seed: u64,
    /// How conversations become tokens.
    pub dataset: DatasetSettings,
    /// Adapters in place of full training.
    pub lora: Option<LoraConfig>,
    /// What the models of all stages are measured with.
    pub evaluation: EvaluationSettings,
    /// Forms that the checkpoints of QAT and QAD are written in beside their own.
    pub export: Vec<ConvertTarget>,
    /// The stages by name, in order.
    #[serde(with = "stage::map")]
    pub stages: StageMap,
}

impl Default for Recipe {
    /// The published full fine-tuning recipe, without stages.
    fn default() -> Self {
        Self {
            model: None,
            data: None,
            eval_data: None,
            output: None,
            seed: 42,
            dataset: DatasetSettings::default(),
            lora: None,
            evaluation: EvaluationSettings::default(),
            export: Vec::new(),
            stages: StageMap::new(),
        }
    }
}

impl Recipe {
    /// A stage by its name.
    pub fn stage(&self, name: &str) -> Option<&Stage> {
        let mut stages = self.stages.iter();
        let found = stages.find(|(stage, _)| stage == name);
        found.map(|(_, stage)| stage)
    }

    /// How many stages lie between the model and a stage: 0 for one that starts from the model.
    pub fn depth(&self, name: &str) -> usize {
        let from = self.stage(name).and_then(|stage| stage.from.as_deref());
        // `from` names an earlier stage, so this ends.
        from.map_or(0, |from| 1 + self.depth(from))
    }

    /// Whether a stage needs calibration data.
    pub fn calibrates(&self) -> bool {
        let rounds_inputs = |stage: &Stage| {
            let rounds = stage.method != Method::Sft || !stage.ptq.is_empty();
            let policy = stage.quantize.policy();
            rounds && policy.is_ok_and(|policy| policy.inputs.is_some())
        };
        let mut stages = self.stages.iter();
        stages.any(|(_, stage)| {
            let mut methods = stage.ptq.iter();
            methods.any(|method| method == PtqMethod::Gptq) || rounds_inputs(stage)
        })
    }

    /// Whether a form has other codes than a stage trains. From MXFP4 to NVFP4 they are cast.
    fn would_round(&self, form: ConvertTarget) -> bool {
        let is_mxfp4 = |scheme| matches!(scheme, Some(Fp4Scheme::Mxfp4 { .. }));
        let trains_nvfp4 = |stage: &Stage| {
            let policy = stage.quantize.policy();
            let mut rules = policy.into_iter().flat_map(|policy| policy.rules);
            stage.method != Method::Sft
                && rules.any(|rule| rule.scheme.is_some() && !is_mxfp4(rule.scheme))
        };
        let mut stages = self.stages.iter();
        is_mxfp4(form.scheme()) && stages.any(|(_, stage)| trains_nvfp4(stage))
    }

    /// Checks the ranges that belong to no stage.
    pub(super) fn check(&self) -> Result<(), QatError> {
        let DatasetSettings {
            max_length,
            eval_fraction,
            ..
        } = self.dataset;
        let refuse = |key, expected: &str, found: String| {
            Err(QatError::Setting {
                key,
                expected: expected.into(),
                found,
            })
        };
        if max_length < 2 {
            return refuse(
                "dataset.max_length",
                "2 or more tokens",
                max_length.to_string(),
            );
        }
        self.dataset.columns.check()?;
        if !(0.0..1.0).contains(&eval_fraction) {
            let expected = "a share from 0 to below 1, as 0.1 for 10 %";
            return refuse("dataset.eval_fraction", expected, eval_fraction.to_string());
        }
        if self.dataset.calibration_rows == 0 && self.calibrates() {
            let expected = "1 or more, since a stage has `gptq` in `ptq`";
            return refuse("dataset.calibration_rows", expected, "0".into());
        }
        if let Some(form) = self.export.iter().find(|form| self.would_round(**form)) {
            let expected = "forms that hold what a stage trains in NVFP4 without rounding it again, as compressed-nvfp4";
            return refuse("export", expected, form.to_string());
        }
        if self.evaluation.batch_size == Some(0) {
            return refuse("evaluation.batch_size", "1 or more", "0".into());
        }
        if self.evaluation.max_new_tokens == 0 {
            return refuse("evaluation.max_new_tokens", "1 or more", "0".into());
        }
        Ok(())
    }
}

/// A path need not be text, and a file of settings is.
fn as_text<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    let text = path.as_ref().map(|path| path.to_string_lossy());
    text.serialize(serializer)
}

/// How conversations become tokens, and which of them are held out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetSettings {
    /// Longest sequence in tokens; longer conversations are cut.
    pub max_length: usize,
    /// Share of the conversations that are kept for validation.
    pub eval_fraction: f64,
    /// Training conversations that are kept from training where something is calibrated, as GPTQ is.
    pub calibration_rows: usize,
    /// Directory that keeps the tokens of large datasets; none is the user's cache directory.
    #[serde(serialize_with = "as_text")]
    pub cache: Option<PathBuf>,
    /// Names that columns have in the dataset, by those that they have here.
    pub columns: ColumnMap,
    /// Whose rendering of harmony: the checkpoints' chat template, or OpenAI's library.
    pub variant: HarmonyVariant,
    /// Which reasoning is rendered.
    pub analysis: AnalysisPolicy,
    /// Put short conversations into one row of `max_length` tokens; a batch then counts rows.
    pub packing: bool,
    /// Which tokens are trained.
    pub loss_mask: LossMask,
    /// The system block in front of every conversation.
    pub system: SystemBlock,
    /// Date in the published system block, `YYYY-MM-DD`.
    pub date: String,
    /// Leave out rows that cannot be used, and count them.
    pub skip_bad_rows: bool,
}

impl Default for DatasetSettings {
    fn default() -> Self {
        Self {
            max_length: 4096,
            eval_fraction: 0.1,
            calibration_rows: 128,
            cache: None,
            columns: ColumnMap::default(),
            variant: HarmonyVariant::default(),
            analysis: AnalysisPolicy::default(),
            packing: false,
            loss_mask: LossMask::default(),
            system: SystemBlock::Published,
            date: "2025-08-05".into(),
            skip_bad_rows: false,
        }
    }
}

impl DatasetSettings {
    /// How conversations are rendered.
    pub fn rendering(&self) -> RenderOptions {
        RenderOptions {
            variant: self.variant,
            analysis: self.analysis,
        }
    }

    /// How the files are read.
    pub fn reading(&self) -> ReadOptions {
        ReadOptions {
            bad_rows: match self.skip_bad_rows {
                true => BadRows::Skip,
                false => BadRows::Refuse,
            },
            columns: self.columns.clone(),
            variant: self.variant,
        }
    }
}

/// The system block of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SystemBlock {
    /// The one gpt-oss was trained with.
    Published,
    /// No system block.
    None,
}

/// What models are measured with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationSettings {
    /// What a right answer is.
    pub task: TaskName,
    /// A command that judges in place of the task's rules.
    pub judge: Option<String>,
    /// Held-out prompts that are answered for the pass rate.
    pub prompts: usize,
    /// Most tokens of an answer.
    pub max_new_tokens: usize,
    /// Sequences that are computed together; none takes the micro-batch of the first stage.
    pub batch_size: Option<usize>,
}

impl Default for EvaluationSettings {
    fn default() -> Self {
        Self {
            task: TaskName::default(),
            judge: None,
            prompts: 200,
            max_new_tokens: 512,
            batch_size: None,
        }
    }
}

/// The tasks that have rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskName {
    /// Thinks in the asked language and answers right.
    #[default]
    Multilingual,
    /// Answers, and does not refuse.
    OverRefusal,
}

impl EvaluationSettings {
    /// What judges the answers.
    pub fn judge(&self) -> Arc<dyn Task> {
        match (&self.judge, self.task) {
            (Some(command), _) => Arc::new(JudgeCommand {
                command: command.clone(),
            }),
            (None, TaskName::Multilingual) => Arc::new(Multilingual),
            (None, TaskName::OverRefusal) => Arc::new(OverRefusal),
        }
    }
}
