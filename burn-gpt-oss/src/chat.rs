//! Chat messages and their rendering in the harmony format.
//!
//! gpt-oss models read and write conversations in OpenAI's harmony format: every message is
//! `<|start|>{role}[:name][ to=recipient][<|channel|>channel][ content type]<|message|>{content}`
//! followed by a stop token. [`render_training`] turns a [`Conversation`] into tokens with a loss
//! mask, [`render_completion`] into a prompt, and [`parse_completion`] reads what a model answered,
//! [`CompletionStream`] while it does.
//! There are two published renderings, [`HarmonyVariant`]: the chat template of the checkpoints and
//! OpenAI's own library. The results equal those of either, token by token; text that spells special
//! tokens is always ordinary text.

mod chat_message;
mod completion;
mod content;
mod conversation;
mod encoder;
mod harmony;
mod harmony_message;
mod header;
mod mask;
mod message;
mod parser;
mod reasoning;
mod render_options;
mod span;
mod stream;
mod system;
mod tool;
mod tool_result;
mod tools;
mod turn;

pub use completion::{Completion, parse_completion, parse_completion_until};
pub use content::Content;
pub use conversation::Conversation;
pub use encoder::{HarmonyDecoder, HarmonyEncoder, stop_tokens};
pub use harmony::{Rendered, render_completion, render_training};
pub use header::CompletionPart;
pub use mask::LossMask;
pub use message::{Message, Role};
pub use parser::{HarmonyParser, ParserState, Strictness, parse_messages};
pub use render_options::{AnalysisPolicy, HarmonyVariant, RenderOptions};
pub use span::{MessageSpan, SpanSource};
pub use stream::{CompletionEvent, CompletionStream};
pub use system::{BuiltinTool, ReasoningEffort, SystemContent};
pub use tool::{FunctionTool, ToolCall};

pub(crate) use encoder::missing_special_tokens;
