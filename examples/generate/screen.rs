//! What the user sees: the channels of an answer apart, the thinking dimmed, figures at the end.

use std::io::{IsTerminal, Write};

use burn_gpt_oss::CompletionPart;
use serde_json::json;

use crate::answer::Answer;

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
}

impl Screen {
    pub fn new(json: bool) -> Self {
        Self {
            json,
            colours: std::io::stdout().is_terminal(),
            open: false,
            progress: false,
        }
    }

    /// Invites the next line.
    pub fn invite(&self) {
        if std::io::stdin().is_terminal() {
            eprint!("\n> ");
        }
    }

    /// How much of a long prompt was read.
    pub fn progress(&mut self, done: usize, total: usize) {
        if std::io::stderr().is_terminal() && total > 256 {
            eprint!("\rreading the prompt: {done} of {total} tokens");
            self.progress = true;
        }
    }

    /// A message begins.
    pub fn start(&mut self, part: CompletionPart, channel: Option<&str>, recipient: Option<&str>) {
        let to = recipient.map_or(String::new(), |recipient| format!(" to {recipient}"));
        let heading = format!("[{}{to}]", channel.unwrap_or("message"));
        let style = if part == CompletionPart::Thinking {
            DIM
        } else {
            BOLD
        };
        let after = if part == CompletionPart::Thinking {
            DIM
        } else {
            ""
        };
        match self.colours {
            true => self.write(&format!("{style}{heading}{PLAIN}{after} ")),
            false => self.write(&format!("{heading} ")),
        }
    }

    pub fn text(&mut self, text: &str) {
        self.write(text);
    }

    /// A message or the whole answer ends.
    pub fn end(&mut self) {
        if self.open {
            self.write(if self.colours { "\x1b[0m\n" } else { "\n" });
            self.open = false;
        }
    }

    /// The figures of an answer.
    pub fn conclude(&self, prompt: &str, prompt_tokens: usize, answer: &Answer) {
        let (rate, first) = answer.speed();
        if self.json {
            let line = json!({
                "prompt": prompt,
                "thinking": answer.thinking,
                "content": answer.content,
                "finish": answer.ending(),
                "prompt_tokens": prompt_tokens,
                "new_tokens": answer.n_tokens,
                "seconds_to_first_token": first,
                "tokens_per_second": rate,
            });
            // A reader that is gone, as after `| head`, is no failure of the answer.
            let _ = writeln!(std::io::stdout(), "{line}");
            return;
        }
        let why = match answer.ending() {
            "length" => "; cut off by --max-new-tokens",
            "cancelled" => "; cancelled",
            _ => "",
        };
        let _ = writeln!(
            std::io::stderr(),
            "\n{prompt_tokens} + {} tokens, {rate:.1} tokens/s, first token after {first:.2} s{why}",
            answer.n_tokens
        );
    }

    fn write(&mut self, text: &str) {
        if self.json || text.is_empty() {
            return;
        }
        if std::mem::take(&mut self.progress) {
            eprint!("\r\x1b[K");
        }
        // A reader that is gone, as after `| head`, is no failure of the answer.
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        self.open = true;
    }
}
