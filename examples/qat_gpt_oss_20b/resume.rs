//! Going on with a run that ended early: what it has completed is taken over, the rest is done again.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn_gpt_oss::{AdapterCheckpoint, GptOss};
use burn_qat_train::{
    History, Recipe, RecipeSource, ResultTable, kept_record, load_record, round_adapters,
    saved_step,
};
use serde_json::Value;

use crate::output::{self, RECIPE, RESULTS, remove};
use crate::run::Run;
use crate::settings::StagePlan;
use crate::stage::Trained;
use crate::terminal::say;

/// Refuses to go on with a run that was told something else.
pub fn check(out: &Path, recipe: &Recipe) -> Result<()> {
    let path = out.join(RECIPE);
    // A key that the version of the run had not yet has its default.
    let saved = RecipeSource::read(&path)?.resolve()?;
    let [saved, now] = [&saved, recipe].map(serde_json::to_value);
    let mut differences = Vec::new();
    compare("", &saved?, &now?, &mut differences);
    if !differences.is_empty() {
        bail!(
            "{}: is of a run with other settings: {}; give those, or begin anew with --overwrite",
            path.display(),
            differences.join(", ")
        );
    }
    Ok(())
}

/// Whether a key says where or how often something is written, not what is trained.
fn is_of_files(key: &str) -> bool {
    let mut of_stage = key.strip_prefix("stages.").unwrap_or(key).split('.');
    let name = of_stage.next_back();
    let depth = of_stage.count();
    ["output", "export", "dataset.cache"].contains(&key)
        || depth == 1 && matches!(name, Some("save_steps" | "report_to"))
}

/// Lists the keys below which two recipes differ.
fn compare(key: &str, saved: &Value, now: &Value, differences: &mut Vec<String>) {
    if let (Value::Object(saved), Value::Object(now)) = (saved, now) {
        let removed = saved.keys().filter(|name| !now.contains_key(*name));
        for name in now.keys().chain(removed) {
            let key = format!("{key}{}{name}", if key.is_empty() { "" } else { "." });
            if is_of_files(&key) {
                continue;
            }
            let value = |map: &serde_json::Map<String, Value>| map.get(name).cloned();
            let [saved, now] = [saved, now].map(|map| value(map).unwrap_or_default());
            compare(&key, &saved, &now, differences);
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
    /// Whether the earlier run was through: every row is there, and no stage has a state to go on from.
    pub fn is_complete(&self) -> Result<bool> {
        let has = |title: &str| self.table.row(title).is_some();
        for plan in &self.settings.stages {
            let mut rounded = plan.ptq.iter().map(|method| plan.ptq_title(method));
            let measured = has(&plan.title) && rounded.all(|title| has(&title));
            if !measured || saved_step(&self.logs(plan))?.is_some() {
                return Ok(false);
            }
        }
        Ok(self.resumes)
    }

    /// A stage that the earlier run completed: what it trained, in the model that it began with. A stage that still
    /// has a state is not complete, whatever else it wrote.
    pub fn completed(
        &self,
        plan: &StagePlan,
        index: usize,
        begun: &GptOss,
    ) -> Result<Option<Trained>> {
        let (dir, logs) = (self.product(plan), self.logs(plan));
        if !self.resumes || !dir.is_dir() || saved_step(&logs)?.is_some() {
            return Ok(None);
        }
        let history = History::from_jsonl(&logs.join("metrics.jsonl"))?;
        // What a stage that stopped early has saved is not what it would have learned.
        if !history.is_complete(&plan.config) {
            return Ok(None);
        }
        let goes_on = !plan.ptq.is_empty() || self.settings.is_needed_after(&plan.name, index);
        let model = match (&self.settings.recipe.lora, goes_on, kept_record(&logs)) {
            (Some(_), _, _) => self.with_saved_adapter(plan)?,
            (None, true, Some(record)) => Some(load_record(begun.clone(), &record)?),
            // A checkpoint has fewer bits than what a later stage goes on from.
            (None, true, None) => None,
            (None, false, _) => Some(begun.clone()),
        };
        let Some(model) = model else { return Ok(None) };
        let best = history.best_interval();
        let best_step = best.map_or(history.train.len(), |i| history.valid[i].step);
        say(format_args!(
            "{}: completed before, step {best_step}",
            plan.title
        ));
        Ok(Some(Trained {
            model,
            history,
            best_step,
        }))
    }

    /// The base with the factors that a stage wrote, rounded as they were trained.
    pub fn with_saved_adapter(&self, plan: &StagePlan) -> Result<Option<GptOss>> {
        let dir = self.adapter_dir(plan);
        if !dir.is_dir() {
            return Ok(None);
        }
        let base = self.base()?;
        let adapter = AdapterCheckpoint::open(&dir, base.config())?;
        let model = adapter.attach(base)?;
        Ok(Some(match plan.is_qat() {
            true => round_adapters(model, &plan.policy)?.0,
            false => model,
        }))
    }

    /// Removes the weights that were kept for later stages.
    pub fn discard_kept(&self) -> Result<()> {
        let kept = self
            .settings
            .stages
            .iter()
            .map(|plan| kept_record(&self.logs(plan)));
        kept.flatten().try_for_each(|record| remove(&record))
    }

    /// Removes what the earlier run wrote of a stage that it did not complete, but for its states. The row goes first:
    /// it must not outlive what it was measured on.
    pub fn forget(&mut self, title: &str, dirs: &[PathBuf]) -> Result<()> {
        self.table.rows.retain(|row| row.name != title);
        output::write_table(self.out(), &self.table)?;
        dirs.iter().try_for_each(|dir| remove(dir))
    }
}
