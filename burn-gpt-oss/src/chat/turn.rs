use super::encoder::{CALL, CHANNEL, END, HarmonyDecoder, MESSAGE, RETURN, START};
use super::header::{Begun, Header, Unframed};

/// Tokens after which a header without `<|message|>` is taken for text.
const LONGEST_HEADER: usize = 48;

/// Follows what a model generates after `<|start|>assistant`, token by token, up to the end of its
/// turn. Accepts every sequence.
#[derive(Debug)]
pub(crate) struct Turn<'a, D: ?Sized> {
    decoder: &'a D,
    markers: Markers,
    state: State,
    finished: bool,
}

/// What a token is within a turn.
#[derive(Debug)]
pub(crate) enum Step {
    /// A part of a header, or nothing.
    None,
    /// The end of a header: a message begins.
    Start(Header),
    /// A part of the message that has begun.
    Content,
    /// The end of the message.
    End,
    /// The end of text that no `<|message|>` made a message of.
    Unframed(Unframed),
    /// The beginning of such text; its end is not in sight.
    UnframedStart(Unframed),
}

#[derive(Debug)]
enum State {
    /// Between the stop token of a message and the next `<|start|>`.
    Between,
    /// In the header, of which these are the tokens so far.
    Header {
        tokens: Vec<u32>,
        begun: Begun,
    },
    Content,
}

/// The special tokens that delimit messages, those present.
#[derive(Debug)]
struct Markers {
    start: Option<u32>,
    message: Option<u32>,
    channel: Option<u32>,
    end: Option<u32>,
    turn_ends: Vec<u32>,
}

impl<'a, D: HarmonyDecoder + ?Sized> Turn<'a, D> {
    pub(crate) fn new(decoder: &'a D) -> Self {
        let special = |text| decoder.special_token(text);
        let turn_ends = [RETURN, CALL].into_iter().filter_map(special);
        Self {
            decoder,
            markers: Markers {
                start: special(START),
                message: special(MESSAGE),
                channel: special(CHANNEL),
                end: special(END),
                turn_ends: turn_ends.collect(),
            },
            state: State::Header {
                tokens: Vec::new(),
                begun: Begun::ByPrompt,
            },
            finished: false,
        }
    }

    /// Ends the turn at these tokens, too.
    pub(crate) fn add_turn_ends(&mut self, tokens: &[u32]) {
        self.markers.turn_ends.extend(tokens);
    }

    /// Whether a token has ended the turn. Later tokens belong to nothing.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    pub(crate) fn step(&mut self, token: u32) -> Step {
        if self.finished {
            return Step::None;
        }
        let id = Some(token);
        self.finished = self.markers.turn_ends.contains(&token);
        if self.finished || id == self.markers.end {
            return self.leave(State::Between);
        }
        // No text spells a marker: within a content it begins a message whose stop token is missing.
        if id == self.markers.start {
            return self.leave(header(Vec::new(), Begun::ByStart));
        }
        if matches!(self.state, State::Content) {
            return match id == self.markers.channel {
                true => self.leave(header(vec![token], Begun::WithoutStart)),
                false => Step::Content,
            };
        }
        match &mut self.state {
            State::Header { tokens, begun } if id == self.markers.message => {
                let header = Header::read(tokens, *begun, self.decoder);
                self.state = State::Content;
                Step::Start(header)
            }
            State::Header { tokens, begun } => {
                tokens.push(token);
                let is_long = tokens.len() >= LONGEST_HEADER;
                // A character that is not whole yet would be lost in two halves.
                let broken = is_long && self.decoder.decode(tokens).ends_with('\u{fffd}');
                if !is_long || broken && tokens.len() < 2 * LONGEST_HEADER {
                    return Step::None;
                }
                let Some(text) = Unframed::read(tokens, *begun, self.decoder) else {
                    // White space alone; what follows may still be a header.
                    tokens.clear();
                    return Step::None;
                };
                self.state = State::Content;
                Step::UnframedStart(text)
            }
            State::Between | State::Content => {
                self.state = header(vec![token], Begun::WithoutStart);
                // A lone `<|message|>` is a header without channel.
                match id == self.markers.message {
                    true => {
                        self.state = State::Content;
                        Step::Start(Header::read(&[], Begun::WithoutStart, self.decoder))
                    }
                    false => Step::None,
                }
            }
        }
    }

    /// What the end of the tokens leaves of a header.
    pub(crate) fn finish(&mut self) -> Step {
        match self.state {
            State::Header { .. } => self.leave(State::Between),
            State::Between | State::Content => Step::None,
        }
    }

    fn leave(&mut self, next: State) -> Step {
        match std::mem::replace(&mut self.state, next) {
            State::Content => Step::End,
            State::Header { tokens, begun } => {
                let text = Unframed::read(&tokens, begun, self.decoder);
                text.map_or(Step::None, Step::Unframed)
            }
            State::Between => Step::None,
        }
    }
}

fn header(tokens: Vec<u32>, begun: Begun) -> State {
    State::Header { tokens, begun }
}
