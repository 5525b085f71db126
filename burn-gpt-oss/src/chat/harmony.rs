use super::conversation::Conversation;
use super::encoder::{CALL, CONSTRAIN, HarmonyEncoder, Markers, optional_marker};
use super::harmony_message::{HarmonyMessage, Purpose, harmony_messages};
use super::mask::LossMask;
use super::message::Role;
use super::render_options::RenderOptions;
use super::span::MessageSpan;
use crate::error::GptOssError;

/// A conversation as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// One flag per token, `true` where the token is a training target (before any shift).
    pub loss_mask: Vec<bool>,
    /// The messages in order; dropped ones are absent.
    pub spans: Vec<MessageSpan>,
}

/// Renders a complete conversation for training.
///
/// A final answer at the end gets `<|return|>`, as the model has to emit it; every other message ends
/// with `<|end|>`, or `<|call|>` if the assistant addresses a recipient. Sources: openai/harmony 0.0.8,
/// `render_conversation_for_training`; `chat_template.jinja` of the checkpoints without generation prompt.
///
/// # Errors
///
/// [`GptOssError::Conversation`] names a message that cannot be rendered, [`GptOssError::Tool`] a function
/// that cannot be described, [`GptOssError::MissingSpecialTokens`] what the vocabulary lacks, and
/// [`GptOssError::Tokenizer`] a failure of the encoder.
pub fn render_training<E: HarmonyEncoder + ?Sized>(
    conversation: &Conversation,
    encoder: &E,
    mask: LossMask,
    options: RenderOptions,
) -> Result<Rendered, GptOssError> {
    let messages = harmony_messages(conversation, options, Purpose::Training)?;
    let mut renderer = Renderer::new(encoder)?;
    for message in &messages {
        renderer.message(message)?;
    }
    let Renderer {
        mut tokens,
        spans,
        markers,
        ..
    } = renderer;
    if messages.last().is_some_and(HarmonyMessage::is_final_answer)
        && let Some(last) = tokens.last_mut()
    {
        *last = markers.turn_end;
    }
    let loss_mask = mask.flags(&spans, tokens.len());
    Ok(Rendered {
        tokens,
        loss_mask,
        spans,
    })
}

/// Renders a conversation as a prompt: it ends with `<|start|>assistant`, and the model goes on.
///
/// Sources: openai/harmony 0.0.8, `render_conversation_for_completion`; `chat_template.jinja` of the
/// checkpoints with generation prompt. What they give are [`RenderOptions::library`] and
/// [`RenderOptions::template`].
///
/// # Errors
///
/// Those of [`render_training`].
pub fn render_completion<E: HarmonyEncoder + ?Sized>(
    conversation: &Conversation,
    encoder: &E,
    options: RenderOptions,
) -> Result<Vec<u32>, GptOssError> {
    let mut renderer = Renderer::new(encoder)?;
    for message in &harmony_messages(conversation, options, Purpose::Prompt)? {
        renderer.message(message)?;
    }
    renderer.push(renderer.markers.start);
    renderer.text(Role::Assistant.as_str())?;
    Ok(renderer.tokens)
}

struct Renderer<'a, E: ?Sized> {
    encoder: &'a E,
    markers: Markers,
    tokens: Vec<u32>,
    spans: Vec<MessageSpan>,
}

impl<'a, E: HarmonyEncoder + ?Sized> Renderer<'a, E> {
    fn new(encoder: &'a E) -> Result<Self, GptOssError> {
        let markers = Markers::resolve(encoder)?;
        Ok(Self {
            encoder,
            markers,
            tokens: Vec::new(),
            spans: Vec::new(),
        })
    }

    fn push(&mut self, token: u32) {
        self.tokens.push(token);
    }

    // Each part of a header is encoded on its own, as merges across parts would differ from harmony.
    fn text(&mut self, text: &str) -> Result<(), GptOssError> {
        self.tokens.extend(self.encoder.encode_ordinary(text)?);
        Ok(())
    }

    fn message(&mut self, message: &HarmonyMessage<'_>) -> Result<(), GptOssError> {
        let start = self.tokens.len();
        let head_end = self.header(message)?;
        self.push(self.markers.message);
        let content_start = self.tokens.len();
        for text in &message.texts {
            self.text(text)?;
        }
        let content_end = self.tokens.len();
        let stop = self.stop(message)?;
        self.push(stop);
        self.spans.push(MessageSpan {
            source: message.source,
            message: message.message,
            role: message.role,
            channel: message.channel.map(str::to_owned),
            tokens: start..self.tokens.len(),
            head: start..head_end,
            content: content_start..content_end,
        });
        Ok(())
    }

    /// Writes everything before `<|message|>` and gives the end of `<|start|>{role}`.
    fn header(&mut self, message: &HarmonyMessage<'_>) -> Result<usize, GptOssError> {
        self.push(self.markers.start);
        let head_end = self.author(message)?;
        // Harmony addresses every message to `all` unless it says otherwise.
        if let Some(recipient) = message.recipient.as_ref().filter(|name| *name != "all") {
            self.text(&format!(" to={recipient}"))?;
        }
        if let Some(channel) = message.channel {
            self.push(self.markers.channel);
            self.text(channel)?;
        }
        if let Some(content_type) = message.content_type {
            self.content_type(content_type)?;
        }
        Ok(head_end)
    }

    fn author(&mut self, message: &HarmonyMessage<'_>) -> Result<usize, GptOssError> {
        if let (Role::Tool, Some(name)) = (message.role, &message.name) {
            self.text(name)?;
            return Ok(self.tokens.len());
        }
        self.text(message.role.as_str())?;
        let head_end = self.tokens.len();
        if let Some(name) = &message.name {
            self.text(&format!(":{name}"))?;
        }
        Ok(head_end)
    }

    fn content_type(&mut self, content_type: &str) -> Result<(), GptOssError> {
        let Some(constrained) = content_type.strip_prefix(CONSTRAIN) else {
            return self.text(&format!(" {content_type}"));
        };
        self.text(" ")?;
        self.push(optional_marker(self.encoder, CONSTRAIN)?);
        self.text(constrained)
    }

    fn stop(&self, message: &HarmonyMessage<'_>) -> Result<u32, GptOssError> {
        match (message.role, &message.recipient) {
            (Role::Assistant, Some(_)) => optional_marker(self.encoder, CALL),
            _ => Ok(self.markers.end),
        }
    }
}
