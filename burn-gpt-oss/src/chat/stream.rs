#[cfg(test)]
mod tests;

use super::header::{CompletionPart, Unframed};
use super::turn::{Step, Turn};
use crate::text_stream::TextStream;
use crate::tokenizer::Tokenizer;

/// Parses what a model generates after `<|start|>assistant`, token by token: for a terminal, or for a
/// program that passes the text on.
///
/// Accepts every token sequence and gives the same texts as
/// [`parse_completion`](crate::parse_completion): the messages of one part, joined by newlines, are the
/// text of that part. Text that does not follow the format (no `<|message|>`, no header at all) becomes a
/// message of [`CompletionPart::Other`] that is not `well_formed`, so no text of the model is lost.
///
/// ```no_run
/// # use burn_gpt_oss::{CompletionEvent, CompletionPart, CompletionStream, Tokenizer};
/// # fn show(tokenizer: &Tokenizer, tokens: &[u32]) {
/// let mut stream = CompletionStream::new(tokenizer);
/// let mut shown = false;
/// for &token in tokens {
///     for event in stream.push(token) {
///         match event {
///             CompletionEvent::Start { part, .. } => shown = part == CompletionPart::Answer,
///             CompletionEvent::Text(text) if shown => print!("{text}"),
///             CompletionEvent::Text(_) | CompletionEvent::End => {}
///         }
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct CompletionStream<'a> {
    turn: Turn<'a, Tokenizer>,
    text: TextStream<'a>,
}

/// Something that a [`CompletionStream`] read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompletionEvent {
    /// A message begins; its header is complete.
    Start {
        /// What the message is to the reader.
        part: CompletionPart,
        /// The author, if it is not the assistant: a model may speak in the name of another role.
        role: Option<String>,
        /// The channel, such as `analysis`.
        channel: Option<String>,
        /// Whom the message is addressed to, such as `functions.get_weather`.
        recipient: Option<String>,
        /// False for text without `<|message|>`, for a header without `<|start|>`, for a header with extra
        /// words (a message before this one holds them), for another role, and for a channel that harmony
        /// does not have.
        well_formed: bool,
    },
    /// More of the message: whole characters, never empty.
    Text(String),
    /// The message ends with `<|end|>` or the end of the turn. One that breaks off has no end.
    End,
}

impl<'a> CompletionStream<'a> {
    /// A stream at the beginning of a completion.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self {
            turn: Turn::new(tokenizer),
            text: TextStream::new(tokenizer),
        }
    }

    /// Ends the turn at these tokens as at `<|return|>` and `<|call|>`: none of them is text.
    pub fn with_stop_tokens(mut self, tokens: &[u32]) -> Self {
        self.turn.add_turn_ends(tokens);
        self
    }

    /// The events that `token` completes: none within a header, within a character and after the end of
    /// the turn.
    pub fn push(&mut self, token: u32) -> Vec<CompletionEvent> {
        match self.turn.step(token) {
            Step::Content => texts(self.text.push(token)),
            step => self.events(step),
        }
    }

    /// Ends the stream after a generation that breaks off. Returns U+FFFD as text if a character is
    /// incomplete, and text that belongs to no message; otherwise nothing.
    pub fn finish(&mut self) -> Vec<CompletionEvent> {
        let mut events = texts(self.text.finish());
        let step = self.turn.finish();
        events.extend(self.events(step));
        events
    }

    fn events(&mut self, step: Step) -> Vec<CompletionEvent> {
        match step {
            Step::None | Step::Content => Vec::new(),
            Step::Start(header) => {
                let mut events = header.stray.map(whole).unwrap_or_default();
                events.push(CompletionEvent::Start {
                    part: header.part,
                    role: header.role,
                    channel: header.channel,
                    recipient: header.recipient,
                    well_formed: header.well_formed,
                });
                events
            }
            Step::UnframedStart(unframed) => begun(unframed),
            Step::Unframed(unframed) => whole(unframed),
            Step::End => {
                let mut events = texts(self.text.finish());
                events.push(CompletionEvent::End);
                events
            }
        }
    }

    /// Whether the model has ended its turn, usually with `<|return|>` or `<|call|>`.
    pub fn is_finished(&self) -> bool {
        self.turn.is_finished()
    }
}

fn whole(unframed: Unframed) -> Vec<CompletionEvent> {
    let mut events = begun(unframed);
    events.push(CompletionEvent::End);
    events
}

fn begun(unframed: Unframed) -> Vec<CompletionEvent> {
    let start = CompletionEvent::Start {
        part: CompletionPart::Other,
        role: None,
        channel: unframed.channel,
        recipient: unframed.recipient,
        well_formed: false,
    };
    let mut events = vec![start];
    events.extend(texts(unframed.text));
    events
}

fn texts(text: String) -> Vec<CompletionEvent> {
    let text = Some(text).filter(|text| !text.is_empty());
    text.into_iter().map(CompletionEvent::Text).collect()
}
