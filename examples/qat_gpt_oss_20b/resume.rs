//! Going on with a run that ended early: what it has completed is taken over, the rest is done again.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn_gpt_oss::{AdapterCheckpoint, GptOss};
use burn_qat_train::{History, ResultTable, StageOutcome, saved_step};
use serde_json::Value;

use crate::args::Args;
use crate::output::{RECIPE, RESULTS, remove};
use crate::recipe::recipe;
use crate::run::Run;
use crate::settings::Settings;
use crate::terminal::say;

/// A stage that is complete: trained in this run or an earlier one.
pub struct Trained {
    pub model: GptOss,
    pub history: History,
    pub best_step: usize,
}

impl From<StageOutcome> for Trained {
    fn from(outcome: StageOutcome) -> Self {
        Self {
            model: outcome.model,
            history: outcome.history,
            best_step: outcome.best_step,
        }
    }
}

/// Refuses to go on with a run that was told something else.
pub fn check(out: &Path, args: &Args, settings: &Settings, original: &Path) -> Result<()> {
    if settings.lora.is_none() {
        bail!(
            "--resume goes on with runs that train adapters; begin this one anew with --overwrite"
        );
    }
    let path = out.join(RECIPE);
    let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let saved: Value = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
    let mut differences = Vec::new();
    compare(
        "",
        &saved,
        &recipe(args, settings, original),
        &mut differences,
    );
    if !differences.is_empty() {
        bail!(
            "{}: is of a run with other settings: {}; give those, or begin anew with --overwrite",
            path.display(),
            differences.join(", ")
        );
    }
    Ok(())
}

/// Lists the keys below which two recipes differ. How a run was called, and how often it saves, may differ.
fn compare(key: &str, saved: &Value, now: &Value, differences: &mut Vec<String>) {
    if let (Value::Object(saved), Value::Object(now)) = (saved, now) {
        for (name, value) in now {
            if ["command", "version", "checkpoint_steps"].contains(&name.as_str()) {
                continue;
            }
            let key = format!("{key}{}{name}", if key.is_empty() { "" } else { "." });
            compare(
                &key,
                saved.get(name).unwrap_or(&Value::Null),
                value,
                differences,
            );
        }
    } else if saved != now {
        differences.push(format!("`{key}` was {saved} and is {now}"));
    }
}

/// The rows of the earlier run.
pub fn table(out: &Path) -> Result<ResultTable> {
    let path = out.join(RESULTS);
    if !path.exists() {
        return Ok(ResultTable::default());
    }
    let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| path.display().to_string())
}

impl Run {
    /// A stage that the earlier run completed: the factors that it wrote, in a model that has none yet. A stage
    /// that still has a state is not complete, whatever else it wrote.
    pub fn completed(&self, name: &'static str, base: &GptOss) -> Result<Option<Trained>> {
        let (adapter, logs) = (self.adapter_dir(name), self.logs(name));
        if !self.resumes || !adapter.is_dir() || saved_step(&logs)?.is_some() {
            return Ok(None);
        }
        let history = History::from_jsonl(&logs.join("metrics.jsonl"))?;
        let best = history.best_interval();
        let best_step = best.map_or(history.train.len(), |i| history.valid[i].step);
        let adapter = AdapterCheckpoint::open(&adapter, base.config())?;
        say(format_args!("{name}: completed before, step {best_step}"));
        Ok(Some(Trained {
            model: adapter.attach(base.clone())?,
            history,
            best_step,
        }))
    }

    /// Removes what the earlier run wrote of a stage that it did not complete, but for its states.
    pub fn forget(&mut self, name: &str, dirs: &[PathBuf]) -> Result<()> {
        self.table.rows.retain(|row| row.name != name);
        dirs.iter().try_for_each(|dir| remove(dir))
    }
}
