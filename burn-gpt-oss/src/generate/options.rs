use super::Sampling;
use crate::config::GptOssConfig;
use crate::error::GptOssError;

/// What to generate, and how much.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// Most tokens to generate per sequence.
    pub max_new_tokens: usize,
    /// Tokens that end a sequence; the one that ended it is part of the result.
    pub stop_tokens: Vec<u32>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Continuations of every prompt, which share the work on the prompt.
    pub samples: usize,
    /// Prompts computed together.
    pub batch_size: usize,
}

impl Default for GenerateOptions {
    /// One greedy continuation per prompt of up to 256 tokens, 8 prompts at a time.
    fn default() -> Self {
        Self {
            max_new_tokens: 256,
            stop_tokens: Vec::new(),
            sampling: Sampling::greedy(),
            samples: 1,
            batch_size: 8,
        }
    }
}

impl GenerateOptions {
    /// Fails at a prompt that cannot be continued as these options say.
    pub(super) fn check(
        &self,
        config: &GptOssConfig,
        prompts: &[Vec<u32>],
    ) -> Result<(), GptOssError> {
        self.sampling.check()?;
        for (prompt, tokens) in prompts.iter().enumerate() {
            if let Some(reason) = self.obstacle(config, tokens) {
                return Err(GptOssError::Prompt { prompt, reason });
            }
        }
        Ok(())
    }

    fn obstacle(&self, config: &GptOssConfig, tokens: &[u32]) -> Option<String> {
        let (limit, vocab) = (config.max_position_embeddings, config.vocab_size);
        if tokens.is_empty() {
            return Some("it is empty; it needs at least one token".into());
        }
        if tokens.len().saturating_add(self.max_new_tokens) > limit {
            return Some(format!(
                "{} prompt tokens and {} new ones exceed the context of {limit} tokens; shorten the \
                 prompt or ask for fewer tokens",
                tokens.len(),
                self.max_new_tokens
            ));
        }
        let unknown = tokens.iter().find(|id| **id as usize >= vocab)?;
        Some(format!(
            "token {unknown} is outside the vocabulary of {vocab}; the tokenizer belongs to another \
             model"
        ))
    }
}
