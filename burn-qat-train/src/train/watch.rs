use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use burn::train::{Interrupter, LearningResult};

use super::best_model::{self, BestModel};
use super::ending::Ending;
use super::guard::{Found, Guard};
use super::resume::{self, Restored, State, StateSaver};
use super::run_log::RunLog;
use super::stage_run::StageRun;
use super::{FineTune, StageOutcome, Trainable};
use crate::error::QatError;

/// Name of the log in the directory of a stage.
const METRICS: &str = "metrics.jsonl";

/// What follows a stage while it trains, and keeps something of it.
pub(super) struct Watch<M: Trainable> {
    /// Holds the lock of the directory.
    pub log: RunLog,
    pub best: BestModel,
    /// The first step that is not finite.
    pub found: Found,
    pub guard: Arc<Guard<M>>,
    pub saver: Option<Arc<StateSaver>>,
    /// What stops Burn's loop: where states are saved, not before that is done.
    pub interrupter: Interrupter,
    /// Whether the last step ended between its first update and its last: what it left is no model.
    pub half_updated: Arc<AtomicBool>,
}

impl<M: Trainable> Watch<M> {
    /// Takes the directory of a stage, and removes what an earlier stage left there unless this one goes on from it.
    pub fn new(
        run: &StageRun<'_>,
        begun: &State,
        restored: Option<&Restored>,
        n_valid_batches: usize,
    ) -> Result<Self, QatError> {
        let (dir, config) = (run.dir, run.config);
        std::fs::create_dir_all(dir).map_err(QatError::io(dir, "create"))?;
        let log = RunLog::create(
            run.stage,
            &dir.join(METRICS),
            &config.report_to,
            n_valid_batches,
            begun.history.clone(),
        )?;
        let kept = match restored {
            Some(restored) => restored.best_step(&dir.join(best_model::FILE)),
            None => {
                resume::clear(dir)?;
                None
            }
        };
        let best = BestModel::new(dir, log.clone(), kept)?;
        let saver = (config.checkpoint_steps.is_some() || restored.is_some())
            .then(|| StateSaver::new(dir, begun, &run.interrupter, &log, &best));
        let interrupter = match &saver {
            Some(saver) => saver.loop_interrupter.clone(),
            None => run.interrupter.clone(),
        };
        let found = Found::default();
        Ok(Self {
            guard: Guard::new(found.clone(), interrupter.clone()),
            log,
            best,
            found,
            saver,
            interrupter,
            half_updated: Arc::default(),
        })
    }

    /// What the stage ended with.
    pub fn end(
        self,
        run: &StageRun<'_>,
        result: LearningResult<FineTune<M>>,
    ) -> Result<StageOutcome<M>, QatError> {
        let (history, logged) = self.log.finish(&run.dir.join(METRICS));
        let end = Ending {
            stage: run.stage,
            dir: run.dir,
            config: run.config,
            history,
            best: self.best,
            last: result.model,
        };
        let found = self
            .found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(divergence) = found {
            return Err(end.diverged(divergence));
        }
        if let (Some(error), true) = (&result.error, self.half_updated.load(Ordering::Relaxed)) {
            return Err(end.stopped_within_a_step(error.to_string()));
        }
        match (result.error, logged) {
            (Some(error), _) => Err(end.stopped(error.to_string())),
            (None, Err(error)) => Err(end.stopped(error.to_string())),
            (None, Ok(())) => end.outcome(),
        }
    }
}
