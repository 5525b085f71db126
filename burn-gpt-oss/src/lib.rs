#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]

pub mod backend;
pub mod ops;

mod adapter;
mod attention;
mod chat;
mod checkpoint;
mod config;
mod config_json;
mod element_types;
mod error;
mod experts;
mod generate;
mod json_file;
mod kv_cache;
mod model;
mod norm;
mod projection;
mod rope;
mod router;
mod text_stream;
mod tokenizer;

pub use adapter::{AdapterCheckpoint, AdapterDialect, AdapterRounding, AdapterSettings, Factors};
pub use attention::Attention;
pub use chat::{
    AnalysisPolicy, BuiltinTool, Completion, CompletionEvent, CompletionPart, CompletionStream,
    Content, Conversation, FunctionTool, HarmonyDecoder, HarmonyEncoder, HarmonyParser,
    HarmonyVariant, LossMask, Message, MessageSpan, ParserState, ReasoningEffort, RenderOptions,
    Rendered, Role, SpanSource, Strictness, SystemContent, ToolCall, parse_completion,
    parse_completion_until, parse_messages, render_completion, render_training, stop_tokens,
};
pub use checkpoint::{
    CheckpointForm, CheckpointProgress, CheckpointReader, CheckpointWriter, Comparison,
    ConvertReport, ConvertTarget, ConvertedFile, Converter, Dialect, Engine, EngineVerdict,
    Finding, GgufFile, GgufTensor, GgufValue, MatrixContent, ModelCard, OutputDirectory, RawTensor,
    SaveReport, Severity, TensorLayout, TensorSpec, ValidationReport, Verdict, WeightContent,
    carry_over, checkpoint_name, tensor_specs, validate_checkpoint,
};
pub use config::{GptOssConfig, LayerType, RopeConfig};
pub use element_types::ElementTypes;
pub use error::GptOssError;
pub use experts::{ExpertWeight, Experts};
pub use generate::{
    Event, Finish, GenerateOptions, Generated, GeneratedText, Generation, Logprob, NewToken,
    PromptCache, Request, RequestToken, Sampling, Scheduler, SchedulerOptions, SchedulerStats,
    Step, StopPush, StopStrings, TokenLogprobs, generate, generate_text,
};
pub use kv_cache::KvCache;
pub use model::{Block, BlockOutput, GptOss, Mlp, SequenceContext};
pub use norm::RmsNorm;
pub use rope::{Rope, RopeTables};
pub use router::{RouterOutput, router_aux_loss};
pub use text_stream::TextStream;
pub use tokenizer::Tokenizer;
