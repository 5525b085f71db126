//! SFT and QAT of any module on Burn's `SupervisedTraining`.

mod adamw;
mod best_model;
mod checks;
mod clip;
mod config;
#[cfg(feature = "tui")]
mod dashboard;
mod discard;
pub(crate) mod documents;
mod early_stopping;
mod ending;
mod example_data;
mod gpt_oss;
mod guard;
mod history;
mod loader;
mod loss;
mod mean_loss;
mod metrics;
mod parameters;
mod quantization;
mod quantized_experts;
mod recompute;
mod record;
mod renderer;
mod resume;
mod run;
mod run_log;
mod schedule;
mod stage_run;
mod step;
mod step_batch;
mod trainable;
mod watch;

#[cfg(feature = "flex")]
pub use adamw::{AdamWBackend, AdamWUpdated};
pub use adamw::{AdamWFactors, adamw};
pub use clip::clip_global_norm;
pub use config::TrainConfig;
pub use ending::{KeptOutcome, StageOutcome, kept_record, load_record};
pub use example_data::ExampleData;
pub use guard::NonFiniteStep;
pub use history::{History, TrainPoint, ValidPoint};
pub use loader::StepLoader;
pub use loss::micro_batch_loss;
pub use mean_loss::mean_loss;
pub use parameters::ParameterGroup;
pub use quantization::QuantizationPoint;
pub use record::ReportTo;
pub use renderer::{Console, StageProgress};
pub use resume::saved_step;
pub use schedule::{LearningRateDecay, WarmupSchedule};
pub use stage_run::StageRun;
pub use step::{FineTune, StepOutput};
pub use step_batch::StepBatch;
pub use trainable::{GradientPass, Trainable};
