#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod data;
mod error;
mod quantize;
mod train;

pub use data::{ChatFormat, ChatRecord, MicroBatch, StepBatch, StepLoader, TokenizedExample, read_jsonl};
pub use error::QatError;
pub use quantize::{QuantPolicy, QuantRule, QuantizedWeight, WeightQuantizer, insert_quantizers};
pub use train::{
    Console, FineTune, History, StageOutcome, StageProgress, StepOutput, TrainConfig, TrainPoint,
    ValidPoint, WarmupCosine, clip_global_norm, micro_batch_loss, next_token_nll, train,
};
