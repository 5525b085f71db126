//! One stage: trained, saved and evaluated, or taken over from an earlier run.

use std::path::PathBuf;

use anyhow::{Context, Error, Result, anyhow};
use burn_gpt_oss::GptOss;
use burn_qat_train::{History, QatError, StageOutcome, resume, saved_step, train};

use crate::console;
use crate::run::Run;
use crate::settings::StagePlan;
use crate::terminal::say;

/// A stage that is complete: trained in this run or an earlier one.
pub struct Trained {
    pub model: GptOss,
    pub history: History,
    pub best_step: usize,
}

/// A stage that has ended, and why it could not go on, if it could not.
struct Ended {
    outcome: StageOutcome,
    failure: Option<QatError>,
}

impl Run {
    /// Trains and saves a stage, or takes over what an earlier run completed. None if no step was done. `index` is
    /// its place, and `start` the number of steps before it.
    pub fn stage(
        &mut self,
        plan: &StagePlan,
        (index, start): (usize, usize),
        model: GptOss,
    ) -> Result<Option<Trained>> {
        let dir = self.out().join(&plan.name);
        if let Some(trained) = self.completed(plan, index, &model)? {
            self.evaluate(&plan.title, start + trained.best_step, &dir)?;
            return Ok(Some(trained));
        }
        if self.resumes {
            self.forget(&plan.title, &[dir, self.out().join(plan.adapter_name())])?;
        }
        let ended = self.train(plan, model)?;
        if ended.outcome.best_step == 0 {
            say(format_args!(
                "{}: stopped before the first optimizer step, nothing was trained",
                plan.title
            ));
            return Ok(None);
        }
        let outcome = self.finish(plan, (index, start), ended)?;
        let trained = Trained {
            model: outcome.model,
            history: outcome.history,
            best_step: outcome.best_step,
        };
        if plan.is_qat() && self.settings.recipe.lora.is_some() {
            self.tell_merge(plan, &trained.model)?;
        }
        Ok(Some(trained))
    }

    /// Trains a stage. An error that leaves a model comes with it, to be saved first.
    fn train(&self, plan: &StagePlan, model: GptOss) -> Result<Ended> {
        let (title, logs) = (&plan.title, self.logs(plan));
        std::fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
        let data = (self.data.train.clone(), self.data.valid.clone());
        let (console, interrupter) = (console::training(), self.cancel.interrupter());
        let saved = saved_step(&logs)?.filter(|_| self.resumes);
        if let Some(step) = saved {
            say(format_args!("{title}: goes on after step {step}"));
        }
        let train = if saved.is_some() { resume } else { train };
        match train(
            title,
            &logs,
            model,
            data,
            &plan.config,
            console,
            interrupter,
        ) {
            Ok(outcome) => Ok(Ended {
                outcome,
                failure: None,
            }),
            Err(mut error) => match error.take_kept() {
                Some(outcome) => Ok(Ended {
                    outcome,
                    failure: Some(error),
                }),
                None => Err(error.into()),
            },
        }
    }

    /// Saves and evaluates what a stage ended with, then returns the error it ended with.
    fn finish(
        &mut self,
        plan: &StagePlan,
        (index, start): (usize, usize),
        ended: Ended,
    ) -> Result<StageOutcome> {
        let Ended {
            mut outcome,
            failure,
        } = ended;
        let (title, logs) = (&plan.title, self.logs(plan));
        let dir = match self.save(plan, start, &outcome.model) {
            Ok(dir) => dir,
            Err(error) => return Err(unsaved(error, failure, &mut outcome, logs)),
        };
        match self.keeps_record(plan, index) {
            true => {
                outcome.keep_record(&logs)?;
                outcome.discard_states();
            }
            false => outcome.discard_record(),
        }
        let (steps, rows) = (start + outcome.best_step, self.table.rows.len());
        let evaluated = self.evaluate(title, steps, &dir);
        if self.table.rows.len() == rows {
            say(format_args!(
                "saved {}: the model of step {steps}, not evaluated",
                dir.display()
            ));
        }
        match failure {
            Some(failure) => {
                let what = format!(
                    "{} holds the model of step {}",
                    dir.display(),
                    outcome.best_step
                );
                Err(anyhow!(failure).context(what))
            }
            None => evaluated.map(|()| outcome),
        }
    }

    /// Saves what a stage trained; factors first, since they are what was trained.
    fn save(&self, plan: &StagePlan, start: usize, model: &GptOss) -> Result<PathBuf> {
        let dir = self.out().join(&plan.name);
        if self.settings.recipe.lora.is_some() {
            self.save_adapter(plan, start, model)?;
        }
        match plan.is_qat() {
            true => self.export(&dir, model)?,
            false => self.save_bf16(&dir, model)?,
        }
        Ok(dir)
    }

    /// Where a stage logs and keeps its states.
    pub fn logs(&self, plan: &StagePlan) -> PathBuf {
        self.out().join("logs").join(&plan.name)
    }
}

/// Keeps the weights of a model that could not be saved, and says where, and what went wrong before.
fn unsaved(
    error: Error,
    failure: Option<QatError>,
    outcome: &mut StageOutcome,
    logs: PathBuf,
) -> Error {
    let kept = match outcome.keep_record(&logs) {
        Ok(path) => format!("its weights are kept in {} (a Burn record)", path.display()),
        Err(error) => format!("nor could its weights be kept: {error}"),
    };
    let error = error.context(format!("the model was not saved; {kept}"));
    match failure {
        Some(failure) => error.context(failure.to_string()),
        None => error,
    }
}
