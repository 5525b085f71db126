use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use burn::module::Module;
use burn::train::Interrupter;
use burn::train::checkpoint::CheckpointerError;

use super::{OptimizerFile, State};
use crate::train::best_model::BestModel;
use crate::train::run_log::RunLog;
use crate::train::{StepOutput, TrainPoint, WarmupSchedule};

/// Saves the state of a run between two steps: every so many, before every evaluation, and before a stop.
pub(crate) struct StateSaver {
    dir: PathBuf,
    /// What the caller stops the run with.
    asked: Interrupter,
    /// What stops Burn's loop, once the state is saved.
    pub loop_interrupter: Interrupter,
    log: RunLog,
    best: BestModel,
    schedule: WarmupSchedule,
    /// Seconds of earlier runs, and the start of this one.
    started: (f64, Instant),
    /// The state that the run begins with.
    state: State,
    progress: Mutex<Progress>,
}

/// What has happened since the last state.
struct Progress {
    step: usize,
    /// What each step reported: the log may not have heard of the last ones yet.
    outputs: Vec<(usize, StepOutput)>,
}

impl fmt::Debug for StateSaver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateSaver")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl StateSaver {
    /// A saver of a run that begins with a state and is stopped by `asked`.
    pub fn new(
        dir: &Path,
        begun: &State,
        asked: &Interrupter,
        log: &RunLog,
        best: &BestModel,
    ) -> Arc<Self> {
        let before = begun.history.train.last();
        let progress = Progress {
            step: begun.step,
            outputs: Vec::new(),
        };
        Arc::new(Self {
            dir: dir.to_path_buf(),
            asked: asked.clone(),
            loop_interrupter: Interrupter::new(),
            log: log.clone(),
            best: best.clone(),
            schedule: WarmupSchedule::new(&begun.config),
            started: (before.map_or(0.0, |point| point.seconds), Instant::now()),
            state: begun.clone(),
            progress: Mutex::new(progress),
        })
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the run is to end; told to Burn's loop where nothing is left to save.
    pub fn stop_if_asked(&self) {
        if self.asked.should_stop() {
            self.loop_interrupter.stop(None);
        }
    }

    /// Hears of the loss of a step, before its update.
    pub fn computed(&self, output: &StepOutput) {
        let mut progress = self.progress();
        let step = progress.step + 1;
        progress.outputs.push((step, output.clone()));
    }

    /// Hears that an update is done.
    pub fn updated<M: Module>(&self, model: &M, optimizer: &dyn OptimizerFile) {
        let step = {
            let mut progress = self.progress();
            progress.step += 1;
            progress.step
        };
        if (self.is_due(step) || self.asked.should_stop())
            && let Err(error) = self.save(step, model, optimizer)
        {
            let error = CheckpointerError::Unknown(error);
            self.loop_interrupter.fail(error);
            return;
        }
        self.stop_if_asked();
    }

    fn is_due(&self, step: usize) -> bool {
        let config = &self.state.config;
        let every = config
            .checkpoint_steps
            .map_or(config.eval_steps, usize::from);
        step.is_multiple_of(every) || step.is_multiple_of(config.eval_steps) || step == config.steps
    }

    fn save<M: Module>(
        &self,
        step: usize,
        model: &M,
        optimizer: &dyn OptimizerFile,
    ) -> Result<(), String> {
        let mut history = self.log.history();
        let mut progress = self.progress();
        for (of, output) in &progress.outputs {
            if *of == history.train.len() + 1 && *of <= step {
                history.train.push(self.point(*of, output)?);
            }
        }
        let state = State {
            step,
            best_step: self.best.saved().map(|(_, step)| step),
            history,
            ..self.state.clone()
        };
        state
            .save(&self.dir, model, optimizer)
            .map_err(|error| error.to_string())?;
        progress.outputs.retain(|(of, _)| *of > step);
        Ok(())
    }

    fn point(&self, step: usize, output: &StepOutput) -> Result<TrainPoint, String> {
        let loss = output.loss.clone().try_into_scalar::<f64>();
        Ok(TrainPoint {
            step,
            loss: loss.map_err(|error| error.to_string())?,
            learning_rate: self.schedule.rate(step - 1),
            tokens: output.n_tokens,
            grad_norm: output.grad_norm.get().copied(),
            seconds: self.started.0 + self.started.1.elapsed().as_secs_f64(),
        })
    }
}
