use std::path::Path;

use burn::train::Interrupter;

use super::resume::Restored;
use super::{Console, ExampleData, StageOutcome, TrainConfig, Trainable};
use crate::distill::{DistillConfig, Teacher};
use crate::error::QatError;

/// Examples to train on, and examples to evaluate on.
pub(super) type Data<M> = (
    ExampleData<<M as Trainable>::Example>,
    ExampleData<<M as Trainable>::Example>,
);

/// A stage of training: what it is called, where it writes, how it trains, who watches it and stops it.
///
/// SFT trains a module as it is, QAT one with quantizers.
pub struct StageRun<'a> {
    pub(super) stage: &'a str,
    pub(super) dir: &'a Path,
    pub(super) config: &'a TrainConfig,
    pub(super) console: Console,
    pub(super) interrupter: Interrupter,
    teacher: Option<Teacher>,
}

impl<'a> StageRun<'a> {
    /// A stage that shows nothing and runs to its end.
    pub fn new(stage: &'a str, dir: &'a Path, config: &'a TrainConfig) -> Self {
        Self {
            stage,
            dir,
            config,
            console: Console::Silent,
            interrupter: Interrupter::new(),
            teacher: None,
        }
    }

    /// Shows progress.
    pub fn with_console(self, console: Console) -> Self {
        Self { console, ..self }
    }

    /// Ends when the interrupter says so, with what is trained until then.
    pub fn with_interrupter(self, interrupter: Interrupter) -> Self {
        Self {
            interrupter,
            ..self
        }
    }

    /// Learns from a teacher, as [`TrainConfig::distill`] says.
    pub fn with_teacher(self, teacher: Teacher) -> Self {
        Self {
            teacher: Some(teacher),
            ..self
        }
    }

    /// Trains a module. What it was at the lowest validation loss is kept in the directory while training, and returned
    /// at the end.
    ///
    /// `data` are the examples to train on and those to evaluate on. The directory is made where it is missing and
    /// receives `metrics.jsonl`. With [`TrainConfig::checkpoint_steps`] it also receives states that
    /// [`resume`](Self::resume) goes on from; those of an earlier run are removed.
    ///
    /// # Errors
    /// Settings out of range; a directory that another run writes to; failures of files and devices; a teacher that is
    /// missing, not asked for, or does not suit the module; and [`QatError::Diverged`] for a loss or gradient that is
    /// not finite. If a model was kept until then, the error holds it; [`QatError::take_kept`] returns it.
    pub fn train<M: Trainable>(
        self,
        model: M,
        data: (
            impl Into<ExampleData<M::Example>>,
            impl Into<ExampleData<M::Example>>,
        ),
    ) -> Result<StageOutcome<M>, QatError> {
        self.run(model, (data.0.into(), data.1.into()), None)
    }

    /// Goes on with a run of [`train`](Self::train) that ended early, from the last state in its directory: the curves
    /// are those of a run that did not end. `model` is the one that the run began with.
    ///
    /// # Errors
    /// [`QatError::Resume`] if there is no state, it cannot be read, or settings, data or model are others, by name; and
    /// those of `train`.
    pub fn resume<M: Trainable>(
        self,
        model: M,
        data: (
            impl Into<ExampleData<M::Example>>,
            impl Into<ExampleData<M::Example>>,
        ),
    ) -> Result<StageOutcome<M>, QatError> {
        let restored = Restored::find(self.dir)?.ok_or_else(|| QatError::Resume {
            path: self.dir.to_path_buf(),
            message: "has no state of a run to go on from; begin a new run".into(),
        })?;
        self.run(model, (data.0.into(), data.1.into()), Some(restored))
    }

    /// The teacher and how it teaches.
    pub(super) fn lesson<M: Trainable>(
        &self,
        student: &M,
    ) -> Result<Option<(Teacher, DistillConfig)>, QatError> {
        let refuse = |expected: &str, found: &str| {
            Err(QatError::Setting {
                key: "teacher",
                expected: expected.into(),
                found: found.into(),
            })
        };
        match (&self.teacher, self.config.distill) {
            (None, None) => Ok(None),
            (Some(teacher), Some(config)) => {
                student.check_teacher(teacher)?;
                Ok(Some((teacher.clone(), config)))
            }
            (None, Some(_)) => refuse("a model, since `distill` is set", "none"),
            (Some(_), None) => refuse("none, or `distill` set", "a model"),
        }
    }
}
