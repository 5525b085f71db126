use super::encoder::{CALL, END, HarmonyDecoder, MESSAGE, RETURN, START};
use super::header::Header;

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
}

#[derive(Debug)]
enum State {
    /// Between the stop token of a message and the next `<|start|>`.
    Between,
    /// In the header, of which these are the tokens so far.
    Header {
        tokens: Vec<u32>,
        role_is_given: bool,
    },
    Content,
}

/// The special tokens that delimit messages, those present.
#[derive(Debug)]
struct Markers {
    start: Option<u32>,
    message: Option<u32>,
    end: Option<u32>,
    turn_ends: [Option<u32>; 2],
}

impl<'a, D: HarmonyDecoder + ?Sized> Turn<'a, D> {
    pub(crate) fn new(decoder: &'a D) -> Self {
        let special = |text| decoder.special_token(text);
        Self {
            decoder,
            markers: Markers {
                start: special(START),
                message: special(MESSAGE),
                end: special(END),
                turn_ends: [RETURN, CALL].map(special),
            },
            state: State::Header {
                tokens: Vec::new(),
                role_is_given: true,
            },
            finished: false,
        }
    }

    /// Whether `<|return|>` or `<|call|>` has ended the turn. Later tokens belong to nothing.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    pub(crate) fn step(&mut self, token: u32) -> Step {
        if self.finished {
            return Step::None;
        }
        let id = Some(token);
        self.finished = self.markers.turn_ends.contains(&id);
        if self.finished || id == self.markers.end {
            return match std::mem::replace(&mut self.state, State::Between) {
                State::Content => Step::End,
                State::Header { .. } | State::Between => Step::None,
            };
        }
        match &mut self.state {
            State::Content => return Step::Content,
            _ if id == self.markers.start => {
                self.state = State::Header {
                    tokens: Vec::new(),
                    role_is_given: false,
                };
            }
            State::Header {
                tokens,
                role_is_given,
            } if id == self.markers.message => {
                let header = Header::read(tokens, *role_is_given, self.decoder);
                self.state = State::Content;
                return Step::Start(header);
            }
            State::Header { tokens, .. } => tokens.push(token),
            State::Between => {}
        }
        Step::None
    }
}
