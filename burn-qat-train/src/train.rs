//! SFT and QAT on Burn's `SupervisedTraining`.

mod adamw;
mod best_model;
mod checks;
mod clip;
mod config;
mod discard;
mod early_stopping;
mod ending;
mod guard;
mod history;
mod loss;
mod metrics;
mod parameters;
mod quantization;
mod quantized_experts;
mod recompute;
mod renderer;
mod resume;
mod run;
mod run_log;
mod schedule;
mod step;

#[cfg(feature = "flex")]
pub use adamw::{AdamWBackend, AdamWUpdated};
pub use adamw::{AdamWFactors, adamw};
pub use clip::clip_global_norm;
pub use config::TrainConfig;
pub use ending::{StageOutcome, kept_record, load_record};
pub use guard::NonFiniteStep;
pub use history::{History, TrainPoint, ValidPoint};
pub use loss::micro_batch_loss;
pub use parameters::ParameterGroup;
pub use quantization::QuantizationPoint;
pub use renderer::{Console, StageProgress};
pub use resume::saved_step;
pub use run::{StageRun, resume, train};
pub use schedule::{LearningRateDecay, WarmupSchedule};
pub use step::{FineTune, StepOutput};
