//! Chat messages and their rendering in the harmony format.
//!
//! gpt-oss models read and write conversations in OpenAI's harmony format: every message is
//! `<|start|>{role}[:name][ to=recipient][<|channel|>channel][ content type]<|message|>{content}`
//! followed by a stop token. [`render_training`] turns a [`Conversation`] into tokens with a loss
//! mask, [`render_completion`] into a prompt, and [`parse_completion`] reads what a model answered,
//! [`CompletionStream`] while it does.
//! The results equal those of openai-harmony 0.0.8 token by token.
//!
//! Not offered in this version, and refused with [`crate::GptOssError::Unsupported`]: function tools
//! and the built-in tools browser and python. Text that spells special tokens is always ordinary text.

mod completion;
mod conversation;
mod encoder;
mod harmony;
mod harmony_message;
mod header;
mod mask;
mod message;
mod span;
mod stream;
mod system;
mod turn;

pub use completion::{Completion, parse_completion, parse_completion_until};
pub use conversation::{Conversation, FunctionTool};
pub use encoder::{HarmonyDecoder, HarmonyEncoder, stop_tokens};
pub use harmony::{Rendered, render_completion, render_training};
pub use harmony_message::AnalysisPolicy;
pub use header::CompletionPart;
pub use mask::LossMask;
pub use message::{Message, Role};
pub use span::{MessageSpan, SpanSource};
pub use stream::{CompletionEvent, CompletionStream};
pub use system::{BuiltinTool, ReasoningEffort, SystemContent};

pub(crate) use encoder::missing_special_tokens;
