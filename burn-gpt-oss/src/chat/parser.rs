//! The parser of openai-harmony, message by message; [`CompletionStream`](crate::CompletionStream) is the
//! one that makes something of every text.

mod content;
mod header;

use content::ContentText;
use header::read_header;

use super::encoder::{CALL, HarmonyDecoder, Markers, optional_marker};
use super::message::{Message, Role};
use crate::error::GptOssError;

/// What a parser does with a message that ends before `<|message|>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Strictness {
    /// It goes on reading a header, which will hardly be one.
    #[default]
    Strict,
    /// It takes the text for the content, if the role is known.
    Lenient,
}

/// What a parser expects next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParserState {
    /// `<|start|>`.
    Start,
    /// More of a header, up to `<|message|>`.
    Header,
    /// More of a content, up to a stop token.
    Content,
}

/// Reads harmony messages token by token as openai-harmony 0.0.8 does (`StreamableParser`): the same
/// messages, the same text after each token, an error at the same token.
#[derive(Debug)]
pub struct HarmonyParser<'a, D: ?Sized> {
    decoder: &'a D,
    start: u32,
    message: u32,
    stops: [u32; 3],
    strictness: Strictness,
    /// The role of the message that comes next, if the prompt says it.
    role: Option<Role>,
    state: State,
    messages: Vec<Message>,
    delta: Option<String>,
    n_tokens: usize,
}

#[derive(Debug)]
enum State {
    Start,
    Header(Vec<u32>),
    Content(Box<Message>, ContentText),
}

/// Reads all messages of `tokens`; `role` is that of the first one, if the prompt ends with it.
///
/// ```no_run
/// # use burn_gpt_oss::{GptOssError, Role, Strictness, Tokenizer, parse_messages};
/// # fn show(tokenizer: &Tokenizer, tokens: &[u32]) -> Result<(), GptOssError> {
/// for message in parse_messages(tokens, tokenizer, Some(Role::Assistant), Strictness::Lenient)? {
///     println!("{:?}: {}", message.channel, message.content.text());
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`GptOssError::Harmony`] at the first token that cannot stand where it does,
/// [`GptOssError::MissingSpecialTokens`].
pub fn parse_messages<D: HarmonyDecoder + ?Sized>(
    tokens: &[u32],
    decoder: &D,
    role: Option<Role>,
    strictness: Strictness,
) -> Result<Vec<Message>, GptOssError> {
    let mut parser = HarmonyParser::new(decoder, role, strictness)?;
    for &token in tokens {
        parser.push(token)?;
    }
    parser.finish()?;
    Ok(parser.messages)
}

impl<'a, D: HarmonyDecoder + ?Sized> HarmonyParser<'a, D> {
    /// A parser behind a prompt that ends with `role`; without one it expects `<|start|>`.
    ///
    /// # Errors
    /// [`GptOssError::MissingSpecialTokens`].
    pub fn new(
        decoder: &'a D,
        role: Option<Role>,
        strictness: Strictness,
    ) -> Result<Self, GptOssError> {
        let markers = Markers::resolve(decoder)?;
        Ok(Self {
            decoder,
            start: markers.start,
            message: markers.message,
            stops: [
                markers.turn_end,
                markers.end,
                optional_marker(decoder, CALL)?,
            ],
            strictness,
            role,
            state: match role {
                Some(_) => State::Header(Vec::new()),
                None => State::Start,
            },
            messages: Vec::new(),
            delta: None,
            n_tokens: 0,
        })
    }

    /// Reads one token.
    ///
    /// # Errors
    /// [`GptOssError::Harmony`] if it cannot stand here, or ends a header that cannot be read.
    pub fn push(&mut self, token: u32) -> Result<(), GptOssError> {
        let at = self.n_tokens;
        self.n_tokens += 1;
        let step = self.step(token);
        step.map_err(|reason| GptOssError::Harmony { token: at, reason })
    }

    fn step(&mut self, token: u32) -> Result<(), String> {
        let is_stop = self.stops.contains(&token);
        match &mut self.state {
            State::Start if token == self.start => self.state = State::Header(Vec::new()),
            State::Start => {
                return Err(format!("token {token} where `<|start|>` must stand"));
            }
            State::Header(tokens) if token == self.message => {
                let tokens = std::mem::take(tokens);
                self.state = State::Start;
                let (message, rest) = read_header(&self.decoded(&tokens)?, self.role, true)?;
                if let Some(rest) = rest {
                    return Err(format!("`{rest}` belongs to no part of the header"));
                }
                self.role = None;
                self.state = State::Content(Box::new(message), ContentText::default());
            }
            State::Header(tokens) if is_stop && self.strictness == Strictness::Lenient => {
                let tokens = tokens.clone();
                if self.role.is_some() && !tokens.is_empty() {
                    let (mut message, rest) =
                        read_header(&self.decoded(&tokens)?, self.role, false)?;
                    message.content = rest.unwrap_or_default().into();
                    self.messages.push(message);
                }
                self.state = State::Start;
                self.role = None;
            }
            State::Header(tokens) => tokens.push(token),
            State::Content(..) if is_stop => self.end_message(),
            State::Content(_, text) => self.delta = text.push(self.decoder.token_bytes(token)),
        }
        Ok(())
    }

    /// Ends the stream; a content that breaks off is a message.
    ///
    /// # Errors
    /// [`GptOssError::Harmony`] within a header.
    pub fn finish(&mut self) -> Result<(), GptOssError> {
        match &self.state {
            State::Start => {}
            State::Header(_) => {
                return Err(GptOssError::Harmony {
                    token: self.n_tokens,
                    reason: "the tokens end within a header".into(),
                });
            }
            State::Content(..) => self.end_message(),
        }
        Ok(())
    }

    fn end_message(&mut self) {
        if let State::Content(mut message, text) = std::mem::replace(&mut self.state, State::Start)
        {
            message.content = text.finish().into();
            self.messages.push(*message);
        }
        self.delta = None;
    }

    /// The messages that are complete.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// What is expected next.
    pub fn state(&self) -> ParserState {
        match self.state {
            State::Start => ParserState::Start,
            State::Header(_) => ParserState::Header,
            State::Content(..) => ParserState::Content,
        }
    }

    /// The text that the last token added to a content.
    pub fn delta(&self) -> Option<&str> {
        self.delta.as_deref()
    }

    /// The role of the message that is being read, or of the next one if the prompt says it.
    pub fn role(&self) -> Option<Role> {
        self.current()
            .map_or(self.role, |message| Some(message.role))
    }

    /// The headers of the message whose content is being read; its content is [`text`](Self::text).
    pub fn current(&self) -> Option<&Message> {
        match &self.state {
            State::Content(message, _) => Some(message),
            State::Start | State::Header(_) => None,
        }
    }

    /// The content that is being read, as far as its characters are whole.
    pub fn text(&self) -> &str {
        match &self.state {
            State::Content(_, text) => text.so_far(),
            State::Start | State::Header(_) => "",
        }
    }

    fn decoded(&self, tokens: &[u32]) -> Result<String, String> {
        let bytes: Option<Vec<Vec<u8>>> = tokens
            .iter()
            .map(|token| self.decoder.token_bytes(*token))
            .collect();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes.concat()).ok());
        text.ok_or_else(|| "the header is no text".to_owned())
    }
}
