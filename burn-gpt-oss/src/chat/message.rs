use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::content::Content;
use super::tool::ToolCall;

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Identity, reasoning effort and channels; rendered from
    /// [`SystemContent`](crate::SystemContent).
    System,
    /// Instructions of the application.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

impl Role {
    pub(crate) const ALL: [Self; 5] = [
        Self::System,
        Self::Developer,
        Self::User,
        Self::Assistant,
        Self::Tool,
    ];

    /// The spelling in message headers and datasets, such as `assistant`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One message of a conversation.
///
/// The keys are those of chat datasets. Absent and `null` optional keys mean the same. Unknown keys
/// are ignored when deserializing; whoever reads a dataset decides whether to accept them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "MessageJson")]
pub struct Message {
    /// Who wrote the message.
    pub role: Role,
    /// The text; for [`Role::Developer`] the instructions.
    pub content: Content,
    /// The reasoning before an assistant message, rendered as a message of its own in channel
    /// `analysis`. An empty text is an empty message, not an absent one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking: Option<String>,
    /// `analysis`, `commentary` or `final`. `None` renders no channel at all; for an answer, the chat template's
    /// rendering has `final`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The name of the author. For [`Role::Tool`] it replaces the role; without it the result belongs to
    /// the call that `tool_call_id` names, or to the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whom the message is addressed to, such as `functions.get_weather`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// The type of the content, such as `<|constrain|>json`. Only a marker at its very beginning
    /// becomes the special token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Calls of functions, each rendered as a message of its own to `functions.NAME`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The call that this message is the result of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

/// A message as it is written. What a tool returned may be any value, a content otherwise is text.
#[derive(Deserialize)]
struct MessageJson {
    role: Role,
    #[serde(default)]
    content: Value,
    contents: Option<Content>,
    #[serde(alias = "reasoning_content", alias = "reasoning")]
    thinking: Option<String>,
    channel: Option<String>,
    name: Option<String>,
    recipient: Option<String>,
    content_type: Option<String>,
    tool_calls: Option<Vec<ToolCall>>,
    tool_call_id: Option<String>,
}

impl TryFrom<MessageJson> for Message {
    type Error = serde_json::Error;

    fn try_from(json: MessageJson) -> Result<Self, Self::Error> {
        let content = match (json.contents, json.content) {
            (Some(parts), _) => parts,
            (None, list @ Value::Array(_)) if json.role == Role::Tool => Content::Json(list),
            (None, content) => serde_json::from_value(content)?,
        };
        Ok(Self {
            role: json.role,
            content,
            thinking: json.thinking,
            channel: json.channel,
            name: json.name,
            recipient: json.recipient,
            content_type: json.content_type,
            tool_calls: json.tool_calls.unwrap_or_default(),
            tool_call_id: json.tool_call_id,
        })
    }
}

impl Message {
    /// A message with a role and a text and nothing else.
    pub fn new(role: Role, content: impl Into<Content>) -> Self {
        Self {
            role,
            content: content.into(),
            thinking: None,
            channel: None,
            name: None,
            recipient: None,
            content_type: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
        }
    }

    /// A system text of a chat dataset; see [`Conversation::from_chat`](crate::Conversation::from_chat).
    pub fn system(content: impl Into<Content>) -> Self {
        Self::new(Role::System, content)
    }

    /// Instructions of the application.
    pub fn developer(content: impl Into<Content>) -> Self {
        Self::new(Role::Developer, content)
    }

    /// A message of the person.
    pub fn user(content: impl Into<Content>) -> Self {
        Self::new(Role::User, content)
    }

    /// A message of the model, without channel.
    pub fn assistant(content: impl Into<Content>) -> Self {
        Self::new(Role::Assistant, content)
    }

    /// The result of a tool call, addressed to the assistant in channel `commentary`.
    pub fn tool(name: impl Into<String>, content: impl Into<Content>) -> Self {
        Self::new(Role::Tool, content)
            .with_name(name)
            .with_recipient("assistant")
            .with_channel("commentary")
    }

    /// A message of the model that calls functions and says nothing.
    pub fn calls(calls: impl IntoIterator<Item = ToolCall>) -> Self {
        Self {
            tool_calls: calls.into_iter().collect(),
            ..Self::new(Role::Assistant, Content::absent())
        }
    }

    /// Sets the reasoning that precedes the message.
    pub fn with_thinking(mut self, thinking: impl Into<String>) -> Self {
        self.thinking = Some(thinking.into());
        self
    }

    /// Sets the channel.
    pub fn with_channel(mut self, channel: impl Into<String>) -> Self {
        self.channel = Some(channel.into());
        self
    }

    /// Sets the name of the author.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the recipient.
    pub fn with_recipient(mut self, recipient: impl Into<String>) -> Self {
        self.recipient = Some(recipient.into());
        self
    }

    /// Sets the content type.
    pub fn with_content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }
}
