use burn_gpt_oss::{
    AnalysisPolicy, Conversation, GptOssError, HarmonyEncoder, LossMask, Message, Role,
    SystemContent, render_completion, render_training,
};

use super::ChatRecord;
use crate::QatError;

/// How chat records become tokens.
#[derive(Clone, Debug)]
pub struct ChatFormat {
    /// The system block in front of every conversation, none to leave it out.
    pub system: Option<SystemContent>,
    /// Which tokens are trained.
    pub loss_mask: LossMask,
    /// Longest sequence in tokens; longer conversations are cut at the end.
    pub max_length: usize,
}

/// A conversation as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizedExample {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Which of them are training targets, same length.
    pub loss_mask: Vec<bool>,
}

impl TokenizedExample {
    /// Number of targets: the first token can never be one, nothing predicts it.
    pub fn n_targets(&self) -> usize {
        self.loss_mask
            .iter()
            .skip(1)
            .filter(|target| **target)
            .count()
    }
}

impl ChatFormat {
    /// Tokens and loss mask of a record; `None` if nothing of it is trained within `max_length`.
    ///
    /// # Errors
    /// A conversation that cannot be rendered.
    pub fn tokenize(
        &self,
        record: &ChatRecord,
        encoder: &impl HarmonyEncoder,
    ) -> Result<Option<TokenizedExample>, GptOssError> {
        let conversation = self.conversation(record.messages.clone())?;
        let policy = AnalysisPolicy::Keep;
        let rendered = render_training(&conversation, encoder, self.loss_mask, policy)?;
        let mut example = TokenizedExample {
            tokens: rendered.tokens,
            loss_mask: rendered.loss_mask,
        };
        example.tokens.truncate(self.max_length);
        example.loss_mask.truncate(self.max_length);
        Ok((example.n_targets() > 0).then_some(example))
    }

    /// Tokens of all records that have targets.
    ///
    /// # Errors
    /// The first record that cannot be rendered, by its line or number, or no usable record at all.
    pub fn tokenize_all(
        &self,
        records: &[ChatRecord],
        encoder: &impl HarmonyEncoder,
    ) -> Result<Vec<TokenizedExample>, QatError> {
        let mut examples = Vec::with_capacity(records.len());
        for (i, record) in records.iter().enumerate() {
            let example = self
                .tokenize(record, encoder)
                .map_err(|error| QatError::Dataset {
                    path: match record.line {
                        Some(line) => format!("dataset line {line}"),
                        None => format!("conversation {}", i + 1),
                    }
                    .into(),
                    message: error.to_string(),
                })?;
            examples.extend(example);
        }
        if examples.is_empty() {
            return Err(QatError::Setting {
                key: "max_length",
                expected: "room for at least one trained token of a conversation".into(),
                found: self.max_length.to_string(),
            });
        }
        Ok(examples)
    }

    /// The prompt of a record: everything before its last assistant message, and the start of the next
    /// one.
    ///
    /// # Errors
    /// A conversation that cannot be rendered.
    pub fn prompt(
        &self,
        record: &ChatRecord,
        encoder: &impl HarmonyEncoder,
    ) -> Result<Vec<u32>, GptOssError> {
        let is_answer = |message: &Message| message.role == Role::Assistant;
        let messages = &record.messages;
        let end = messages
            .iter()
            .rposition(is_answer)
            .unwrap_or(messages.len());
        let before = self.conversation(messages[..end].to_vec())?;
        render_completion(&before, encoder, AnalysisPolicy::Keep)
    }

    fn conversation(&self, messages: Vec<Message>) -> Result<Conversation, GptOssError> {
        Conversation::from_chat(messages, self.system.clone())
    }
}
