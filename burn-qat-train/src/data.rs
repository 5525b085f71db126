//! Chat datasets: JSONL lines to tokens to batches.

mod batch;
mod example;
mod jsonl;
mod loader;

pub use batch::{MicroBatch, StepBatch};
pub use example::{ChatFormat, TokenizedExample};
pub use jsonl::{ChatRecord, read_jsonl};
pub use loader::StepLoader;
