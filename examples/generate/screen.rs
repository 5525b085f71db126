//! What the user sees: the channels of an answer apart, the thinking dimmed, figures at the end.

use std::io::{IsTerminal, Write};

use burn_gpt_oss::CompletionPart;
use serde_json::{Value, json};

use crate::answer::{Answer, Said};
use crate::terminal::{fail, json_line, visible, warn};

const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// Standard output for the answer, standard error for everything about it.
pub struct Screen {
    json: bool,
    colours: bool,
    /// Whether a line is begun.
    open: bool,
    progress: bool,
    /// What went wrong with standard output.
    failure: Option<std::io::ErrorKind>,
}

impl Screen {
    pub fn new(json: bool) -> Self {
        Self {
            json,
            colours: std::io::stdout().is_terminal() && colours_wanted(),
            open: false,
            progress: false,
            failure: None,
        }
    }

    /// Fails once standard output has failed.
    pub fn check(&self) -> std::io::Result<()> {
        self.failure.map_or(Ok(()), |kind| Err(kind.into()))
    }

    /// Invites the next line.
    pub fn invite(&self) {
        if std::io::stdin().is_terminal() {
            self.aside("\n> ");
        }
    }

    /// How much of a long prompt was read.
    pub fn progress(&mut self, done: usize, total: usize) {
        if std::io::stderr().is_terminal() && total > 256 {
            self.aside(&format!("\rreading the prompt: {done} of {total} tokens"));
            self.progress = true;
        }
    }

    /// A message begins.
    pub fn start(&mut self, said: &Said) {
        let to = match &said.recipient {
            Some(recipient) => format!(" to {}", visible(recipient)),
            None => String::new(),
        };
        let channel = visible(said.channel.as_deref().unwrap_or("message"));
        let mark = if said.well_formed { "" } else { ", malformed" };
        let role = match &said.role {
            Some(role) => format!("{} in ", visible(role)),
            None => String::new(),
        };
        let heading = format!("[{role}{channel}{to}{mark}]");
        let thinking = said.part == Some(CompletionPart::Thinking);
        let style = if thinking { DIM } else { BOLD };
        let after = if thinking { DIM } else { "" };
        match self.colours {
            true => self.write(&format!("{style}{heading}{PLAIN}{after} ")),
            false => self.write(&format!("{heading} ")),
        }
    }

    pub fn text(&mut self, text: &str) {
        self.write(&visible(text));
    }

    /// A message or the whole answer ends.
    pub fn end(&mut self) {
        if self.open {
            self.write(if self.colours { "\x1b[0m\n" } else { "\n" });
            self.open = false;
        }
    }

    /// Why there is no answer.
    pub fn refuse(&mut self, prompt: &str, error: &anyhow::Error) {
        if self.json {
            let line = json!({"prompt": prompt, "error": format!("{error:#}")});
            self.output(&json_line(&line));
        } else {
            fail(error);
        }
    }

    /// The figures of an answer.
    pub fn conclude(&mut self, prompt: &str, prompt_tokens: usize, answer: &Answer) {
        let (rate, first) = answer.speed();
        self.clear_progress();
        if self.json {
            let line = json!({
                "prompt": prompt,
                "thinking": answer.thinking(),
                "content": answer.content(),
                "preambles": preambles(answer),
                "tool_calls": tool_calls(answer),
                "messages": answer.messages,
                "raw": answer.raw,
                "finish": answer.ending(),
                "kept": answer.is_kept(),
                "prompt_tokens": prompt_tokens,
                "new_tokens": answer.n_tokens,
                "seconds_to_first_token": first,
                "tokens_per_second": rate,
            });
            self.output(&json_line(&line));
            return;
        }
        let why = match answer.ending() {
            "length" => "; cut off by --max-new-tokens or the end of the context",
            "cancelled" => "; cancelled",
            _ => "",
        };
        let kept = match answer.is_kept() {
            true => "",
            false => "; without an answer, not remembered",
        };
        warn(format_args!(
            "\n{prompt_tokens} + {} tokens, {rate:.1} tokens/s, first token after {first:.2} s{why}{kept}",
            answer.n_tokens
        ));
    }

    /// Something on standard error that is no line; a failure there is none here.
    fn aside(&self, text: &str) {
        let mut err = std::io::stderr().lock();
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    }

    fn write(&mut self, text: &str) {
        if self.json || text.is_empty() {
            return;
        }
        self.clear_progress();
        self.output(text);
        self.open = true;
    }

    fn output(&mut self, text: &str) {
        let mut out = std::io::stdout().lock();
        if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            self.failure.get_or_insert(error.kind());
        }
    }

    fn clear_progress(&mut self) {
        if std::mem::take(&mut self.progress) {
            self.aside("\r\x1b[K");
        }
    }
}

/// What the model says to the user before it calls a tool.
fn preambles(answer: &Answer) -> Vec<&str> {
    let is_preamble =
        |said: &&Said| said.channel.as_deref() == Some("commentary") && said.recipient.is_none();
    let own = answer.messages.iter().filter(|said| said.well_formed);
    let preambles = own.filter(is_preamble);
    preambles.map(|said| said.text.as_str()).collect()
}

/// The calls, with the arguments as the model wrote them.
fn tool_calls(answer: &Answer) -> Vec<Value> {
    let call = |said: &Said| {
        let recipient = said.recipient.as_deref()?;
        let name = recipient.strip_prefix("functions.").unwrap_or(recipient);
        Some(json!({"recipient": recipient, "name": name, "arguments": said.text}))
    };
    answer.messages.iter().filter_map(call).collect()
}

/// See <https://no-color.org>.
fn colours_wanted() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|terminal| terminal != "dumb")
}
