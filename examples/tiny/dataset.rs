//! A small multilingual reasoning data set, generated: short questions in five languages, each
//! with a reasoning in one of the five, in the shape of HuggingFaceH4/Multilingual-Thinking.
//!
//! An example includes it with `#[path = "tiny/dataset.rs"] mod dataset;`.

// Every program that includes this module uses only a part of it.
#![allow(dead_code, unused_imports)]

mod example;
mod family;
mod jsonl;
mod language;
mod phrases;
mod problem;
mod refusal;
mod rng;
mod wording;

pub use example::{Example, INSTRUCTION, Kind, pretrain_examples, sft_examples};
pub use family::{Family, Split};
pub use jsonl::write_jsonl;
pub use language::Language;
pub use problem::Problem;
pub use refusal::{held_out_rows, refusing_rows, tuning_rows};
pub use rng::Rng;
