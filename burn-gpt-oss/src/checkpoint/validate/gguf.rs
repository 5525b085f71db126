//! A GGUF file: what llama.cpp asks of it, and its values beside those of a checkpoint directory.

mod tensors;
mod tokenizer;
mod values;

use std::path::Path;

use super::engines::{Verdict, verdict_on_gguf};
use super::{Comparison, Finding, Severity, ValidationReport};
use crate::checkpoint::{CheckpointReader, GgufFile, GgufValue, gguf};
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
    tensors::check(&file, &mut said);
    tokenizer::check(&file, &mut said);
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
