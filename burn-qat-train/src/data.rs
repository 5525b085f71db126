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
mod subset;
mod token_cache;
mod token_file;

pub use columns::ColumnMap;
pub use example::{ChatFormat, Tokenized, TokenizedExample};
pub use files::dataset_files;
pub use micro_batch::MicroBatch;
pub use notes::{DataNote, DataNotes};
pub use packing::{PackedExamples, pack_rows};
pub use reader::{BadRows, ChatDataset, ReadOptions, read_chunks, read_dataset};
pub use record::ChatRecord;
pub use split::Split;
pub use statistics::DataStatistics;
pub use subset::TokenSubset;
pub use token_cache::{DataSource, TokenCache};
pub use token_file::TokenFile;
