//! Evaluation of one checkpoint directory: loss, perplexity and task pass rate.

mod checkpoint;
mod interval;
mod language;
mod loss;
mod task;

pub(crate) use checkpoint::decoded_bytes;
pub use checkpoint::{
    EvalData, EvalOptions, EvalProgress, EvalReport, Sample, evaluate_checkpoint, evaluate_model,
};
pub use interval::PassRate;
pub use language::Language;
pub use loss::{LossReport, evaluate_loss};
pub use task::{JudgeCommand, Multilingual, OverRefusal, Task};
