//! What a checkpoint is, whether it is sound, and what engines do with it. See `--help`.

mod page;
#[path = "../support/terminal.rs"]
mod terminal;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use burn_gpt_oss::{CheckpointProgress, Engine, ValidationReport, Verdict, validate_checkpoint};
use clap::Parser;
use clap::builder::PossibleValuesParser;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use terminal::{fail, say};

/// Looks at a gpt-oss checkpoint before it is deployed: names, shapes, element types, weights that are not
/// finite, experts that are zero, and what vLLM, SGLang, TensorRT-LLM, transformers and llama.cpp would do with it.
///
/// Exit codes: 0 sound, 1 not sound (or not loaded by an engine of --engine), 2 it could not be looked at.
#[derive(Clone, Debug, Parser)]
#[command(name = "validate", max_term_width = 100)]
struct Args {
    /// Checkpoint directory, or a GGUF file
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Compare every weight, bit for bit, with another checkpoint directory
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// Compare every weight, bit for bit, with those that a run trained: the last stage of this run directory that has
    /// quantized weights
    #[arg(long, value_name = "DIR", conflicts_with = "against")]
    run: Option<PathBuf>,
    /// Also fail unless this engine loads it as it is meant; may be repeated
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(Engine::ALL.map(Engine::name)))]
    engine: Vec<String>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            fail(&error);
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<bool> {
    let against = match &args.run {
        Some(run) => Some(trained(run)?),
        None => args.against.clone(),
    };
    let bar = ProgressBar::no_length();
    bar.set_style(ProgressStyle::with_template(
        "{bar:30} {bytes}/{total_bytes} {eta} {wide_msg}",
    )?);
    let show = |done: CheckpointProgress<'_>| {
        bar.set_length(done.bytes_total);
        bar.set_position(done.bytes_done);
        bar.set_message(done.tensor.to_owned());
    };
    let report = validate_checkpoint(&args.path, against.as_deref(), show)?;
    bar.finish_and_clear();
    match args.json {
        true => {
            let mut json = serde_json::to_value(&report)?;
            json["sound"] = report.is_sound().into();
            say(format!("{json:#}"));
        }
        false => say(page::text(&report, std::io::stdout().is_terminal())),
    }
    Ok(report.is_sound() && engines_load(args, &report))
}

fn engines_load(args: &Args, report: &ValidationReport) -> bool {
    args.engine.iter().all(|name| {
        let engine = Engine::ALL.into_iter().find(|engine| engine.name() == name);
        let verdict = engine.and_then(|engine| report.verdict(engine));
        verdict.is_some_and(|verdict| verdict.verdict == Verdict::Loads)
    })
}

/// The directory of weights that a run trained and exported; it was compared with the trained weights when it was
/// written.
fn trained(run: &Path) -> Result<PathBuf> {
    let path = run.join("recipe.json");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let recipe: Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let stages = recipe.get("stages");
    let names = match stages {
        Some(Value::Object(stages)) => stages.keys().cloned().collect(),
        Some(Value::Array(stages)) => {
            let name = |stage: &Value| Some(stage.get("name")?.as_str()?.to_owned());
            stages.iter().filter_map(name).collect()
        }
        _ => Vec::new(),
    };
    let dirs = names.iter().map(|name| run.join(name));
    let mut dirs = dirs.filter(|dir| is_quantized(dir));
    match dirs.next_back() {
        Some(dir) => Ok(dir),
        None => bail!(
            "{}: no stage of this run has written quantized weights",
            run.display()
        ),
    }
}

/// Whether a directory holds packed weights.
fn is_quantized(dir: &Path) -> bool {
    let text = std::fs::read_to_string(dir.join("config.json")).unwrap_or_default();
    let config: Value = serde_json::from_str(&text).unwrap_or_default();
    config
        .get("quantization_config")
        .is_some_and(Value::is_object)
}
