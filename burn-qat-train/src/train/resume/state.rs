use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::optim::record::OptimizerRecord;
use burn::store::ModuleRecord;
use burn::tensor::{Bytes, Device};
use burn_gpt_oss::OutputDirectory;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Fingerprint;
use crate::adapt::has_factors;
use crate::error::QatError;
use crate::train::ending::recorded;
use crate::train::layer_wise::{Offload, States, parameters, states};
use crate::train::record_file::write_record;
use crate::train::{ExampleData, History, LayerWise, TrainConfig, Trainable};

/// What the names of states begin with; the optimizer steps follow.
const PREFIX: &str = "checkpoint-";
const STATE: &str = "state.json";
const MODEL: &str = "model.bpk";
const OPTIMIZER: &str = "optimizer.bpk";

/// Everything but tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Name of the stage.
    pub stage: String,
    /// Optimizer steps done.
    pub step: usize,
    /// The step of the model that was kept as the best one.
    pub best_step: Option<usize>,
    /// Settings of the stage.
    pub config: TrainConfig,
    /// What it trains, and on what.
    pub fingerprint: Fingerprint,
    /// The curves so far.
    pub history: History,
}

impl State {
    /// What a run begins with.
    pub fn beginning<M: Trainable>(
        stage: &str,
        config: &TrainConfig,
        model: &M,
        (train, valid): (&ExampleData<M::Example>, &ExampleData<M::Example>),
    ) -> Result<Self, QatError> {
        Ok(Self {
            stage: stage.into(),
            step: 0,
            best_step: None,
            config: config.clone(),
            fingerprint: Fingerprint::new(model, train, valid)?,
            history: History::default(),
        })
    }

    /// Writes a state beside the others of a directory, then removes those.
    pub fn save<M: Module>(
        &self,
        dir: &Path,
        model: &M,
        optimizer: &dyn OptimizerFile,
    ) -> Result<(), QatError> {
        let target = dir.join(format!("{PREFIX}{:08}", self.step));
        let output = OutputDirectory::create(&target, true)?;
        let write = |name: &str, bytes: &[u8]| {
            let path = output.path().join(name);
            fs::write(&path, bytes).map_err(QatError::io(path, "write"))
        };
        let unwritable = |error: &dyn std::fmt::Display| QatError::Training {
            stage: self.stage.clone(),
            message: format!("{}: the state cannot be written: {error}", target.display()),
        };
        let text = serde_json::to_vec_pretty(self).map_err(|error| unwritable(&error))?;
        write(STATE, &text)?;
        write_record(model, recorded(model), &output.path().join(MODEL))
            .map_err(|error| unwritable(&error))?;
        optimizer
            .save_in(output.path())
            .map_err(|error| unwritable(&error))?;
        output.commit()?;
        remove(dir, |found| found != target)
    }

    /// The settings that differ between this state and a run that would go on from it, but for those of what is
    /// written meanwhile.
    fn differences(&self, other: &Self) -> Vec<String> {
        let (saved, now) = (self.settings(), other.settings());
        let keys: BTreeSet<&String> = saved.keys().chain(now.keys()).collect();
        let differs = |key: &String| {
            let of = |settings: &serde_json::Map<String, Value>| {
                settings.get(key).cloned().unwrap_or(Value::Null)
            };
            let (saved, now) = (of(&saved), of(&now));
            (saved != now).then(|| format!("`{key}` was {saved} and is {now}"))
        };
        keys.into_iter().filter_map(differs).collect()
    }

    fn settings(&self) -> serde_json::Map<String, Value> {
        let mut settings = serde_json::Map::new();
        for part in [json!(self.config), json!(self.fingerprint)] {
            if let Value::Object(part) = part {
                settings.extend(part);
            }
        }
        settings.insert("stage".into(), json!(self.stage));
        for of_no_effect in ["checkpoint_steps", "report_to"] {
            settings.remove(of_no_effect);
        }
        if let Some(Value::Object(layer_wise)) = settings.get_mut("layer_wise") {
            layer_wise.remove("offload");
        }
        settings
    }
}

/// An optimizer that can be written into the directory of a state.
pub(crate) trait OptimizerFile {
    fn save_in(&self, dir: &Path) -> Result<(), String>;
}

impl OptimizerFile for ModuleOptimizer {
    fn save_in(&self, dir: &Path) -> Result<(), String> {
        self.save(dir.join(OPTIMIZER))
            .map_err(|error| error.to_string())
    }
}

impl OptimizerFile for States {
    fn save_in(&self, dir: &Path) -> Result<(), String> {
        self.save(&dir.join(states::FILE))
    }
}

/// A state that was read.
pub(crate) struct Restored {
    pub state: State,
    dir: PathBuf,
}

impl Restored {
    /// The last state of a directory, if there is one.
    pub fn find(dir: &Path) -> Result<Option<Self>, QatError> {
        let Some(newest) = states(dir)?.pop() else {
            return Ok(None);
        };
        let path = newest.join(STATE);
        let text = fs::read(&path).map_err(QatError::io(&path, "read"))?;
        let state = serde_json::from_slice(&text).map_err(|error| damaged(&path, &error))?;
        Ok(Some(Self { state, dir: newest }))
    }

    /// Fails unless a run that begins with `state` is the one that was saved.
    pub fn check(&self, state: &State) -> Result<(), QatError> {
        let differences = self.state.differences(state);
        match differences.is_empty() {
            true => Ok(()),
            false => Err(QatError::Resume {
                path: self.dir.clone(),
                message: format!(
                    "belongs to a run with other settings: {}; give those, or begin a new run",
                    differences.join(", ")
                ),
            }),
        }
    }

    /// The step of the best model, if the file in which it was kept is not newer than the state: an evaluation after
    /// it may have replaced the file, and comes again.
    pub fn best_step(&self, file: &Path) -> Option<usize> {
        let written = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
        let kept = written(file)? <= written(&self.dir.join(STATE))?;
        self.state.best_step.filter(|_| kept)
    }

    /// What an optimizer kept that trains a module layer by layer.
    pub fn states<M: Module>(
        &self,
        module: &M,
        settings: LayerWise,
        offload: Option<Offload>,
        device: &Device,
    ) -> Result<States, QatError> {
        let parameters = parameters(module, settings);
        States::load(&self.dir.join(states::FILE), &parameters, offload, device)
    }

    /// The trained weights, in a model of the same kind.
    pub fn model<M: Module>(&self, model: M) -> Result<M, QatError> {
        let path = self.dir.join(MODEL);
        let bytes = fs::read(&path).map_err(QatError::io(&path, "read"))?;
        let partial = has_factors(&model);
        ModuleRecord::from_bytes(Bytes::from_bytes_vec(bytes))
            .and_then(|record| model.try_load_record(record.allow_partial(partial)))
            .map_err(|error| damaged(&path, &error))
    }

    /// Both moments of every parameter. Burn leaves out what it cannot read, which would train on with moments of
    /// zero: the number of tensors and of their bytes tells. That of the whole file does not: parameters have other
    /// numbers in every process.
    pub fn optimizer(&self, optimizer: ModuleOptimizer) -> Result<ModuleOptimizer, QatError> {
        let path = self.dir.join(OPTIMIZER);
        let bytes = fs::read(&path).map_err(QatError::io(&path, "read"))?;
        let bytes = Bytes::from_bytes_vec(bytes).shared();
        let expected = contents(bytes.clone()).map_err(|error| damaged(&path, &error))?;
        let record = OptimizerRecord::from_bytes(bytes).map_err(|error| damaged(&path, &error))?;
        let optimizer = optimizer.load_record(record);
        let understood = optimizer
            .into_bytes()
            .map_err(|error| damaged(&path, &error))?;
        let found = contents(understood).map_err(|error| damaged(&path, &error))?;
        match found == expected {
            true => Ok(optimizer),
            false => Err(damaged(
                &path,
                &format!(
                    "{} tensors of {} bytes were understood, {} of {} bytes are there",
                    found.0, found.1, expected.0, expected.1
                ),
            )),
        }
    }
}

/// The number of tensors in a record, and of their bytes.
fn contents(record: Bytes) -> Result<(usize, usize), burn_pack::Error> {
    let tensors = burn_pack::Reader::from_bytes(record)?.into_tensors()?;
    let n_bytes = tensors.iter().map(burn_pack::Tensor::byte_len).sum();
    Ok((tensors.len(), n_bytes))
}

fn damaged(path: &Path, error: &dyn std::fmt::Display) -> QatError {
    QatError::Resume {
        path: path.to_path_buf(),
        message: format!("cannot be read: {error}; begin a new run"),
    }
}

/// The optimizer step of the last state in the directory of a stage, if there is one to go on from.
///
/// # Errors
/// A directory that cannot be listed.
pub fn saved_step(dir: &Path) -> Result<Option<usize>, QatError> {
    if !dir.exists() {
        return Ok(None);
    }
    let newest = states(dir)?.pop();
    Ok(newest.and_then(|path| step_of(&path)))
}

/// Removes all states of a directory, and what a run that was killed left of one.
pub(crate) fn clear(dir: &Path) -> Result<(), QatError> {
    remove(dir, |_| true)
}

/// The optimizer steps behind a state, from its name.
fn step_of(path: &Path) -> Option<usize> {
    path.file_name()?
        .to_str()?
        .strip_prefix(PREFIX)?
        .parse()
        .ok()
}

/// Complete states, the newest last.
fn states(dir: &Path) -> Result<Vec<PathBuf>, QatError> {
    let is_state = |path: &PathBuf| step_of(path).is_some() && path.is_dir();
    let mut found: Vec<PathBuf> = entries(dir)?.filter(is_state).collect();
    found.sort();
    Ok(found)
}

fn entries(dir: &Path) -> Result<impl Iterator<Item = PathBuf>, QatError> {
    let list = fs::read_dir(dir).map_err(QatError::io(dir, "list"))?;
    Ok(list.flatten().map(|entry| entry.path()))
}

/// Removes states. Each gets a hidden name first: one that is removed in part is none.
fn remove(dir: &Path, which: impl Fn(&Path) -> bool) -> Result<(), QatError> {
    for state in states(dir)?.into_iter().filter(|state| which(state)) {
        let name = state.file_name().unwrap_or_default().to_string_lossy();
        let hidden = dir.join(format!(".{name}.removed"));
        fs::rename(&state, &hidden).map_err(QatError::io(&state, "rename"))?;
    }
    for entry in entries(dir)? {
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(&format!(".{PREFIX}")) && entry.is_dir() {
            fs::remove_dir_all(&entry).map_err(QatError::io(&entry, "remove"))?;
        }
    }
    Ok(())
}
