use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use burn::module::Module;
use burn::store::ModuleRecord;
use burn::tensor::Bytes;
use burn::train::checkpoint::{
    Checkpointer, CheckpointerError, CheckpointingAction, CheckpointingStrategy,
};
use burn::train::metric::store::{Aggregate, EventStoreClient, Split};

use super::ending::recorded;
use super::metrics::LOSS;
use super::record_file::write_record;
use super::run_log::RunLog;
use crate::adapt::has_factors;
use crate::error::QatError;

/// Name of the record in the directory of a stage.
pub(super) const FILE: &str = "best-model.bpk";

/// Keeps the weights of the best evaluation in one file, which a better one replaces as a whole.
#[derive(Clone)]
pub(super) struct BestModel {
    path: PathBuf,
    /// Optimizer steps behind the weights in the file.
    saved: Arc<Mutex<Option<usize>>>,
    log: RunLog,
}

impl BestModel {
    /// Keeps nothing yet, or what the run that this one goes on from kept; another file is removed.
    pub fn new(dir: &Path, log: RunLog, kept: Option<usize>) -> Result<Self, QatError> {
        let path = dir.join(FILE);
        remove_scratch(dir)?;
        if kept.is_some() && path.exists() {
            return Ok(Self {
                path,
                saved: Arc::new(Mutex::new(kept)),
                log,
            });
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(QatError::io(path, "remove")(error));
            }
            _ => {}
        }
        Ok(Self {
            path,
            saved: Arc::default(),
            log,
        })
    }

    /// The file and the optimizer steps behind it, once something was kept.
    pub fn saved(&self) -> Option<(PathBuf, usize)> {
        let saved = *self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        saved.map(|step| (self.path.clone(), step))
    }

    /// Keeps the weights after an interval in place of those before, one tensor in memory at a time.
    pub fn keep<M: Module>(&self, interval: usize, module: &M) -> Result<(), QatError> {
        write_record(module, recorded(module), &self.path).map_err(|error| QatError::Training {
            stage: "best model".into(),
            message: format!("{}: cannot be written: {error}", self.path.display()),
        })?;
        let step = self.log.step_of(interval);
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = step;
        Ok(())
    }

    fn replace(&self, interval: usize, record: ModuleRecord) -> Result<(), CheckpointerError> {
        let step = self.log.step_of(interval);
        write(record, &self.path)?;
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = step;
        Ok(())
    }

    /// The kept weights in a model of the same kind. They are read into memory at once: records are
    /// otherwise read when they are used, and the file may be gone then.
    pub fn load<M: Module>(&self, model: M) -> Result<M, QatError> {
        load(&self.path, model)
    }
}

/// Removes what a run that was killed left of a file that it was writing, `best-model.bpk.PID-N.tmp`.
fn remove_scratch(dir: &Path) -> Result<(), QatError> {
    let list = std::fs::read_dir(dir).map_err(QatError::io(dir, "list"))?;
    for entry in list.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(&format!("{FILE}.")) && name.ends_with(".tmp") {
            let path = entry.path();
            std::fs::remove_file(&path).map_err(QatError::io(&path, "remove"))?;
        }
    }
    Ok(())
}

/// The weights of a file in a model. Of one with adapters the file has the factors alone.
pub(super) fn load<M: Module>(path: &Path, model: M) -> Result<M, QatError> {
    let partial = has_factors(&model);
    let bytes = std::fs::read(path).map_err(QatError::io(path, "read"))?;
    let record = ModuleRecord::from_bytes(Bytes::from_bytes_vec(bytes));
    let loaded = record.and_then(|record| model.try_load_record(record.allow_partial(partial)));
    loaded.map_err(|error| QatError::Training {
        stage: "best model".into(),
        message: format!("{}: cannot be read back: {error}", path.display()),
    })
}

/// Writes a record as a whole: under another name, synced, then renamed.
fn write(record: ModuleRecord, path: &Path) -> Result<(), CheckpointerError> {
    let partial = path.with_extension("bpk.partial");
    let written = record.save(&partial).map_err(CheckpointerError::Record);
    let placed = written.and_then(|()| {
        let file = std::fs::File::open(&partial).map_err(CheckpointerError::IOError)?;
        file.sync_all().map_err(CheckpointerError::IOError)?;
        std::fs::rename(&partial, path).map_err(CheckpointerError::IOError)
    });
    if placed.is_err() {
        // What is there of it is of no use; the error is the one that counts.
        let _ = std::fs::remove_file(&partial);
    }
    placed
}

impl Checkpointer<ModuleRecord> for BestModel {
    fn save(&self, interval: usize, record: ModuleRecord) -> Result<(), CheckpointerError> {
        self.replace(interval, record)
    }

    fn delete(&self, _interval: usize) -> Result<(), CheckpointerError> {
        Ok(())
    }

    fn restore(&self, interval: usize) -> Result<ModuleRecord, CheckpointerError> {
        Err(CheckpointerError::Unknown(format!(
            "interval {interval} is not restored by this loop"
        )))
    }
}

/// Saves when the last evaluation was the best one so far.
pub(super) struct SaveTheBest(pub RunLog);

impl CheckpointingStrategy for SaveTheBest {
    fn checkpointing(
        &mut self,
        interval: usize,
        store: &EventStoreClient,
    ) -> Vec<CheckpointingAction> {
        match is_best(&self.0, interval, store) {
            true => vec![CheckpointingAction::Save],
            false => Vec::new(),
        }
    }
}

/// Whether the evaluation of an interval that just ended is the best one so far.
pub(super) fn is_best(log: &RunLog, interval: usize, store: &EventStoreClient) -> bool {
    // Metrics are logged on another thread: its answer comes after all that was sent before.
    let _ = store.find_metric(LOSS, interval, Aggregate::Mean, &Split::Valid);
    log.last_is_best()
}
