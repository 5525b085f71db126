use std::any::Any;
use std::fmt;
use std::path::{Path, PathBuf};

use burn::module::{Module, ParamGroup};
use burn_gpt_oss::GptOss;

use super::best_model::{self, BestModel};
use super::guard::NonFiniteStep;
use super::record_file::write_record;
use super::resume;
use super::{FineTune, History, TrainConfig, Trainable};
use crate::adapt::{factor_group, has_factors};
use crate::error::QatError;

/// What a training stage ended with.
#[derive(Debug)]
pub struct StageOutcome<M = GptOss> {
    /// The model with the lowest validation loss, without gradients; quantizers stay attached. Without
    /// an evaluation it is the last one.
    pub model: M,
    /// The curves.
    pub history: History,
    /// Optimizer steps behind `model`; 0 if nothing was trained.
    pub best_step: usize,
    /// Whether the stage was stopped from outside before its end.
    pub interrupted: bool,
    /// A file with the weights of `model`, kept for the case that saving it elsewhere fails.
    pub record: Option<PathBuf>,
    /// The directory of the stage, where its states are.
    pub(super) dir: PathBuf,
}

impl<M: Trainable> StageOutcome<M> {
    /// The validation loss of `model` in nats, if there was an evaluation.
    pub fn valid_loss(&self) -> Option<f64> {
        let points = &self.history.valid;
        let point = points.iter().find(|point| point.step == self.best_step);
        point.map(|point| point.loss)
    }

    /// Writes the weights as a record into a directory, unless there is one already: for a model that
    /// cannot be saved as a checkpoint.
    ///
    /// # Errors
    /// Errors of the file system; nothing is left behind then.
    pub fn keep_record(&mut self, dir: &Path) -> Result<PathBuf, QatError> {
        if let Some(path) = &self.record {
            return Ok(path.clone());
        }
        let path = dir.join(best_model::FILE);
        let module = in_training(self.model.clone());
        write_record(&module, recorded(&module), &path).map_err(|error| QatError::Training {
            stage: "record of the weights".into(),
            message: format!("{}: {error}", path.display()),
        })?;
        self.record = Some(path.clone());
        Ok(path)
    }

    /// Removes the file and the states of the stage, once the model is saved elsewhere. A stage that was stopped
    /// before its last step keeps both if it has states: it can go on.
    pub fn discard_record(&mut self) {
        if !self.discard_states() {
            return;
        }
        if let Some(path) = self.record.take() {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Removes the states of the stage and leaves the file of [`keep_record`](Self::keep_record). Returns false for a
    /// stage that was stopped before its last step: it keeps its states, since it can go on.
    pub fn discard_states(&self) -> bool {
        if self.interrupted && resume::saved_step(&self.dir).is_ok_and(|step| step.is_some()) {
            return false;
        }
        // What stays behind does no harm.
        let _ = resume::clear(&self.dir);
        true
    }
}

/// The file in which a stage kept the weights of its best evaluation, if it is there.
pub fn kept_record(dir: &Path) -> Option<PathBuf> {
    let path = dir.join(best_model::FILE);
    path.is_file().then_some(path)
}

/// The weights of such a file in a model of the same kind.
///
/// # Errors
/// A file that cannot be read, or of another model.
pub fn load_record<M: Trainable>(model: M, path: &Path) -> Result<M, QatError> {
    Ok(best_model::load(path, in_training(model))?.model)
}

/// The module that is trained, whose paths records have.
fn in_training<M: Trainable>(model: M) -> FineTune<M> {
    FineTune::new(model, &TrainConfig::default())
}

/// What training changes: with adapters their factors alone.
pub(super) fn recorded<M: Module>(module: &M) -> ParamGroup {
    match has_factors(module) {
        true => factor_group(),
        false => ParamGroup::all(),
    }
}

/// An outcome within an error, whatever module it is of.
pub struct KeptOutcome(Box<dyn Any + Send + Sync>);

impl KeptOutcome {
    fn new<M: Trainable>(outcome: StageOutcome<M>) -> Self {
        Self(Box::new(outcome))
    }

    /// The outcome, if it is of such a module.
    pub(crate) fn take<M: Trainable>(self) -> Result<StageOutcome<M>, Self> {
        self.0.downcast().map(|outcome| *outcome).map_err(Self)
    }
}

impl fmt::Debug for KeptOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeptOutcome(..)")
    }
}

/// The end of a training loop, whatever its reason.
pub(super) struct Ending<'a, M: Trainable> {
    pub stage: &'a str,
    pub dir: &'a Path,
    pub config: &'a TrainConfig,
    pub history: History,
    pub best: BestModel,
    pub last: FineTune<M>,
}

impl<M: Trainable> Ending<'_, M> {
    /// The best model: the last one, unless an evaluation before was better. If the better one cannot be
    /// read back, the error holds the last one.
    pub fn outcome(self) -> Result<StageOutcome<M>, QatError> {
        let best = self.history.best_interval();
        let best = best.map(|interval| self.history.valid[interval].step);
        let trained = self.history.train.len();
        match self.best.saved() {
            Some((_, saved)) if best == Some(saved) && saved < trained => {
                match self.best.load(self.last.clone()) {
                    Ok(model) => Ok(self.with(model, saved)),
                    Err(error) => Err(self.only_the_last(error.to_string())),
                }
            }
            _ => {
                let last = self.last.clone();
                Ok(self.with(last, trained))
            }
        }
    }

    /// The error of a loss that is not finite; the last weights are of no use then.
    pub fn diverged(self, divergence: NonFiniteStep) -> QatError {
        let stage = self.stage.to_string();
        let kept = match self.best.saved() {
            Some((_, saved)) => match self.best.load(self.last.clone()) {
                Ok(model) => Some(self.with(model, saved)),
                Err(error) => return error,
            },
            None => None,
        };
        QatError::Diverged {
            stage,
            divergence: Box::new(divergence),
            kept_step: kept.as_ref().map(|outcome| outcome.best_step),
            kept: kept.map(KeptOutcome::new),
        }
    }

    /// The error of a loop that could not go on within a step: what it left is of no use.
    pub fn stopped_within_a_step(self, message: String) -> QatError {
        let stage = self.stage.to_string();
        let kept = match self.best.saved() {
            Some((_, saved)) => match self.best.load(self.last.clone()) {
                Ok(model) => Some(self.with(model, saved)),
                Err(error) => return error,
            },
            None => None,
        };
        QatError::Stopped {
            stage,
            message,
            kept_step: kept.as_ref().map(|outcome| outcome.best_step),
            kept: kept.map(KeptOutcome::new),
        }
    }

    /// The error of a loop that could not go on.
    pub fn stopped(self, message: String) -> QatError {
        let stage = self.stage.to_string();
        let kept = match self.history.train.len() {
            0 => None,
            // Reading the file can fail on the same disk; the last weights are in memory.
            _ => self
                .outcome()
                .map_or_else(|mut error| error.take_kept(), Some),
        };
        QatError::Stopped {
            stage,
            message,
            kept_step: kept.as_ref().map(|outcome| outcome.best_step),
            kept: kept.map(KeptOutcome::new),
        }
    }

    fn only_the_last(self, message: String) -> QatError {
        let (stage, trained) = (self.stage.to_string(), self.history.train.len());
        let last = self.last.clone();
        QatError::Stopped {
            stage,
            message,
            kept_step: Some(trained),
            kept: Some(KeptOutcome::new(self.with(last, trained))),
        }
    }

    fn with(self, model: FineTune<M>, step: usize) -> StageOutcome<M> {
        let saved = self.best.saved();
        let record = saved.filter(|(_, saved)| *saved == step);
        StageOutcome {
            model: model.model,
            best_step: step,
            interrupted: !self.history.is_complete(self.config),
            history: self.history,
            record: record.map(|(path, _)| path),
            dir: self.dir.to_path_buf(),
        }
    }
}
