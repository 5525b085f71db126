#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]

pub mod backend;

mod adapt;
mod data;
mod disk;
mod distill;
mod error;
mod evaluate;
mod export;
mod fnv;
mod memory;
mod quantize;
mod recipe;
mod report;
mod train;

pub use adapt::{
    AdaptedWeight, AdapterTable, LogitDifference, LoraConfig, MergeReport, MergedMatrix,
    insert_adapters, round_adapters, unround_adapters,
};
pub use data::{
    BadRows, ChatDataset, ChatFormat, ChatRecord, ColumnMap, DataNote, DataNotes, DataSource,
    DataStatistics, MicroBatch, PackedExamples, ReadOptions, Split, TokenCache, TokenFile,
    TokenSubset, Tokenized, TokenizedExample, dataset_files, pack_rows, read_chunks, read_dataset,
};
pub use disk::check_disk;
pub use distill::{DistillConfig, Divergence, Teacher};
pub use error::QatError;
pub use evaluate::{
    EvalData, EvalOptions, EvalProgress, EvalReport, JudgeCommand, Language, LossReport,
    Multilingual, OverRefusal, PassRate, Sample, Task, evaluate_checkpoint, evaluate_loss,
    evaluate_model,
};
pub use export::{ExportReport, export_fp4};
pub use memory::{MemoryEstimate, MemoryPlan, TrainingWay, available_memory};
pub use quantize::{
    ActivationFormat, GlobalRefresh, GradientRule, PtqMethod, QuantPolicy, QuantRule,
    QuantizedWeight, QuantizerOptions, WeightQuantizer, calibrate_activations, gptq,
    insert_quantizers, insert_quantizers_with,
};
pub use recipe::{
    DatasetSettings, EvaluationSettings, Method, PolicyChoice, PtqMethods, Recipe, RecipeSource,
    Stage, SystemBlock, TaskName,
};
pub use report::{Curve, HtmlReport, ResultRow, ResultTable, loss_plot};
pub use train::{
    Clipping, CompactFormat, Console, ExampleData, FineTune, GradientPass, GradientSink, History,
    KeptOutcome, LayerWise, LearningRateDecay, Masters, Moments, NonFiniteStep, ParameterGroup,
    QuantizationPoint, ReportTo, StageOutcome, StageProgress, StageRun, StepBatch, StepLoader,
    StepOutput, TrainConfig, TrainPoint, Trainable, ValidPoint, WarmupSchedule, adamw,
    clip_global_norm, kept_record, load_record, mean_loss, micro_batch_loss, saved_step,
};

/// Compiles the example of the workspace's README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct WorkspaceReadme;
