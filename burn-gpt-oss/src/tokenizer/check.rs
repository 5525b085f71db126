//! Whether a tokenizer and a model belong together.

use super::Tokenizer;
use crate::config::GptOssConfig;
use crate::error::GptOssError;

/// The rows of the published vocabulary.
const PUBLISHED: usize = 201_088;

/// Where the published vocabulary has the markers of harmony: the format document, "Special tokens".
const MARKERS: [(&str, u32); 7] = [
    ("<|return|>", 200_002),
    ("<|constrain|>", 200_003),
    ("<|channel|>", 200_005),
    ("<|start|>", 200_006),
    ("<|end|>", 200_007),
    ("<|message|>", 200_008),
    ("<|call|>", 200_012),
];

impl Tokenizer {
    /// Checks that the tokens are those of a model: another tokenizer would give other ids, and nothing
    /// but bad answers would tell.
    ///
    /// # Errors
    /// [`GptOssError::WrongTokenizer`] for the first marker with another id than the configuration or the
    /// published vocabulary gives it, or with one behind the rows of the embedding.
    pub fn check(&self, config: &GptOssConfig) -> Result<(), GptOssError> {
        let wrong = |token: &str, id: u32, expected: String| GptOssError::WrongTokenizer {
            path: self.path().to_owned(),
            token: token.to_owned(),
            id,
            expected,
        };
        for (token, published) in MARKERS {
            let Some(id) = self.special_token(token) else {
                continue;
            };
            if id as usize >= config.vocab_size {
                let expected = format!("below `vocab_size` = {}", config.vocab_size);
                return Err(wrong(token, id, expected));
            }
            if config.vocab_size == PUBLISHED && id != published {
                let expected = format!("{published}, as in the published vocabulary");
                return Err(wrong(token, id, expected));
            }
        }
        let ends = ["<|return|>", "<|call|>", "<|endoftext|>"];
        let ends: Vec<(&str, u32)> = ends
            .into_iter()
            .filter_map(|token| Some((token, self.special_token(token)?)))
            .collect();
        let named = config.eos_token_id;
        match (named, ends.first()) {
            (Some(named), Some((token, id))) if ends.iter().all(|(_, id)| *id != named) => {
                Err(wrong(
                    token,
                    *id,
                    format!("{named}, the `eos_token_id` of config.json"),
                ))
            }
            _ => Ok(()),
        }
    }
}
