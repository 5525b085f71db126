use burn_gpt_oss::{
    GptOssError, HarmonyEncoder, LossMask, Message, RenderOptions, Role, SystemContent,
    render_completion, render_training,
};
use rayon::prelude::*;
use serde::Serialize;

use super::{ChatRecord, DataNotes};
use crate::error::QatError;
use crate::recipe::{DatasetSettings, SystemBlock};

/// How chat records become tokens.
#[derive(Clone, Debug, Serialize)]
pub struct ChatFormat {
    /// The system block in front of every conversation, none to leave it out.
    pub system: Option<SystemContent>,
    /// How conversations are rendered.
    pub rendering: RenderOptions,
    /// Which tokens are trained.
    pub loss_mask: LossMask,
    /// Longest sequence in tokens; longer conversations are cut at the end.
    pub max_length: usize,
}

impl Default for ChatFormat {
    /// What a recipe has where it says nothing: the published system block and chat template.
    fn default() -> Self {
        Self::new(&DatasetSettings::default())
    }
}

/// A conversation as tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TokenizedExample {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Which of them are training targets, same length.
    pub loss_mask: Vec<bool>,
    /// Where conversations begin behind the first one, if there are several in the row.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub starts: Vec<usize>,
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

/// A dataset as tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokenized {
    /// The conversations with targets, in order.
    pub examples: Vec<TokenizedExample>,
    /// The index of each among the records.
    pub indices: Vec<usize>,
    /// Which were cut or dropped.
    pub notes: DataNotes,
    /// Conversations with targets before they were cut.
    pub(super) n_trainable: usize,
}

impl ChatFormat {
    /// What the settings of a recipe say.
    pub fn new(settings: &DatasetSettings) -> Self {
        let date = settings.date.as_str();
        Self {
            system: match settings.system {
                SystemBlock::Published => Some(SystemContent::default().with_date(date)),
                SystemBlock::None => None,
            },
            rendering: settings.rendering(),
            loss_mask: settings.loss_mask,
            max_length: settings.max_length,
        }
    }

    /// Tokens and loss mask of a record, up to `max_length`; it may have no target.
    ///
    /// # Errors
    /// A conversation that cannot be rendered.
    pub fn tokenize(
        &self,
        record: &ChatRecord,
        encoder: &impl HarmonyEncoder,
    ) -> Result<TokenizedExample, GptOssError> {
        let mut example = self.render(record, encoder)?;
        example.tokens.truncate(self.max_length);
        example.loss_mask.truncate(self.max_length);
        Ok(example)
    }

    fn render(
        &self,
        record: &ChatRecord,
        encoder: &impl HarmonyEncoder,
    ) -> Result<TokenizedExample, GptOssError> {
        if let Some(text) = &record.text {
            return plain_text(text, record.untrained.is_empty(), encoder);
        }
        let conversation = record.conversation(record.messages.clone(), self.system.clone())?;
        let rendered = render_training(&conversation, encoder, self.loss_mask, self.rendering)?;
        let mut loss_mask = rendered.loss_mask;
        if record.untrained.len() == record.messages.len() {
            // The whole row, and with it what no message of its own is.
            loss_mask.fill(false);
        }
        for span in rendered.spans {
            let untrained = |index| record.untrained.binary_search(&index).is_ok();
            if span.message.is_some_and(untrained) {
                loss_mask[span.tokens].fill(false);
            }
        }
        Ok(TokenizedExample {
            tokens: rendered.tokens,
            loss_mask,
            starts: Vec::new(),
        })
    }

    /// Tokens of all records that have targets. Those that exceed `max_length` are cut at their end;
    /// those that have no target then are dropped. The notes count both.
    ///
    /// # Errors
    /// The first record that cannot be rendered, by its line or number, or no usable record at all.
    pub fn tokenize_all(
        &self,
        records: &[ChatRecord],
        encoder: &(impl HarmonyEncoder + Sync),
    ) -> Result<Tokenized, QatError> {
        let tokenized = self.tokenize_chunk(records, encoder)?;
        self.check_not_empty(&tokenized, records.len())?;
        Ok(tokenized)
    }

    /// As [`tokenize_all`](Self::tokenize_all), for a part of the records, which may give nothing.
    pub(super) fn tokenize_chunk(
        &self,
        records: &[ChatRecord],
        encoder: &(impl HarmonyEncoder + Sync),
    ) -> Result<Tokenized, QatError> {
        let mut tokenized = Tokenized::default();
        // The first error by number, however the records are shared out.
        let rendered: Vec<_> = records
            .par_iter()
            .map(|record| self.render(record, encoder))
            .collect();
        for (i, (record, example)) in records.iter().zip(rendered).enumerate() {
            let example = example.map_err(|error| QatError::Dataset {
                path: match record.line {
                    Some(line) => format!("dataset line {line}"),
                    None => format!("conversation {}", i + 1),
                }
                .into(),
                message: error.to_string(),
            })?;
            if self.system.is_none() && record.speaks_of_system() {
                let text = "`reasoning_effort`, `model_identity` and `builtin_tools` have no place without a \
                     system block";
                tokenized.notes.add(text, record.line);
            }
            tokenized.n_trainable += usize::from(example.n_targets() > 0);
            let example = self.cut(example, record.line, &mut tokenized.notes);
            if let Some(example) = example {
                tokenized.examples.push(example);
                tokenized.indices.push(i);
            }
        }
        Ok(tokenized)
    }

    /// Refuses a dataset of which nothing can be trained.
    pub(super) fn check_not_empty(
        &self,
        all: &Tokenized,
        n_records: usize,
    ) -> Result<(), QatError> {
        match (all.examples.is_empty(), all.n_trainable) {
            (false, _) => Ok(()),
            (true, 0) => Err(QatError::Dataset {
                path: "dataset".into(),
                message: format!("none of {n_records} conversations has a trained token"),
            }),
            (true, _) => Err(QatError::Setting {
                key: "max_length",
                expected: "room for at least one trained token of a conversation".into(),
                found: self.max_length.to_string(),
            }),
        }
    }

    /// The beginning of a conversation, if there is a target in it.
    fn cut(
        &self,
        mut example: TokenizedExample,
        line: Option<usize>,
        notes: &mut DataNotes,
    ) -> Option<TokenizedExample> {
        let (n_tokens, whole) = (example.tokens.len(), example.n_targets());
        example.tokens.truncate(self.max_length);
        example.loss_mask.truncate(self.max_length);
        let (kept, limit) = (example.n_targets(), self.max_length);
        match (whole, kept) {
            (0, _) => notes.add("conversations without a trained token, dropped", line),
            (_, 0) => {
                let text =
                    format!("conversations whose first {limit} tokens are all prompt, dropped");
                notes.add(text, line);
            }
            _ if n_tokens > limit => {
                let text = match kept < whole {
                    true => format!("conversations cut within an answer, at {limit} tokens"),
                    false => format!("conversations cut behind the last answer, at {limit} tokens"),
                };
                notes.add(text, line);
            }
            _ => {}
        }
        (kept > 0).then_some(example)
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
        let before = record.conversation(messages[..end].to_vec(), self.system.clone())?;
        render_completion(&before, encoder, self.rendering)
    }
}

/// A text of a plain language model: all of it is trained, and that it ends.
fn plain_text(
    text: &str,
    trained: bool,
    encoder: &impl HarmonyEncoder,
) -> Result<TokenizedExample, GptOssError> {
    const END: &str = "<|endoftext|>";
    let mut tokens = encoder.encode_ordinary(text)?;
    tokens.extend(encoder.special_token(END));
    Ok(TokenizedExample {
        loss_mask: vec![trained; tokens.len()],
        tokens,
        starts: Vec::new(),
    })
}
