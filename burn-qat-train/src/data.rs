//! Chat datasets: JSONL lines to tokens to batches.

mod example;
mod foreign;
mod json;
mod jsonl;
mod message;
mod micro_batch;
mod notes;
mod record;

pub use example::{ChatFormat, Tokenized, TokenizedExample};
pub use jsonl::{BadRows, ChatDataset, read_jsonl};
pub use micro_batch::MicroBatch;
pub use notes::{DataNote, DataNotes};
pub use record::ChatRecord;
