use std::ops::Range;

use super::message::Role;

/// What a harmony message was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpanSource {
    /// [`Conversation::system`](crate::Conversation::system).
    System,
    /// [`Conversation::tools`](crate::Conversation::tools), where no developer message has them.
    Tools,
    /// The `thinking` of a message.
    Thinking,
    /// The `content` of a message, or its call of a tool.
    Content,
}

/// Where a harmony message lies in the tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageSpan {
    /// What the message was made of.
    pub source: SpanSource,
    /// Index in [`Conversation::messages`](crate::Conversation::messages); `None` for the system message and
    /// that of the tools.
    pub message: Option<usize>,
    /// The role.
    pub role: Role,
    /// The channel.
    pub channel: Option<String>,
    /// From `<|start|>` to the stop token, both included.
    pub tokens: Range<usize>,
    /// `<|start|>` and the role, or for tool messages the name: what a prompt ends with.
    pub head: Range<usize>,
    /// The content, without markers.
    pub content: Range<usize>,
}
