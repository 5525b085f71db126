//! One answer: generated, shown while it comes, measured.

use std::time::{Duration, Instant};

use anyhow::Result;
use burn_gpt_oss::{
    CompletionEvent, CompletionPart, CompletionStream, Finish, Generation, Step, StopStrings,
    Tokenizer,
};

use crate::screen::Screen;

/// An answer and how long it took.
#[derive(Default)]
pub struct Answer {
    pub thinking: String,
    pub content: String,
    pub n_tokens: usize,
    pub finish: Option<Finish>,
    /// Whether a stop string ended it.
    pub stopped: bool,
    first: Option<Duration>,
    total: Duration,
}

impl Answer {
    /// Runs a generation to its end, or until `cancelled` says so.
    pub fn of(
        mut generation: Generation<'_>,
        tokenizer: &Tokenizer,
        stop: StopStrings,
        screen: &mut Screen,
        cancelled: impl Fn() -> bool,
    ) -> Result<Self> {
        let start = Instant::now();
        let mut answer = Self::default();
        let mut reader = Reader {
            stream: CompletionStream::new(tokenizer),
            part: CompletionPart::Other,
            stop,
        };
        while !cancelled() && !answer.stopped && screen.check().is_ok() {
            let Some(step) = generation.step()? else {
                break;
            };
            match step {
                Step::Prefill { done, total } => screen.progress(done, total),
                Step::Tokens(tokens) => {
                    answer.first.get_or_insert_with(|| start.elapsed());
                    for new in tokens {
                        answer.n_tokens += 1;
                        answer.finish = new.finish;
                        let events = reader.stream.push(new.token);
                        reader.read(events, &mut answer, screen);
                    }
                }
            }
        }
        if !answer.stopped {
            let events = reader.stream.finish();
            reader.read(events, &mut answer, screen);
            reader.release(&mut answer, screen);
        }
        answer.total = start.elapsed();
        screen.end();
        Ok(answer)
    }

    /// Tokens per second after the first one, and the seconds before it.
    pub fn speed(&self) -> (f64, f64) {
        let first = self.first.unwrap_or_default();
        let rest = (self.total - first).as_secs_f64();
        let n_rest = self.n_tokens.saturating_sub(1) as f64;
        let rate = if rest > 0.0 { n_rest / rest } else { 0.0 };
        (rate, first.as_secs_f64())
    }

    /// Whether it can be a turn of a conversation.
    pub fn is_kept(&self) -> bool {
        !self.content.is_empty()
    }

    pub fn ending(&self) -> &'static str {
        match self.finish {
            _ if self.stopped => "stop string",
            Some(Finish::StopToken) => "stop token",
            Some(Finish::Length) => "length",
            Some(Finish::Ended) | None => "cancelled",
        }
    }

    /// Messages of one part are lines.
    fn begin(&mut self, part: CompletionPart) {
        let text = match part {
            CompletionPart::Thinking => &mut self.thinking,
            CompletionPart::Answer => &mut self.content,
            CompletionPart::Other => return,
        };
        if !text.is_empty() {
            text.push('\n');
        }
    }

    fn add(&mut self, part: CompletionPart, text: &str, screen: &mut Screen) {
        match part {
            CompletionPart::Thinking => self.thinking.push_str(text),
            CompletionPart::Answer => self.content.push_str(text),
            CompletionPart::Other => {}
        }
        screen.text(text);
    }
}

/// Tokens to the parts of an answer.
struct Reader<'a> {
    stream: CompletionStream<'a>,
    part: CompletionPart,
    stop: StopStrings,
}

impl Reader<'_> {
    fn read(&mut self, events: Vec<CompletionEvent>, answer: &mut Answer, screen: &mut Screen) {
        for event in events {
            match event {
                CompletionEvent::Start {
                    part,
                    channel,
                    recipient,
                } => {
                    self.release(answer, screen);
                    answer.begin(part);
                    self.part = part;
                    screen.start(part, channel.as_deref(), recipient.as_deref());
                }
                // Stop strings are about the answer; thinking may mention them.
                CompletionEvent::Text(text) if self.part == CompletionPart::Answer => {
                    let pushed = self.stop.push(&text);
                    answer.add(self.part, &pushed.shown, screen);
                    answer.stopped |= pushed.stopped;
                }
                CompletionEvent::Text(text) => answer.add(self.part, &text, screen),
                CompletionEvent::End => {
                    self.release(answer, screen);
                    screen.end();
                }
            }
        }
    }

    /// What might have become a stop string in this message.
    fn release(&mut self, answer: &mut Answer, screen: &mut Screen) {
        let held = self.stop.finish();
        answer.add(self.part, &held, screen);
    }
}
