use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use burn::train::logger::MetricLogger;
use burn::train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn::train::metric::{MetricDefinition, MetricId, NumericEntry};

use super::QuantizationPoint;
use super::history::{History, TrainPoint, ValidPoint};
use super::metrics::{GRAD_NORM, LOSS, TOKENS};
use super::record::{Record, RecordFiles, ReportTo};
use crate::error::QatError;

/// Collects the metrics of Burn's loop: for its own queries, as curves, and as JSONL.
#[derive(Clone)]
pub(super) struct RunLog(Arc<Mutex<State>>);

struct State {
    started: Instant,
    /// Of the runs that this one goes on from.
    seconds_before: f64,
    intervals_before: usize,
    names: HashMap<MetricId, String>,
    entries: HashMap<(String, usize, &'static str), Vec<NumericEntry>>,
    history: History,
    files: RecordFiles,
    /// Batches of one complete evaluation, and of the one going on.
    valid_batches: usize,
    valid_seen: usize,
}

impl RunLog {
    /// Starts a log that writes one JSON object per step and per evaluation to a file, those of a history
    /// first, and the same in other formats beside it. The file is locked, so that two runs do not write into one.
    pub fn create(
        stage: &str,
        path: &Path,
        formats: &[ReportTo],
        valid_batches: usize,
        history: History,
    ) -> Result<Self, QatError> {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let file = file.map_err(QatError::io(path, "create"))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(QatError::InUse { path: path.into() });
            }
            // Some file systems have no locks.
            Err(TryLockError::Error(_)) | Ok(()) => {}
        }
        file.set_len(0).map_err(QatError::io(path, "truncate"))?;
        let dir = path.parent().unwrap_or(Path::new("."));
        let files = RecordFiles::create(stage, (dir, file), formats)?;
        let mut state = State {
            started: Instant::now(),
            seconds_before: history.train.last().map_or(0.0, |point| point.seconds),
            intervals_before: history.valid.len(),
            names: HashMap::new(),
            entries: HashMap::new(),
            history: History::default(),
            files,
            valid_batches,
            valid_seen: 0,
        };
        state.repeat(history);
        Ok(Self(Arc::new(Mutex::new(state))))
    }

    /// The curves so far.
    pub fn history(&self) -> History {
        self.lock().history.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The validation loss before the first step.
    pub fn started_at(&self, loss: f64) {
        self.lock().push_start(loss);
    }

    /// A quantized weight.
    pub fn quantized(&self, point: QuantizationPoint) {
        self.lock().push_quantization(point);
    }

    /// Whether the last evaluation is the best one.
    pub fn last_is_best(&self) -> bool {
        let history = &self.lock().history;
        let best = history.best_interval();
        best.is_some_and(|best| best + 1 == history.valid.len())
    }

    /// Optimizer steps behind the evaluation of an interval, from 1.
    pub fn step_of(&self, interval: usize) -> Option<usize> {
        let state = self.lock();
        let index = interval.checked_sub(1)? + state.intervals_before;
        let point = state.history.valid.get(index)?;
        Some(point.step)
    }

    /// The curves so far, and whether all of them are in the file.
    pub fn finish(&self, path: &Path) -> (History, Result<(), QatError>) {
        let mut state = self.lock();
        let written = state.files.finish();
        let written = written.map_err(|(name, error)| {
            let path = path.with_file_name(name);
            QatError::io(path, "write")(error)
        });
        (state.history.clone(), written)
    }
}

impl State {
    /// Name and value of each numeric metric; the last flag tells the mean of an interval.
    fn values(&self, update: &MetricsUpdate) -> Vec<(String, NumericEntry)> {
        let name = |id: &MetricId| self.names.get(id).cloned().unwrap_or_default();
        update
            .entries_numeric
            .iter()
            .filter_map(|metric| {
                Some((name(&metric.entry.metric_id), metric.numeric_entry.clone()?))
            })
            .collect()
    }

    fn add_train(&mut self, values: &[(String, NumericEntry)]) {
        let get = |name: &str| {
            values
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, v)| v.current())
        };
        let Some(loss) = get(LOSS) else { return };
        let point = TrainPoint {
            step: self.history.train.len() + 1,
            loss,
            learning_rate: get("Learning Rate").unwrap_or_default(),
            tokens: get(TOKENS).unwrap_or_default() as usize,
            grad_norm: get(GRAD_NORM).filter(|norm| !norm.is_nan()),
            seconds: self.seconds_before + self.started.elapsed().as_secs_f64(),
        };
        self.push_train(point);
    }

    fn push_train(&mut self, point: TrainPoint) {
        self.files.write(Record::Train(&point));
        self.history.train.push(point);
    }

    fn push_quantization(&mut self, point: QuantizationPoint) {
        self.files.write(Record::Quantization(&point));
        self.history.quantization.push(point);
    }

    fn push_start(&mut self, loss: f64) {
        self.files.write(Record::Start(loss));
        self.history.start = Some(loss);
    }

    /// Writes the curves of the runs that this one goes on from, in the order in which they came about.
    fn repeat(&mut self, history: History) {
        if let Some(loss) = history.start {
            self.push_start(loss);
        }
        for point in history.quantization {
            self.push_quantization(point);
        }
        let mut valid = history.valid.into_iter().peekable();
        for point in history.train {
            self.push_train(point);
            while let Some(evaluation) = valid.next_if(|valid| valid.step <= point.step) {
                self.push_valid(evaluation);
            }
        }
    }

    fn add_valid(&mut self, values: &[(String, NumericEntry)]) {
        let Some((_, entry)) = values.iter().find(|(name, _)| name == LOSS) else {
            return;
        };
        let point = ValidPoint {
            step: self.history.train.len(),
            loss: entry.current(),
        };
        self.push_valid(point);
    }

    fn push_valid(&mut self, point: ValidPoint) {
        self.files.write(Record::Valid(&point));
        self.history.valid.push(point);
    }
}

fn split_name(split: &Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Valid => "valid",
        Split::Test(_) => "test",
    }
}

impl MetricLogger for RunLog {
    fn log(&mut self, update: MetricsUpdate, epoch: usize, split: &Split) {
        let mut state = self.lock();
        let (values, valid_batches) = (state.values(&update), state.valid_batches);
        let is_final = values
            .iter()
            .any(|(_, entry)| matches!(entry, NumericEntry::Final(_)));
        match (split, is_final) {
            (Split::Train, false) => state.add_train(&values),
            (Split::Valid, false) => state.valid_seen += 1,
            // The mean over an evaluation that was interrupted covers a part of the data.
            (Split::Valid, true) if std::mem::take(&mut state.valid_seen) == valid_batches => {
                state.add_valid(&values);
            }
            _ => {}
        }
        for (name, entry) in values {
            state
                .entries
                .entry((name, epoch, split_name(split)))
                .or_default()
                .push(entry);
        }
    }

    fn read_numeric(
        &mut self,
        name: &str,
        epoch: usize,
        split: &Split,
    ) -> Result<Vec<NumericEntry>, String> {
        let key = (name.to_string(), epoch, split_name(split));
        Ok(self.lock().entries.get(&key).cloned().unwrap_or_default())
    }

    fn log_metric_definition(&mut self, definition: MetricDefinition) {
        self.lock()
            .names
            .insert(definition.metric_id, definition.name.to_string());
    }

    fn log_epoch_summary(&mut self, _summary: EpochSummary) {}
}
