//! A text that goes on.

use burn_gpt_oss::{Event, Finish, RequestToken, StopStrings, TextStream, Tokenizer};

use crate::answer::without_details;
use crate::engine::Ticket;
use crate::error::ApiError;
use crate::tokens::{Held, TokenInfo};

/// A text that is generated.
pub struct Text {
    ticket: Option<Ticket>,
    tokenizer: &'static Tokenizer,
    stream: TextStream<'static>,
    stop: StopStrings,
    held: Held,
    echo: Option<String>,
    finish: Option<Finish>,
    pub n_tokens: usize,
    pub cached: usize,
}

impl Text {
    pub fn new(
        ticket: Ticket,
        tokenizer: &'static Tokenizer,
        stop: StopStrings,
        echo: Option<String>,
    ) -> Self {
        Self {
            ticket: Some(ticket),
            tokenizer,
            stream: TextStream::new(tokenizer),
            stop,
            held: Held::default(),
            echo,
            finish: None,
            n_tokens: 0,
            cached: 0,
        }
    }

    /// More of it, with the tokens that are complete with it.
    pub async fn next(&mut self) -> Result<Option<(String, Vec<TokenInfo>)>, ApiError> {
        if let Some(echo) = self.echo.take() {
            return Ok(Some((echo, Vec::new())));
        }
        loop {
            let Some(ticket) = &mut self.ticket else {
                return Ok(None);
            };
            match ticket.events.recv().await {
                Some(Event::Started { cached_tokens }) => self.cached = cached_tokens,
                Some(Event::Token(token)) => return Ok(Some(self.read(&token))),
                Some(Event::TimedOut) => return Err(ApiError::timeout()),
                Some(Event::Failed(message)) => {
                    return Err(ApiError::internal(without_details(&message)));
                }
                None => return Err(ApiError::internal("The generation ended early.")),
            }
        }
    }

    fn read(&mut self, token: &RequestToken) -> (String, Vec<TokenInfo>) {
        self.n_tokens += 1;
        self.finish = token.finish;
        let mut text = String::new();
        if token.finish != Some(Finish::StopToken) {
            text = self.stream.push(token.token);
            if let Some(info) = TokenInfo::of(token, self.tokenizer) {
                self.held.push(info);
            }
        }
        if token.finish.is_some() {
            text.push_str(&self.stream.finish());
        }
        let pushed = self.stop.push(&text);
        let mut shown = pushed.shown;
        if pushed.stopped {
            self.finish = Some(Finish::Ended);
        } else if token.finish.is_some() {
            shown.push_str(&self.stop.finish());
        }
        if self.finish.is_some() {
            // Dropping it ends the generation.
            self.ticket = None;
        }
        let tokens = self.held.told(&shown);
        (shown, tokens)
    }

    pub fn reason(&self) -> &'static str {
        match self.finish {
            Some(Finish::Length) => "length",
            _ => "stop",
        }
    }
}
