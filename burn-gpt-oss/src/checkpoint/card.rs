//! The model card of a directory: where the weights come from, what was done to them, how they are deployed.

use std::fmt::Write;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::{CheckpointForm, CheckpointReader, ConvertReport, ConvertTarget};

/// The card's file, which the Hugging Face hub shows.
pub(super) const FILE: &str = "README.md";

/// What a model card says besides the form and the deployment.
#[derive(Clone, Debug, Default)]
pub struct ModelCard {
    /// The name of the model.
    pub title: String,
    /// What it was made from.
    pub base_model: String,
    /// Lines of a table: what, and its value.
    pub facts: Vec<(String, String)>,
    /// Sections of their own: a title and a text in Markdown.
    pub sections: Vec<(String, String)>,
    /// The commands that made it.
    pub reproduction: Vec<String>,
}

impl ModelCard {
    /// The text of the card for weights in a form.
    pub fn to_markdown(&self, target: ConvertTarget) -> String {
        let mut text = String::new();
        let mut line = |line: &str| {
            text.push_str(line);
            text.push('\n');
        };
        line("---");
        line(&format!("base_model: {}", json!(self.base_model)));
        line("library_name: burn-qat");
        line("pipeline_tag: text-generation");
        line(&format!("tags: [gpt-oss, {target}]"));
        line("---\n");
        line(&format!("# {}\n", self.title));
        line("| | |\n|---|---|");
        for (what, value) in &self.facts {
            line(&format!(
                "| {what} | {} |",
                value.replace('|', "\\|").replace('\n', " ")
            ));
        }
        for (title, section) in &self.sections {
            line(&format!("\n## {title}\n\n{}", section.trim_end()));
        }
        if !self.reproduction.is_empty() {
            line("\n## Made by\n\n```sh");
            self.reproduction.iter().for_each(|command| line(command));
            line("```");
        }
        line(&format!("\n## Deployment\n\n{}", deployment(target)));
        text
    }
}

/// The commands of the engines, and which of them do not serve the form.
fn deployment(target: ConvertTarget) -> String {
    let mut text = String::new();
    let commands: &[(&str, &str)] = match target {
        ConvertTarget::Mxfp4 | ConvertTarget::Bf16 => &[
            ("vLLM", "vllm serve DIR"),
            ("SGLang", "python -m sglang.launch_server --model-path DIR"),
            ("TensorRT-LLM", "trtllm-serve DIR"),
            (
                "llama.cpp, after `convert_hf_to_gguf.py` or `convert --to gguf`",
                "llama-server -m model.gguf --jinja",
            ),
        ],
        ConvertTarget::Gguf => &[("llama.cpp", "llama-server -m model.gguf --jinja")],
        _ => &[],
    };
    for (engine, command) in commands {
        let _ = writeln!(text, "{engine}:\n\n```sh\n{command}\n```\n");
    }
    let _ = writeln!(
        text,
        "burn-qat:\n\n```sh\ncargo run --release --example serve -- DIR\n```"
    );
    if target == ConvertTarget::Gguf {
        let _ = writeln!(
            text,
            "\n(burn-qat serves the directory that this file was made from.)"
        );
    }
    if let Some(warning) = target.warning() {
        let _ = writeln!(text, "\n**As far as is known**, {warning}.");
    }
    text
}

/// The card of a conversion.
pub(super) fn of_conversion(source: &CheckpointReader, report: &ConvertReport) -> String {
    let name = |dir: &std::path::Path| {
        let name = dir.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let mut facts = vec![
        ("form".into(), form_of(report.target).into()),
        (
            "made from".into(),
            format!(
                "{}, {} ({})",
                name(source.dir()),
                source.form(),
                source.dialect()
            ),
        ),
        ("parameters".into(), parameters(source)),
        (
            "configuration of the source, SHA-256".into(),
            config_hash(source),
        ),
        (
            "files, SHA-256".into(),
            "in `SHA256SUMS`; `sha256sum --check SHA256SUMS`".into(),
        ),
    ];
    facts.push(("matrices of experts".into(), what_happened(source, report)));
    if !report.rounded.is_empty() {
        let rounded = format!(
            "{} tensors that were wider (first: `{}`)",
            report.rounded.len(),
            report.rounded[0]
        );
        facts.push(("rounded to BF16".into(), rounded));
    }
    let notes = report
        .notes
        .iter()
        .map(|note| format!("- {note}\n"))
        .collect::<String>();
    let card = ModelCard {
        title: name(&report.dir),
        base_model: name(source.dir()),
        facts,
        sections: match notes.is_empty() {
            true => Vec::new(),
            false => vec![("To know".into(), notes)],
        },
        reproduction: vec![command(source, report)],
    };
    card.to_markdown(report.target)
}

/// The command line of a conversion.
fn command(source: &CheckpointReader, report: &ConvertReport) -> String {
    let quoted = |dir: &std::path::Path| {
        let name = dir.file_name().unwrap_or_default();
        format!("'{}'", name.to_string_lossy().replace('\'', "'\\''"))
    };
    let rule = report.scheme.filter(|_| source.form().scheme().is_none());
    let rule = rule.and_then(|scheme| serde_json::to_value(scheme).ok());
    let rule = rule.and_then(|scheme| Some(scheme.get("scale_rule")?.as_str()?.to_owned()));
    let rule = rule.map_or(String::new(), |rule| format!(" --scale-rule {rule}"));
    format!(
        "cargo run --release --example convert -- {} --to {} --out {}{rule}",
        quoted(source.dir()),
        report.target,
        quoted(&report.dir)
    )
}

fn form_of(target: ConvertTarget) -> &'static str {
    match target {
        ConvertTarget::Mxfp4 => "MXFP4, as the published gpt-oss checkpoints",
        ConvertTarget::Bf16 => "BF16",
        ConvertTarget::Nvfp4 => "NVFP4, as ModelOpt writes it",
        ConvertTarget::CompressedMxfp4 => "MXFP4, as compressed-tensors writes it",
        ConvertTarget::CompressedNvfp4 => "NVFP4, as compressed-tensors writes it",
        ConvertTarget::Original => "MXFP4, under OpenAI's own names",
        ConvertTarget::Gguf => "GGUF, experts in MXFP4",
    }
}

fn parameters(source: &CheckpointReader) -> String {
    let config = source.config();
    let (experts, rest) = (config.num_expert_weights(), config.num_dense_weights());
    format!(
        "{:.2} billion, {:.2} of them in expert matrices",
        (experts + rest) as f64 / 1e9,
        experts as f64 / 1e9
    )
}

fn config_hash(source: &CheckpointReader) -> String {
    let digest = Sha256::digest(source.config().to_json().to_string());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn what_happened(source: &CheckpointReader, report: &ConvertReport) -> String {
    if let Some(cast) = report.cast {
        return format!("cast from MXFP4 to NVFP4 without floats: {cast}");
    }
    let (from, to) = (source.form(), report.target.form());
    match (from.scheme(), to.scheme()) {
        (Some(_), None) => match from {
            CheckpointForm::Mxfp4 => "decoded, exactly".into(),
            _ => "decoded, rounded to the nearest BF16".into(),
        },
        (Some(a), Some(b)) if std::mem::discriminant(&a) == std::mem::discriminant(&b) => {
            "codes and scales as in the source, bit for bit".into()
        }
        (None, None) => "as in the source".into(),
        _ => format!(
            "rounded: {}",
            report
                .scheme
                .map_or(String::new(), |scheme| scheme.to_string())
        ),
    }
}
