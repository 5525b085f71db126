//! The keys of the tokenizer that llama.cpp asks for.

use super::Said;
use crate::checkpoint::validate::engines::Verdict;
use crate::checkpoint::{GgufFile, GgufValue};

pub(super) fn check(file: &GgufFile, said: &mut Said) {
    let text = |key: &str| match file.keys.get(key) {
        Some(GgufValue::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let list = |key: &str| match file.keys.get(key) {
        Some(GgufValue::Array(list)) => Some(list),
        _ => None,
    };
    match text("tokenizer.ggml.model") {
        Some("no_vocab") => {
            said.push((
                Verdict::Loads,
                "there is no tokenizer: it takes token ids, not text".into(),
            ));
            return;
        }
        Some("gpt2") => {}
        other => said.push((
            Verdict::Refuses,
            format!("tokenizer.ggml.model is {other:?}, expected \"gpt2\""),
        )),
    }
    if text("tokenizer.ggml.pre") != Some("gpt-4o") {
        said.push((
            Verdict::Differs,
            "tokenizer.ggml.pre is not \"gpt-4o\": text is split otherwise".into(),
        ));
    }
    if list("tokenizer.ggml.merges").is_none() {
        said.push((Verdict::Refuses, "tokenizer.ggml.merges is absent".into()));
    }
    let Some(tokens) = list("tokenizer.ggml.tokens") else {
        said.push((Verdict::Refuses, "tokenizer.ggml.tokens is absent".into()));
        return;
    };
    let rows = file
        .tensors
        .iter()
        .find(|tensor| tensor.name == "token_embd.weight");
    if let Some(rows) = rows.and_then(|tensor| tensor.shape.first())
        && *rows != tokens.len()
    {
        said.push((
            Verdict::Refuses,
            format!(
                "there are {} tokens and {rows} rows of token_embd.weight",
                tokens.len()
            ),
        ));
    }
    let texts = tokens.iter().filter_map(|token| match token {
        GgufValue::Text(text) => Some(text),
        _ => None,
    });
    let distinct: std::collections::BTreeSet<_> = texts.collect();
    if distinct.len() != tokens.len() {
        said.push((
            Verdict::Refuses,
            "tokens occur twice, or are no texts: it aborts".into(),
        ));
    }
}
