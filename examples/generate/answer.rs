//! One answer: generated, shown while it comes, measured.

use std::time::{Duration, Instant};

use anyhow::Result;
use burn_gpt_oss::{
    CompletionEvent, CompletionPart, CompletionStream, Finish, Generation, Step, StopStrings,
    Tokenizer,
};
use serde::Serialize;

use crate::screen::Screen;

/// A message of an answer.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Said {
    #[serde(skip)]
    pub part: Option<CompletionPart>,
    /// Absent for the assistant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    pub channel: Option<String>,
    pub recipient: Option<String>,
    /// False for text that does not follow the format.
    pub well_formed: bool,
    pub text: String,
}

/// An answer and how long it took.
#[derive(Default)]
pub struct Answer {
    pub messages: Vec<Said>,
    /// All tokens as text, special ones in their spelling.
    pub raw: String,
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
        (tokenizer, stop_tokens): (&Tokenizer, &[u32]),
        stop: StopStrings,
        screen: &mut Screen,
        cancelled: impl Fn() -> bool,
    ) -> Result<Self> {
        let start = Instant::now();
        let (mut answer, mut tokens) = (Self::default(), Vec::new());
        let mut reader = Reader {
            stream: CompletionStream::new(tokenizer).with_stop_tokens(stop_tokens),
            part: CompletionPart::Other,
            stop,
        };
        while !cancelled() && !answer.stopped && screen.check().is_ok() {
            let Some(step) = generation.step()? else {
                break;
            };
            match step {
                Step::Prefill { done, total } => screen.progress(done, total),
                Step::Tokens(new) => {
                    answer.first.get_or_insert_with(|| start.elapsed());
                    for new in new {
                        answer.n_tokens += 1;
                        answer.finish = new.finish;
                        tokens.push(new.token);
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
        answer.raw = tokenizer.decode(&tokens);
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

    /// The reasoning; messages are lines.
    pub fn thinking(&self) -> String {
        self.texts(CompletionPart::Thinking)
    }

    /// The answer proper; messages are lines.
    pub fn content(&self) -> String {
        self.texts(CompletionPart::Answer)
    }

    fn texts(&self, part: CompletionPart) -> String {
        let of_part = self.messages.iter().filter(|said| said.part == Some(part));
        let texts: Vec<&str> = of_part.map(|said| said.text.as_str()).collect();
        texts.join("\n")
    }

    /// Whether it can be a turn of a conversation.
    pub fn is_kept(&self) -> bool {
        !self.content().is_empty()
    }

    pub fn ending(&self) -> &'static str {
        match self.finish {
            _ if self.stopped => "stop string",
            Some(Finish::StopToken) => "stop token",
            Some(Finish::Length) => "length",
            Some(Finish::Ended) | None => "cancelled",
        }
    }

    fn add(&mut self, text: &str, screen: &mut Screen) {
        if let Some(said) = self.messages.last_mut() {
            said.text.push_str(text);
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
                    role,
                    channel,
                    recipient,
                    well_formed,
                } => {
                    self.release(answer, screen);
                    self.part = part;
                    let said = Said {
                        part: Some(part),
                        role,
                        channel,
                        recipient,
                        well_formed,
                        text: String::new(),
                    };
                    screen.start(&said);
                    answer.messages.push(said);
                }
                // Stop strings are about the answer; thinking may mention them.
                CompletionEvent::Text(text) if self.part == CompletionPart::Answer => {
                    let pushed = self.stop.push(&text);
                    answer.add(&pushed.shown, screen);
                    answer.stopped |= pushed.stopped;
                }
                CompletionEvent::Text(text) => answer.add(&text, screen),
                // Its text was shown as it came; nothing is called here.
                CompletionEvent::Call(_) => {}
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
        answer.add(&held, screen);
    }
}
