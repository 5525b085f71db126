#[cfg(test)]
mod tests;

use super::header::{CompletionPart, Unframed};
use super::tool::ToolCall;
use super::turn::{Step, Turn};
use crate::text_stream::TextStream;
use crate::tokenizer::Tokenizer;

/// Parses what a model generates after `<|start|>assistant`, token by token: for a terminal, or for a
/// program that passes the text on.
///
/// Accepts every token sequence and gives the same texts as
/// [`parse_completion`](crate::parse_completion): the messages of one part, joined by newlines, are the
/// text of that part. Text that does not follow the format (no `<|message|>`, no header at all) becomes a
/// message that is not `well_formed`, of the part that its channel says or [`CompletionPart::Other`], so no
/// text of the model is lost.
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
///             CompletionEvent::Call(call) => println!("{}({})", call.name, call.arguments),
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
    /// The recipient of the call that is being read, and its text so far.
    call: Option<(String, String)>,
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
    /// The message was a call of a tool, and its text is complete: [`End`](Self::End) follows.
    Call(ToolCall),
    /// The message ends with `<|end|>` or the end of the turn. One that breaks off has no end.
    End,
}

impl<'a> CompletionStream<'a> {
    /// A stream at the beginning of a completion.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self {
            turn: Turn::new(tokenizer),
            text: TextStream::new(tokenizer),
            call: None,
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
            Step::Content => {
                let text = self.text.push(token);
                self.texts(text)
            }
            step => self.events(step),
        }
    }

    /// Ends the stream after a generation that breaks off. Returns U+FFFD as text if a character is
    /// incomplete, and text that belongs to no message; otherwise nothing.
    pub fn finish(&mut self) -> Vec<CompletionEvent> {
        let text = self.text.finish();
        let mut events = self.texts(text);
        // A call that breaks off is none: its arguments are not all there.
        if let Step::Unframed(unframed) = self.turn.finish() {
            events.extend(whole(unframed));
        }
        events
    }

    fn texts(&mut self, text: String) -> Vec<CompletionEvent> {
        if let Some((_, call)) = &mut self.call {
            call.push_str(&text);
        }
        texts(text)
    }

    fn open(&mut self, part: CompletionPart, recipient: Option<&str>, text: &str) {
        let recipient = recipient.filter(|_| part == CompletionPart::Call);
        self.call = recipient.map(|recipient| (recipient.to_owned(), text.to_owned()));
    }

    fn end(&mut self) -> Vec<CompletionEvent> {
        let call = self.call.take();
        let call = call.map(|(recipient, text)| ToolCall::generated(&recipient, &text));
        let mut events: Vec<_> = call.into_iter().map(CompletionEvent::Call).collect();
        events.push(CompletionEvent::End);
        events
    }

    fn events(&mut self, step: Step) -> Vec<CompletionEvent> {
        match step {
            Step::None | Step::Content => Vec::new(),
            Step::Start(header) => {
                self.open(header.part, header.recipient.as_deref(), "");
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
            Step::UnframedStart(unframed) => {
                self.open(
                    unframed.part(),
                    unframed.recipient.as_deref(),
                    &unframed.text,
                );
                begun(unframed)
            }
            Step::Unframed(unframed) => {
                self.open(
                    unframed.part(),
                    unframed.recipient.as_deref(),
                    &unframed.text,
                );
                let mut events = begun(unframed);
                events.extend(self.end());
                events
            }
            Step::End => {
                let text = self.text.finish();
                let mut events = self.texts(text);
                events.extend(self.end());
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
        part: unframed.part(),
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
