//! Tokens of the model as what clients see: reasoning, text, calls of functions.

use burn_gpt_oss::{
    CompletionEvent, CompletionPart, CompletionStream, Event, Finish, RequestToken, StopStrings,
    Tokenizer,
};

use crate::engine::Ticket;
use crate::error::ApiError;
use crate::tokens::{Held, TokenInfo};

/// What a part of an answer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Reasoning,
    /// What the person is told before a function is called.
    Preamble,
    Answer,
    Call {
        name: String,
    },
}

/// A piece of an answer.
#[derive(Clone, Debug)]
pub enum Piece {
    Start(Kind),
    /// Text, and the tokens that are complete with it where their probabilities were asked for.
    Text(String, Vec<TokenInfo>),
    End,
}

/// What the answer took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub prompt: usize,
    pub cached: usize,
    pub completion: usize,
    pub reasoning: usize,
}

/// Reads an answer while it is generated.
pub struct Answer {
    /// From the request to the first token.
    pub first_token: Option<std::time::Duration>,
    ticket: Option<Ticket>,
    stream: CompletionStream<'static>,
    tokenizer: &'static Tokenizer,
    stop: StopStrings,
    kind: Option<Kind>,
    /// Whether functions were offered: without any, a call is text.
    has_tools: bool,
    held: Held,
    /// The token that is being read.
    current: Option<TokenInfo>,
    finish: Option<Finish>,
    pub calls: usize,
    pub usage: Usage,
}

impl Answer {
    pub fn new(
        ticket: Ticket,
        tokenizer: &'static Tokenizer,
        stop_tokens: &[u32],
        stop: StopStrings,
        (prompt, has_tools): (usize, bool),
    ) -> Self {
        Self {
            first_token: None,
            ticket: Some(ticket),
            stream: CompletionStream::new(tokenizer).with_stop_tokens(stop_tokens),
            tokenizer,
            stop,
            kind: None,
            has_tools,
            held: Held::default(),
            current: None,
            finish: None,
            calls: 0,
            usage: Usage {
                prompt,
                ..Usage::default()
            },
        }
    }

    /// The next pieces; none at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<Piece>>, ApiError> {
        loop {
            let Some(ticket) = &mut self.ticket else {
                return Ok(None);
            };
            let event = ticket.events.recv().await;
            let pieces = match event {
                Some(Event::Started { cached_tokens }) => {
                    self.usage.cached = cached_tokens;
                    continue;
                }
                Some(Event::Token(token)) => self.push(&token),
                Some(Event::TimedOut) => return Err(ApiError::timeout()),
                Some(Event::Failed(message)) => {
                    return Err(ApiError::internal(without_details(&message)));
                }
                None => return Err(ApiError::internal("The generation ended early.")),
            };
            if !pieces.is_empty() || self.ticket.is_none() {
                return Ok(Some(pieces));
            }
        }
    }

    /// Why it ended, in the words of chat completions.
    pub fn finish_reason(&self) -> &'static str {
        match self.finish {
            Some(Finish::Length) => "length",
            _ if self.calls > 0 => "tool_calls",
            _ => "stop",
        }
    }

    fn push(&mut self, token: &RequestToken) -> Vec<Piece> {
        if let Some(ticket) = &self.ticket {
            self.first_token
                .get_or_insert_with(|| ticket.submitted.elapsed());
        }
        self.usage.completion += 1;
        self.usage.reasoning += usize::from(self.kind == Some(Kind::Reasoning));
        self.current = TokenInfo::of(token, self.tokenizer);
        let mut pieces = Vec::new();
        for event in self.stream.push(token.token) {
            self.read(event, &mut pieces);
        }
        // Its text comes with a later one, unless it ended a header.
        let is_header = pieces.iter().any(|piece| matches!(piece, Piece::Start(_)));
        if let Some(current) = self.current.take()
            && self.is_visible()
            && !is_header
        {
            self.held.push(current);
        }
        if token.finish.is_some() && self.ticket.is_some() {
            self.finish = token.finish;
            for event in self.stream.finish() {
                self.read(event, &mut pieces);
            }
            self.release(&mut pieces);
            // A message that is cut off has no end.
            if token.finish != Some(Finish::Length) {
                self.close(&mut pieces);
            }
            self.ticket = None;
        }
        pieces
    }

    fn is_visible(&self) -> bool {
        matches!(self.kind, Some(Kind::Answer | Kind::Preamble))
    }

    fn read(&mut self, event: CompletionEvent, pieces: &mut Vec<Piece>) {
        if self.ticket.is_none() {
            return;
        }
        match event {
            CompletionEvent::Start {
                part, recipient, ..
            } => {
                self.close(pieces);
                let kind = self.kind_of(part, recipient.as_deref());
                self.kind = Some(kind.clone());
                pieces.push(Piece::Start(kind));
            }
            CompletionEvent::Text(text) => match self.kind {
                Some(Kind::Answer) => {
                    let pushed = self.stop.push(&text);
                    if let Some(current) = self.current.take() {
                        self.held.push(current);
                    }
                    self.show(pushed.shown, pieces);
                    if pushed.stopped {
                        self.finish = Some(Finish::Ended);
                        self.held.clear();
                        pieces.push(Piece::End);
                        self.kind = None;
                        // Dropping it ends the generation.
                        self.ticket = None;
                    }
                }
                _ => self.show(text, pieces),
            },
            CompletionEvent::Call(_) => self.calls += usize::from(self.has_tools),
            CompletionEvent::End => self.close(pieces),
        }
    }

    fn kind_of(&self, part: CompletionPart, recipient: Option<&str>) -> Kind {
        match (part, recipient) {
            (CompletionPart::Thinking, _) => Kind::Reasoning,
            (CompletionPart::Preamble, _) => Kind::Preamble,
            (CompletionPart::Call, Some(recipient)) if self.has_tools => Kind::Call {
                name: recipient
                    .strip_prefix("functions.")
                    .unwrap_or(recipient)
                    .to_owned(),
            },
            // Text that follows no format is text all the same.
            _ => Kind::Answer,
        }
    }

    /// Shows what might have become a stop string.
    fn release(&mut self, pieces: &mut Vec<Piece>) {
        if self.kind == Some(Kind::Answer) {
            let rest = self.stop.finish();
            self.show(rest, pieces);
        }
    }

    /// Ends the open message.
    fn close(&mut self, pieces: &mut Vec<Piece>) {
        self.release(pieces);
        if self.kind.take().is_some() {
            pieces.push(Piece::End);
        }
        self.held.clear();
    }

    fn show(&mut self, text: String, pieces: &mut Vec<Piece>) {
        if text.is_empty() {
            return;
        }
        if let Some(current) = self.current.take().filter(|_| self.is_visible()) {
            self.held.push(current);
        }
        let complete = self.held.told(&text);
        pieces.push(Piece::Text(text, complete));
    }
}

/// What failed is for the log; the client learns that it did.
pub fn without_details(message: &str) -> &'static str {
    crate::terminal::warn(format_args!("a generation failed: {message}"));
    "The generation failed."
}
