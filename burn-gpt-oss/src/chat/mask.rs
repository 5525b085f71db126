use serde::{Deserialize, Serialize};

use super::message::Role;
use super::span::MessageSpan;

/// Which tokens of a rendered conversation are trained.
///
/// The trained part of an assistant message is everything after `<|start|>assistant` up to and
/// including its stop token: the rest of the header, the content, and `<|end|>`, `<|return|>` or
/// `<|call|>`. Masks mark targets, that is the tokens to be predicted, before any shift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossMask {
    /// As [`Assistant`](Self::Assistant), and `<|start|>assistant` of an assistant message that
    /// follows another one: there the model itself must emit these tokens to go on from its reasoning
    /// to its answer.
    #[default]
    AssistantWithInnerStarts,
    /// The trained part of every assistant message.
    Assistant,
    /// The trained part of assistant messages in channel `final`.
    FinalOnly,
    /// The trained part of assistant messages after the last user message; tool results do not end
    /// the turn. All assistant messages if there is no user message.
    LastTurn,
    /// Every token, as TRL does for conversational data unless told otherwise.
    All,
}

impl LossMask {
    /// One flag per token, `true` where the token is a training target.
    pub(crate) fn flags(self, spans: &[MessageSpan], n_tokens: usize) -> Vec<bool> {
        if self == Self::All {
            return vec![true; n_tokens];
        }
        let mut flags = vec![false; n_tokens];
        let last_user = spans.iter().rposition(|span| span.role == Role::User);
        for (index, span) in spans.iter().enumerate() {
            if span.role != Role::Assistant || !self.selects(span, index, last_user) {
                continue;
            }
            let follows_assistant = index > 0 && spans[index - 1].role == Role::Assistant;
            let start = match self {
                Self::AssistantWithInnerStarts if follows_assistant => span.tokens.start,
                _ => span.head.end,
            };
            flags[start..span.tokens.end].fill(true);
        }
        flags
    }

    fn selects(self, span: &MessageSpan, index: usize, last_user: Option<usize>) -> bool {
        match self {
            Self::FinalOnly => span.channel.as_deref() == Some("final"),
            Self::LastTurn => last_user.is_none_or(|user| index > user),
            Self::AssistantWithInnerStarts | Self::Assistant | Self::All => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_snake_case() {
        let name = serde_json::to_string(&LossMask::default()).unwrap();
        assert_eq!(name, r#""assistant_with_inner_starts""#);
        assert_eq!(
            serde_json::from_str::<LossMask>(r#""last_turn""#).unwrap(),
            LossMask::LastTurn
        );
    }
}
