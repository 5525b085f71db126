//! Chat datasets: files to rows to tokens to batches.

mod columns;
mod compression;
mod example;
mod files;
mod foreign;
mod json;
mod message;
mod micro_batch;
mod notes;
mod packing;
#[cfg(feature = "parquet")]
mod parquet;
mod reader;
mod record;
mod rows;
mod shape;
mod split;
mod statistics;

pub use columns::ColumnMap;
pub use example::{ChatFormat, Tokenized, TokenizedExample};
pub use files::dataset_files;
pub use micro_batch::MicroBatch;
pub use notes::{DataNote, DataNotes};
pub use packing::PackedExamples;
pub use reader::{BadRows, ChatDataset, ReadOptions, for_each_record, read_dataset};
pub use record::ChatRecord;
pub use split::Split;
pub use statistics::DataStatistics;
