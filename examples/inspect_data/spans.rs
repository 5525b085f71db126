//! The tokens of a conversation, put together where they are treated alike.

use burn_gpt_oss::Tokenizer;
use burn_qat_train::{ChatRecord, TokenizedExample};

use crate::terminal::visible;

/// Tokens one behind the other that are treated alike.
pub struct Span {
    pub text: String,
    pub trained: bool,
    /// Whether it is a marker of harmony, not text.
    pub special: bool,
}

pub fn of(example: &TokenizedExample, tokenizer: &Tokenizer) -> Vec<Span> {
    let kind = |index: &usize| {
        let spelling = tokenizer.id_to_token(example.tokens[*index]);
        let special = spelling.and_then(|spelling| tokenizer.special_token(&spelling));
        (
            example.loss_mask[*index],
            special == Some(example.tokens[*index]),
        )
    };
    let indices: Vec<usize> = (0..example.tokens.len()).collect();
    indices
        .chunk_by(|a, b| kind(a) == kind(b))
        .map(|run| {
            let (trained, special) = kind(&run[0]);
            let tokens = &example.tokens[run[0]..run[0] + run.len()];
            Span {
                text: tokenizer.decode(tokens),
                trained,
                special,
            }
        })
        .collect()
}

pub fn heading(index: usize, record: &ChatRecord, example: &TokenizedExample) -> String {
    let line = record
        .line
        .map_or(String::new(), |line| format!(", row {line}"));
    format!(
        "=== conversation {}{line}: {} tokens, {} trained",
        index + 1,
        example.tokens.len(),
        example.n_targets()
    )
}

/// Trained text is green, or in brackets without colours; markers are faint.
pub fn coloured(spans: &[Span], colour: bool) -> String {
    let mut out = String::new();
    let mut trained = false;
    for span in spans {
        // Control characters of a dataset do not reach the terminal.
        let text = visible(&span.text);
        if !colour {
            if span.trained != trained {
                out.push(if span.trained { '⟦' } else { '⟧' });
            }
            out.push_str(&text);
            trained = span.trained;
            continue;
        }
        let style = match (span.trained, span.special) {
            (true, true) => "\x1b[2;32m",
            (true, false) => "\x1b[1;32m",
            (false, true) => "\x1b[2m",
            (false, false) => "",
        };
        out.push_str(&format!("{style}{text}\x1b[0m"));
    }
    if trained {
        out.push('⟧');
    }
    out
}
