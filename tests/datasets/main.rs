//! Files of conversations: every shape that is read, and what is said of those that are not.

mod broken;
mod shapes;

use std::path::PathBuf;

use burn_gpt_oss::{HarmonyVariant, LossMask, Tokenizer};
use burn_qat_train::{ChatFormat, ChatRecord, TokenizedExample};

/// The tokenizer of the embedded model.
fn tokenizer() -> Tokenizer {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/assets/tiny-gpt-oss/tokenizer.json"
    );
    Tokenizer::from_file(file).expect("the embedded tokenizer")
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")).join(name)
}

/// A conversation as text with what is trained in brackets, without the system message.
fn rendered(record: &ChatRecord, variant: HarmonyVariant) -> String {
    let format = ChatFormat::default();
    let format = ChatFormat {
        system: None,
        rendering: burn_gpt_oss::RenderOptions {
            variant,
            ..format.rendering
        },
        loss_mask: LossMask::Assistant,
        ..format
    };
    let tokenizer = tokenizer();
    let example = format.tokenize(record, &tokenizer).expect("a conversation");
    marked(&example, &tokenizer)
}

fn marked(example: &TokenizedExample, tokenizer: &Tokenizer) -> String {
    let indices: Vec<usize> = (0..example.tokens.len()).collect();
    let runs = indices.chunk_by(|a, b| example.loss_mask[*a] == example.loss_mask[*b]);
    runs.map(|run| {
        let text = tokenizer.decode(&example.tokens[run[0]..run[0] + run.len()]);
        match example.loss_mask[run[0]] {
            true => format!("[{text}]"),
            false => text,
        }
    })
    .collect()
}
