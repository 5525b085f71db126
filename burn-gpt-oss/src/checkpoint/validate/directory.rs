//! A directory of safetensors files.

use std::path::Path;

use serde_json::Value;

use super::content::WeightContent;
use super::engines::{Facts, verdicts};
use super::{Comparison, Finding, Severity, ValidationReport};
use crate::checkpoint::files::{self, Files};
use crate::checkpoint::form::input_scale;
use crate::checkpoint::{CheckpointProgress, CheckpointReader, TensorLayout};
use crate::error::GptOssError;
use crate::json_file::{parse, read_text};

pub(super) fn validate(
    dir: &Path,
    against: Option<&CheckpointReader>,
    progress: impl FnMut(CheckpointProgress<'_>),
) -> Result<ValidationReport, GptOssError> {
    let mut findings = Vec::new();
    let files = found(files::open(dir), dir, &mut findings);
    // Where two answers are possible, engines give one of them.
    let files = files.or_else(|| files::open_indexed(dir).ok());
    let config = found(config(dir), &dir.join("config.json"), &mut findings);
    let reader = match (&files, &config) {
        (Some(_), Some(_)) => found(CheckpointReader::open_unchecked(dir), dir, &mut findings),
        _ => None,
    };
    if let Some(reader) = &reader {
        let problems = reader.problems();
        let problem = |error: &GptOssError| {
            Finding::new(Severity::Error, subject(error, dir), error.to_string())
        };
        findings.extend(problems.iter().map(problem));
    }
    let readable = reader.as_ref().filter(|_| findings.is_empty());
    let (content, comparison) = match readable {
        Some(reader) => {
            let found = weights(reader, against, &mut findings, progress);
            // What is wrong with zeros for pages that are gone is no finding.
            reader.check_unchanged()?;
            found?
        }
        None => (None, None),
    };
    beside(dir, &mut findings);
    let facts = Facts::of_directory(dir, files.as_ref(), config);
    let form = |reader: &CheckpointReader| format!("{}, {}", reader.form(), reader.dialect());
    Ok(ValidationReport {
        path: dir.to_path_buf(),
        form: readable.map(form),
        tensors: files.as_ref().map_or(0, |(_, locations)| locations.len()),
        bytes: files.as_ref().map_or(0, data_len),
        engines: verdicts(&facts),
        findings,
        content,
        comparison,
    })
}

/// A result, or nothing and a finding.
fn found<T>(result: Result<T, GptOssError>, path: &Path, findings: &mut Vec<Finding>) -> Option<T> {
    result
        .map_err(|error| {
            let subject = subject(&error, path);
            findings.push(Finding::new(Severity::Error, subject, error.to_string()));
        })
        .ok()
}

fn subject(error: &GptOssError, path: &Path) -> String {
    match error {
        GptOssError::MissingTensor { tensor, .. }
        | GptOssError::Shape { tensor, .. }
        | GptOssError::Dtype { tensor, .. }
        | GptOssError::NonFiniteWeight { tensor, .. } => tensor.clone(),
        GptOssError::Config { key, .. } => format!("config.json: {key}"),
        _ => path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
    }
}

fn config(dir: &Path) -> Result<Value, GptOssError> {
    let path = dir.join("config.json");
    parse(&read_text(&path)?, &path)
}

fn data_len((files, _): &Files) -> u64 {
    files
        .iter()
        .map(|file| file.metadata.data_len() as u64)
        .sum()
}

type Weights = (Option<WeightContent>, Option<Comparison>);

/// Reads every weight once.
fn weights(
    reader: &CheckpointReader,
    against: Option<&CheckpointReader>,
    findings: &mut Vec<Finding>,
    mut progress: impl FnMut(CheckpointProgress<'_>),
) -> Result<Weights, GptOssError> {
    let mut content = WeightContent::default();
    let mut comparison = against.map(Comparison::new);
    if let (Some(comparison), Some(against)) = (&mut comparison, against) {
        comparison.note_missing(reader.specs(), against);
        comparison.note_keys(reader.config(), against.config());
    }
    let (mut bytes_done, bytes_total) = (0, reader.data_len());
    for spec in reader.specs() {
        let before = findings.len();
        if spec.layout == TensorLayout::Experts {
            let added = content.add(reader, spec, findings);
            found(added, Path::new(&spec.name), findings);
            if reader.form_of(spec).inputs().is_some() {
                let scale = reader.input_scale_of(&input_scale(spec).name);
                found(scale, Path::new(&spec.name), findings);
            }
        }
        let is_broken = findings[before..]
            .iter()
            .any(|f| f.severity == Severity::Error);
        // Packed experts are finite where their scales are.
        let decode = spec.layout != TensorLayout::Experts
            || reader.form_of(spec).scheme().is_none()
            || comparison.is_some();
        if decode && !is_broken {
            match (reader.values(spec), &mut comparison, against) {
                (Ok(values), Some(comparison), Some(against)) => {
                    comparison.add(&values, against, &spec.path)?;
                }
                (Ok(_), _, _) => {}
                (Err(error), _, _) => {
                    findings.push(Finding::new(Severity::Error, &spec.name, error.to_string()));
                }
            }
        }
        bytes_done += reader.stored_len(spec);
        progress(CheckpointProgress {
            tensor: &spec.name,
            bytes_done,
            bytes_total,
        });
    }
    Ok((Some(content), comparison))
}

/// Files that programs want beside the weights.
fn beside(dir: &Path, findings: &mut Vec<Finding>) {
    for (name, why) in [
        (
            "tokenizer.json",
            "engines and evaluation need it to turn text into tokens",
        ),
        (
            "generation_config.json",
            "engines take the tokens that end an answer from it (`<|call|>` is one of three)",
        ),
    ] {
        if !dir.join(name).exists() {
            findings.push(Finding::new(
                Severity::Warning,
                name,
                format!("is not there; {why}"),
            ));
        }
    }
}
