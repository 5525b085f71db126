//! One stage: trained, saved and evaluated, or taken over from an earlier run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow};
use burn_gpt_oss::{CheckpointReader, GptOss};
use burn_qat_train::{History, Method, QatError, StageOutcome, StageRun, Teacher, saved_step};

use crate::console;
use crate::run::Run;
use crate::settings::StagePlan;
use crate::terminal::{say, warn};

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
        if let Some(trained) = self.completed(plan, index, &model)? {
            self.evaluate_stage(plan, start + trained.best_step)?;
            return Ok(Some(trained));
        }
        if self.resumes {
            let mut dirs = vec![self.out().join(&plan.name), self.adapter_dir(plan)];
            dirs.extend(self.form_dirs(plan));
            self.forget(&plan.title, &dirs)?;
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
        // Who stops a run does not wait for what can be told later.
        let tells = plan.is_qat() && self.settings.recipe.lora.is_some();
        if tells && !self.cancel.pressed() {
            self.tell_merge(plan, &trained.model)?;
        }
        Ok(Some(trained))
    }

    /// Trains a stage. An error that leaves a model comes with it, to be saved first.
    fn train(&self, plan: &StagePlan, model: GptOss) -> Result<Ended> {
        let (title, logs) = (&plan.title, self.logs(plan));
        let data = (self.data.train.clone(), self.data.valid.clone());
        let saved = saved_step(&logs)?.filter(|_| self.resumes);
        if let Some(step) = saved {
            say(format_args!("{title}: goes on after step {step}"));
        }
        let mut run = StageRun::new(title, &logs, &plan.config)
            .with_console(console::training())
            .with_interrupter(self.cancel.interrupter());
        if let Some(teacher) = self.teacher(plan)? {
            run = run.with_teacher(teacher);
        }
        let ended = match saved {
            Some(_) => run.resume(model, data),
            None => run.train(model, data),
        };
        match ended {
            Ok(outcome) => Ok(Ended {
                outcome,
                failure: None,
            }),
            Err(mut error) => {
                if let QatError::Diverged { divergence, .. } = &error
                    && !divergence.examples.is_empty()
                {
                    let examples = self.data.name(&divergence.examples);
                    warn(format_args!("{title}: the step that failed had {examples}"));
                }
                match error.take_kept() {
                    Some(outcome) => Ok(Ended {
                        outcome,
                        failure: Some(error),
                    }),
                    None => Err(error.into()),
                }
            }
        }
    }

    /// Whom a stage learns from: a checkpoint, or a base with factors, which stay in their files.
    fn teacher(&self, plan: &StagePlan) -> Result<Option<Teacher>> {
        if plan.method != Method::Qad {
            return Ok(None);
        }
        let mut stages = self.settings.stages.iter();
        let teacher = stages.find(|stage| Some(&stage.name) == plan.teacher.as_ref());
        let model = match teacher {
            Some(teacher) if self.is_factors(teacher) => self
                .with_saved_adapter(teacher)?
                .context("the teacher's factors were saved")?,
            Some(teacher) => self.stored(&self.out().join(&teacher.name), plan)?,
            None => self.base()?,
        };
        Ok(Some(Teacher::new(model)))
    }

    fn stored(&self, dir: &Path, plan: &StagePlan) -> Result<GptOss> {
        let master = plan.config.element_types.master;
        let reader = CheckpointReader::open(dir)?;
        Ok(reader.load_stored(&self.device, master, |_| {})?)
    }

    /// Whether the factors are all that a stage writes: in bfloat16 their sum with the base would take twice the disk
    /// of everything else.
    fn is_factors(&self, plan: &StagePlan) -> bool {
        self.settings.recipe.lora.is_some() && !plan.is_qat()
    }

    /// The directory of what a stage trained.
    pub fn product(&self, plan: &StagePlan) -> PathBuf {
        match self.is_factors(plan) {
            true => self.adapter_dir(plan),
            false => self.out().join(&plan.name),
        }
    }

    fn evaluate_stage(&mut self, plan: &StagePlan, steps: usize) -> Result<()> {
        match self.is_factors(plan) {
            true => self.evaluate_adapter(plan, steps),
            false => {
                let dir = self.product(plan);
                self.evaluate(&plan.title, steps, &dir)
            }
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
        let (dir, logs) = (self.product(plan), self.logs(plan));
        if let Err(error) = self.save(plan, start, &outcome.model) {
            return Err(unsaved(error, failure, &mut outcome, logs));
        }
        match self.settings.keeps_record(plan, index) {
            false => outcome.discard_record(),
            true => match outcome.keep_record(&logs) {
                Ok(_) => drop(outcome.discard_states()),
                // The states are what a run that goes on has then.
                Err(error) => warn(format_args!("{}: {error}", plan.title)),
            },
        }
        let (steps, rows) = (start + outcome.best_step, self.table.rows.len());
        let evaluated = self.evaluate_stage(plan, steps);
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
    fn save(&self, plan: &StagePlan, start: usize, model: &GptOss) -> Result<()> {
        let dir = self.out().join(&plan.name);
        if self.settings.recipe.lora.is_some() {
            self.save_adapter(plan, start, model)?;
        }
        match plan.is_qat() {
            true => self.export(&dir, model),
            false if self.is_factors(plan) => Ok(()),
            false => self.save_bf16(&dir, model),
        }
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
