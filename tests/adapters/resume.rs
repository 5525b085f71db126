//! Runs that end early and go on: the curves are those of a run that did not end.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use burn::tensor::Device;
use burn::train::Interrupter;
use burn_gpt_oss::{AdapterCheckpoint, GptOss};
use burn_pack::Reader;
use burn_qat_train::{LoraConfig, QatError, StageOutcome, StageRun, TokenizedExample, TrainConfig};

use crate::adapted;
use crate::training::{examples, lora, model};

/// States in the middle of intervals and at their ends.
fn config() -> TrainConfig {
    TrainConfig {
        steps: 14,
        eval_steps: 4,
        batch_size: 2,
        learning_rate: 1e-2,
        checkpoint_steps: NonZeroUsize::new(3),
        ..TrainConfig::default()
    }
}

type Data = (Vec<TokenizedExample>, Vec<TokenizedExample>);

fn data() -> Data {
    (examples(9), examples(3))
}

/// The whole run, or what is left of it.
fn run(dir: &Path, config: &TrainConfig, stop: Interrupter) -> Result<StageOutcome, QatError> {
    let run = StageRun::new("LoRA", dir, config).with_interrupter(stop);
    match states(dir).is_empty() {
        true => run.train(model(), data()),
        false => run.resume(model(), data()),
    }
}

fn states(dir: &Path) -> Vec<PathBuf> {
    let entries = dir.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let is_state = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("checkpoint-")
    };
    entries.filter(is_state).collect()
}

/// Everything that must not depend on where a run was interrupted.
#[derive(Debug, PartialEq)]
struct Result_ {
    losses: Vec<u64>,
    valid: Vec<(usize, u64)>,
    best_step: usize,
    factors: AdapterCheckpoint,
}

fn result(outcome: &StageOutcome) -> Result_ {
    let history = &outcome.history;
    Result_ {
        losses: history
            .train
            .iter()
            .map(|point| point.loss.to_bits())
            .collect(),
        valid: history
            .valid
            .iter()
            .map(|point| (point.step, point.loss.to_bits()))
            .collect(),
        best_step: outcome.best_step,
        factors: AdapterCheckpoint::of(&outcome.model, lora().settings("")).unwrap(),
    }
}

fn uninterrupted() -> Result_ {
    uninterrupted_in(tempfile::tempdir().unwrap().path())
}

fn uninterrupted_in(dir: &Path) -> Result_ {
    let outcome = run(dir, &config(), Interrupter::new()).unwrap();
    assert!(!outcome.interrupted);
    assert_eq!(outcome.history.valid.len(), 4);
    result(&outcome)
}

/// Both moments of the last state as bytes, by the names of their parameters.
fn moments(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let reader = Reader::from_file(states(dir).remove(0).join("optimizer.bpk")).unwrap();
    let paths = reader.metadata().clone();
    let tensor = |tensor: burn_pack::Tensor| {
        let (name, _, _, _, bytes) = tensor.into_parts().unwrap();
        // Numbers of parameters differ from run to run.
        let (id, field) = name.split_once('.').unwrap();
        (format!("{} {field}", paths[id]), bytes.to_vec())
    };
    let tensors = reader.into_tensors().unwrap();
    tensors.into_iter().map(tensor).collect()
}

/// Lines of the log that are about training steps.
fn n_steps(dir: &Path) -> usize {
    let text = fs::read_to_string(dir.join("metrics.jsonl")).unwrap_or_default();
    text.lines()
        .filter(|line| line.contains("\"train\""))
        .count()
}

#[test]
fn a_run_that_is_stopped_again_and_again_has_the_same_curve() {
    let whole = tempfile::tempdir().unwrap();
    let expected = uninterrupted_in(whole.path());
    let dir = tempfile::tempdir().unwrap();
    let mut n_runs = 0;
    let outcome = loop {
        n_runs += 1;
        assert!(n_runs < 40, "no progress");
        let stop = Interrupter::new();
        let (from, path, signal) = (n_steps(dir.path()), dir.path().to_path_buf(), stop.clone());
        // Two steps further, wherever that is.
        let watcher = std::thread::spawn(move || {
            for _ in 0..4000 {
                if n_steps(&path) >= from + 2 {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            signal.stop(None);
        });
        let outcome = run(dir.path(), &config(), stop).unwrap();
        watcher.join().unwrap();
        assert!(states(dir.path()).len() == 1, "one state at a time");
        if !outcome.interrupted {
            break outcome;
        }
    };
    assert!(n_runs > 2, "it was never stopped");
    assert_eq!(result(&outcome), expected);
    let (found, expected) = (moments(dir.path()), moments(whole.path()));
    // Two factors and two moments for each of the adapted weights.
    assert_eq!(found.len() % 4, 0);
    assert!(
        found.len() >= 4
            && found
                .values()
                .any(|bytes| bytes.iter().any(|byte| *byte != 0))
    );
    assert_eq!(found, expected);
    // The log is that of one run, too.
    assert_eq!(n_steps(dir.path()), config().steps);
}

/// Random numbers of dropout are one sequence for a whole process, so this has one of its own.
#[test]
fn dropout_goes_on_with_the_same_numbers() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["resume::dropout_alone", "--exact", "--ignored"]);
    let ended = child.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "is started by another test"]
fn dropout_alone() {
    let with = |dropout: f64, dir: &Path, stops: bool| {
        let lora = LoraConfig { dropout, ..lora() };
        let stop = Interrupter::new();
        if stops {
            stop.stop(None);
        }
        let config = config();
        let run = StageRun::new("LoRA", dir, &config).with_interrupter(stop);
        let model = adapted(&lora, &Device::flex());
        let outcome = match states(dir).is_empty() {
            true => run.train(model, data()),
            false => run.resume(model, data()),
        };
        outcome.unwrap()
    };
    let [whole, parts, without] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let expected = result(&with(0.3, whole.path(), false));
    assert!(with(0.3, parts.path(), true).interrupted);
    assert_eq!(result(&with(0.3, parts.path(), false)), expected);
    let losses = result(&with(0.0, without.path(), false)).losses;
    assert_ne!(losses, expected.losses, "nothing was dropped");
}

/// Not a test of its own: the process that `killed_at_any_moment` kills.
#[test]
#[ignore = "is started by another test"]
fn child() {
    let dir = PathBuf::from(std::env::var_os("RESUME_DIR").expect("started by another test"));
    run(&dir, &config(), Interrupter::new()).unwrap();
    fs::write(dir.join("done"), []).unwrap();
}

fn start(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["resume::child", "--exact", "--ignored"])
        .env("RESUME_DIR", dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Thirty kills; a run that gets to its end before the next one is compared and begun anew.
#[test]
fn killed_at_any_moment() {
    let expected = uninterrupted();
    let mut dir = tempfile::tempdir().unwrap();
    let (mut n_kills, mut state) = (0, 12345u64);
    while n_kills < 30 {
        let mut child = start(dir.path());
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        // Up to about the time that a run takes.
        std::thread::sleep(Duration::from_millis((state >> 33) % 400));
        // SIGKILL; it may have ended by itself.
        let _ = child.kill();
        n_kills += usize::from(!child.wait().unwrap().success());
        if dir.path().join("done").exists() {
            let outcome = run(dir.path(), &config(), Interrupter::new()).unwrap();
            assert_eq!(result(&outcome), expected);
            dir = tempfile::tempdir().unwrap();
        }
    }
    let outcome = run(dir.path(), &config(), Interrupter::new()).unwrap();
    assert_eq!(result(&outcome), expected);
}

fn stopped_in_the_middle(dir: &Path) {
    let stop = Interrupter::new();
    stop.stop(None);
    let outcome = run(dir, &config(), stop).unwrap();
    assert!(outcome.interrupted);
    assert_eq!(states(dir).len(), 1, "a stop saves first");
}

fn refused(dir: &Path, model: GptOss, data: Data, config: &TrainConfig) -> String {
    let error = StageRun::new("LoRA", dir, config).resume(model, data);
    error.unwrap_err().to_string()
}

#[test]
fn other_settings_data_and_models_are_named() {
    let dir = tempfile::tempdir().unwrap();
    stopped_in_the_middle(dir.path());
    let error = |model, data, config: &TrainConfig| refused(dir.path(), model, data, config);
    let config = config();
    let rate = TrainConfig {
        learning_rate: 2e-2,
        ..config.clone()
    };
    let message = error(model(), data(), &rate);
    assert!(
        message.contains("`learning_rate` was 0.01 and is 0.02"),
        "{message}"
    );
    let mut other = data();
    other.0[3].loss_mask[5] = false;
    let message = error(model(), other, &config);
    assert!(
        message.contains("`training_data`") && !message.contains("`validation_data`"),
        "{message}"
    );
    let wider = adapted(&LoraConfig { rank: 5, ..lora() }, &Device::flex());
    let message = error(wider, data(), &config);
    assert!(message.contains("`model`"), "{message}");
}

#[test]
fn states_that_are_missing_or_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let go = || refused(dir.path(), model(), data(), &config());
    let message = go();
    assert!(message.contains("no state"), "{message}");
    stopped_in_the_middle(dir.path());
    let state = states(dir.path()).remove(0);
    for file in ["optimizer.bpk", "model.bpk", "state.json"] {
        let path = state.join(file);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let message = go();
        assert!(
            message.contains(file) && message.contains("cannot be read"),
            "{message}"
        );
        fs::write(&path, whole).unwrap();
    }
    run(dir.path(), &config(), Interrupter::new()).unwrap();
}

/// Something in the way of a state ends the run, which gives what it has learned.
#[test]
fn a_state_that_cannot_be_written_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("checkpoint-00000006"), []).unwrap();
    let error = StageRun::new("LoRA", dir.path(), &config()).train(model(), data());
    let mut error = error.unwrap_err();
    let message = error.to_string();
    assert!(message.contains("checkpoint-00000006"), "{message}");
    let kept = error
        .take_kept::<GptOss>()
        .expect("the model of the last evaluation, or the last one");
    assert!(kept.best_step >= 4);
}
