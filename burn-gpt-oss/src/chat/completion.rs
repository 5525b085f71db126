#[cfg(test)]
mod tests;

use super::encoder::HarmonyDecoder;
use super::header::{CompletionPart, Header, Unframed};
use super::tool::ToolCall;
use super::turn::{Step, Turn};

/// What a model answered to a prompt of [`render_completion`](crate::render_completion).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Completion {
    /// The reasoning: messages in channel `analysis`, joined by a newline.
    pub thinking: Option<String>,
    /// What the person is told before tools are called: messages in channel `commentary`, joined by a
    /// newline.
    pub preamble: Option<String>,
    /// The answer: messages in channel `final` or without channel, joined by a newline.
    pub content: Option<String>,
    /// The calls of tools.
    pub tool_calls: Vec<ToolCall>,
    /// Whether the model ended its turn, usually with `<|return|>` or `<|call|>`.
    pub finished: bool,
}

/// Reads what a model generated after `<|start|>assistant`, up to the end of its turn.
///
/// Accepts every token sequence: a message that breaks off is kept as far as it goes, and what models do
/// wrong is mended where it can be: no `<|message|>` behind a channel, no stop token before the next
/// message, the name of a tool behind the channel or in its place. Unknown channels, messages in the name
/// of other roles and text that is no message are left out;
/// [`CompletionStream`](crate::CompletionStream) tells them, too.
pub fn parse_completion<D: HarmonyDecoder + ?Sized>(tokens: &[u32], decoder: &D) -> Completion {
    parse_completion_until(tokens, decoder, &[])
}

/// As [`parse_completion`], for a generation that also ends at other tokens, such as those that
/// `eos_token_id` of `generation_config.json` lists.
pub fn parse_completion_until<D: HarmonyDecoder + ?Sized>(
    tokens: &[u32],
    decoder: &D,
    stop_tokens: &[u32],
) -> Completion {
    let mut completion = Completion::default();
    let mut turn = Turn::new(decoder);
    turn.add_turn_ends(stop_tokens);
    let mut open: Option<Open> = None;
    for &token in tokens {
        match turn.step(token) {
            Step::Start(header) => open = Some(header.into()),
            Step::UnframedStart(text) => open = Some(text.into()),
            Step::Unframed(text) => completion.add(text.into(), decoder),
            Step::Content => open.iter_mut().for_each(|open| open.tokens.push(token)),
            Step::End => open
                .take()
                .into_iter()
                .for_each(|open| completion.add(open, decoder)),
            Step::None => {}
        }
    }
    if let Step::Unframed(text) = turn.finish() {
        open = Some(text.into());
    }
    // A call that breaks off is none: its arguments are not all there.
    if let Some(open) = open.filter(|open| open.part != CompletionPart::Call) {
        completion.add(open, decoder);
    }
    completion.finished = turn.is_finished();
    completion
}

/// A message whose end is not read yet.
struct Open {
    part: CompletionPart,
    recipient: Option<String>,
    /// Text that stood where a header was expected.
    before: String,
    tokens: Vec<u32>,
}

impl From<Header> for Open {
    fn from(header: Header) -> Self {
        Self {
            part: header.part,
            recipient: header.recipient,
            before: String::new(),
            tokens: Vec::new(),
        }
    }
}

impl From<Unframed> for Open {
    fn from(text: Unframed) -> Self {
        Self {
            part: text.part(),
            recipient: text.recipient,
            before: text.text,
            tokens: Vec::new(),
        }
    }
}

impl Completion {
    fn add<D: HarmonyDecoder + ?Sized>(&mut self, message: Open, decoder: &D) {
        let text = message.before + &decoder.decode(&message.tokens);
        let target = match message.part {
            CompletionPart::Thinking => &mut self.thinking,
            CompletionPart::Preamble => &mut self.preamble,
            CompletionPart::Answer => &mut self.content,
            CompletionPart::Call => {
                let recipient = message.recipient.unwrap_or_default();
                self.tool_calls.push(ToolCall::generated(&recipient, &text));
                return;
            }
            CompletionPart::Other => return,
        };
        match target {
            Some(earlier) => {
                earlier.push('\n');
                earlier.push_str(&text);
            }
            None => *target = Some(text),
        }
    }
}
