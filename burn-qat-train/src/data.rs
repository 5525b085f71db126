//! Chat datasets: JSONL lines to tokens to batches.

mod batch;
mod example;
mod foreign;
mod json;
mod jsonl;
mod loader;
mod message;
mod notes;
mod record;

pub use batch::{MicroBatch, StepBatch};
pub use example::{ChatFormat, Tokenized, TokenizedExample};
pub use jsonl::{BadRows, ChatDataset, read_jsonl};
pub use loader::StepLoader;
pub use notes::{DataNote, DataNotes};
pub use record::ChatRecord;
