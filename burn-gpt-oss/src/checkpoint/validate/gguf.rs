//! A GGUF file: what llama.cpp asks of it, and its values beside those of a checkpoint directory.

mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::engines::{Verdict, verdict_on_gguf};
use super::{Comparison, Finding, Severity, ValidationReport};
use crate::checkpoint::{CheckpointReader, GgufFile, GgufTensor, GgufValue, gguf};
use crate::error::GptOssError;

/// Keys behind `gpt-oss.`, their types, and what llama.cpp does without them.
const KEYS: [(&str, u32, Option<&str>); 16] = [
    ("context_length", 4, None),
    ("embedding_length", 4, None),
    ("block_count", 4, None),
    ("expert_feed_forward_length", 4, None),
    ("attention.layer_norm_rms_epsilon", 6, None),
    ("attention.sliding_window", 4, None),
    ("attention.head_count", 4, None),
    ("attention.head_count_kv", 4, None),
    ("expert_count", 4, None),
    ("expert_used_count", 4, None),
    ("attention.key_length", 4, Some("width divided by heads")),
    ("attention.value_length", 4, Some("width divided by heads")),
    ("rope.freq_base", 6, Some("10000")),
    ("rope.scaling.factor", 6, Some("1")),
    ("rope.scaling.type", 8, Some("linear")),
    (
        "rope.scaling.original_context_length",
        4,
        Some("the whole context"),
    ),
];

/// Tensors of every layer. Biases of queries, keys and values may be absent, and would be left out.
const LAYER: [&str; 19] = [
    "attn_norm.weight",
    "post_attention_norm.weight",
    "attn_q.weight",
    "attn_q.bias",
    "attn_k.weight",
    "attn_k.bias",
    "attn_v.weight",
    "attn_v.bias",
    "attn_output.weight",
    "attn_output.bias",
    "attn_sinks.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_inp.bias",
    "ffn_gate_exps.weight",
    "ffn_gate_exps.bias",
    "ffn_up_exps.weight",
    "ffn_up_exps.bias",
    "ffn_down_exps.weight",
    "ffn_down_exps.bias",
];
/// More than any model has.
const MAX_LAYERS: u32 = 4096;
const ENDS: [&str; 3] = ["token_embd.weight", "output_norm.weight", "output.weight"];

pub(super) fn validate(
    path: &Path,
    against: Option<&CheckpointReader>,
) -> Result<ValidationReport, GptOssError> {
    let mut report = ValidationReport {
        path: path.to_path_buf(),
        form: None,
        tensors: 0,
        bytes: 0,
        findings: Vec::new(),
        content: None,
        comparison: None,
        engines: Vec::new(),
    };
    let file = match GgufFile::open(path) {
        Ok(file) => file,
        Err(error) => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            report
                .findings
                .push(Finding::new(Severity::Error, name, error.to_string()));
            report
                .engines
                .push(verdict_on_gguf(vec![(Verdict::Refuses, error.to_string())]));
            return Ok(report);
        }
    };
    report.form = Some("GGUF".into());
    report.tensors = file.tensors.len();
    report.bytes = file
        .tensors
        .iter()
        .map(|tensor| tensor.range.end - tensor.range.start)
        .sum();
    let mut said = Vec::new();
    keys(&file, &mut said);
    rotation(&file, &mut said);
    tensors(&file, &mut said);
    tokenizer(&file, &mut said);
    let broken = said
        .iter()
        .filter(|(verdict, _)| *verdict != Verdict::Loads);
    let finding = |(_, reason): &(Verdict, String)| {
        Finding::new(Severity::Error, "llama.cpp", reason.clone())
    };
    report.findings.extend(broken.map(finding));
    report.engines.push(verdict_on_gguf(said));
    if let Some(against) = against {
        match values::compare(&file, against) {
            Ok(mut comparison) => {
                comparison.keys = differing_keys(&file, against);
                report.comparison = Some(comparison);
            }
            Err(error) => report.findings.push(Finding::new(
                Severity::Error,
                "comparison",
                error.to_string(),
            )),
        }
    }
    Ok(report)
}

/// Keys that say something else than the configuration of a directory.
fn differing_keys(file: &GgufFile, against: &CheckpointReader) -> Vec<String> {
    let expected = gguf::model_keys(against);
    let expected = expected
        .into_iter()
        .filter(|(key, _)| key.starts_with("gpt-oss."));
    let differs = |(key, value): &(String, GgufValue)| file.keys.get(key) != Some(value);
    expected.filter(differs).map(|(key, _)| key).collect()
}

type Said = Vec<(Verdict, String)>;

fn keys(file: &GgufFile, said: &mut Said) {
    match file.keys.get("general.architecture") {
        Some(GgufValue::Text(name)) if name == "gpt-oss" => {}
        other => said.push((
            Verdict::Refuses,
            format!("general.architecture is {other:?}, expected \"gpt-oss\""),
        )),
    }
    for (name, kind, default) in KEYS {
        let key = format!("gpt-oss.{name}");
        match (file.keys.get(&key), default) {
            (Some(value), _) if value.kind() == kind => {}
            (Some(value), _) => said.push((
                Verdict::Refuses,
                format!(
                    "{key} has type {}, expected {kind}: types are not converted",
                    value.kind()
                ),
            )),
            (None, Some(default)) => {
                said.push((
                    Verdict::Differs,
                    format!("{key} is absent: {default} is taken"),
                ));
            }
            (None, None) => said.push((Verdict::Refuses, format!("{key} is absent"))),
        }
    }
}

/// What llama.cpp would take for something else than this architecture has.
fn rotation(file: &GgufFile, said: &mut Said) {
    let key = "gpt-oss.rope.scaling.type";
    match file.keys.get(key) {
        Some(GgufValue::Text(kind)) if kind != "yarn" => {
            said.push((
                Verdict::Differs,
                format!("{key} is {kind:?}, gpt-oss has yarn"),
            ));
        }
        _ => {}
    }
}

fn tensors(file: &GgufFile, said: &mut Said) {
    let layers = match file.keys.get("gpt-oss.block_count") {
        Some(GgufValue::U32(layers)) => *layers,
        _ => return,
    };
    let of_layer = |layer: u32| LAYER.map(|name| format!("blk.{layer}.{name}"));
    let layers = layers.min(MAX_LAYERS);
    let mut expected: Vec<String> = (0..layers).flat_map(of_layer).collect();
    expected.extend(ENDS.map(str::to_owned));
    let by_name: BTreeMap<&str, &GgufTensor> = file
        .tensors
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor))
        .collect();
    for name in &expected {
        let found = by_name.get(name.as_str());
        // One tensor may hold queries, keys and values.
        let fused = name
            .replace("attn_q.", "attn_qkv.")
            .replace("attn_k.", "attn_qkv.");
        let fused = fused.replace("attn_v.", "attn_qkv.");
        if found.is_none() && by_name.contains_key(fused.as_str()) {
            continue;
        }
        let is_optional = ["attn_q.bias", "attn_k.bias", "attn_v.bias"]
            .iter()
            .any(|end| name.ends_with(end));
        match found {
            None if is_optional => {
                said.push((
                    Verdict::Differs,
                    format!("{name} is absent and is left out"),
                ));
            }
            None => said.push((Verdict::Refuses, format!("{name} is absent"))),
            Some(tensor) => {
                let wants_f32 = name.ends_with(".bias") || name.ends_with("attn_sinks.weight");
                if wants_f32 && tensor.ggml_type != 0 {
                    let reason = format!("{name} is not F32: it aborts when the graph is built");
                    said.push((Verdict::Refuses, reason));
                }
            }
        }
    }
    let expected: BTreeSet<&String> = expected.iter().collect();
    for tensor in &file.tensors {
        let is_optional = [".scale", ".input_scale", "attn_qkv.weight", "attn_qkv.bias"];
        let is_optional = is_optional.iter().any(|end| tensor.name.ends_with(end));
        if !is_optional && !expected.contains(&tensor.name) {
            said.push((
                Verdict::Refuses,
                format!(
                    "{} belongs to no gpt-oss: `wrong number of tensors`",
                    tensor.name
                ),
            ));
        }
        if tensor.ggml_type == 40 {
            said.push((
                Verdict::Differs,
                format!(
                    "{} is in NVFP4, whose `.scale` is ignored for this architecture",
                    tensor.name
                ),
            ));
        }
    }
}

fn tokenizer(file: &GgufFile, said: &mut Said) {
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
