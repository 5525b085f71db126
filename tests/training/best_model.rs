//! What a training stage keeps: the best weights, wherever the best step lies and however it ends.

use burn::tensor::{Device, FloatDType};
use burn_gpt_oss::{ElementTypes, GptOss, GptOssConfig, LayerType};
use burn_qat_train::{
    QatError, StageOutcome, StageRun, TokenizedExample, TrainConfig, evaluate_loss,
};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn network() -> GptOss {
    let config = GptOssConfig {
        vocab_size: 64,
        hidden_size: 32,
        intermediate_size: 32,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 16,
        num_local_experts: 4,
        num_experts_per_tok: 2,
        layer_types: vec![LayerType::FullAttention],
        ..GptOssConfig::gpt_oss_20b()
    };
    config.init(&Device::flex())
}

/// Training data that says the opposite of the validation data after a while: what is learned first
/// helps both, what is learned by heart does not.
fn data() -> (Vec<TokenizedExample>, Vec<TokenizedExample>) {
    let example = |seed: usize, step: usize| TokenizedExample {
        tokens: (0..16).map(|i| ((i * step + seed) % 32) as u32).collect(),
        loss_mask: vec![true; 16],
        starts: Vec::new(),
    };
    let train = (0..4).map(|seed| example(seed, 3)).collect();
    let valid = (0..4).map(|seed| example(seed + 1, 5)).collect();
    (train, valid)
}

fn config() -> TrainConfig {
    TrainConfig {
        steps: 40,
        eval_steps: 4,
        learning_rate: 3e-3,
        warmup_ratio: 0.0,
        min_lr_ratio: 1.0,
        ..TrainConfig::default()
    }
}

fn run(dir: &Path, config: &TrainConfig) -> Result<StageOutcome, QatError> {
    StageRun::new("SFT", dir, config).train(network(), data())
}

fn loss(model: &GptOss) -> f64 {
    let (_, valid) = data();
    let device = Device::flex();
    let report = evaluate_loss(
        model,
        &valid,
        (4, 1),
        &device,
        |_| ControlFlow::Continue(()),
    );
    report.expect("a loss").expect("to its end").loss
}

#[test]
fn the_best_step_lies_in_the_middle() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut outcome = run(dir.path(), &config()).expect("a model");
    let valid = &outcome.history.valid;
    let best = valid
        .iter()
        .min_by(|a, b| a.loss.total_cmp(&b.loss))
        .expect("evaluations");
    assert_eq!(outcome.best_step, best.step);
    assert!(4 < best.step && best.step < 40, "{valid:?}");
    let expected = best.loss;
    let record = outcome.record.clone().expect("a file with the weights");
    assert!(record.is_file());
    outcome.discard_record();
    // Nothing of the model is read from the file any more.
    drop(dir);
    assert!(!record.exists());
    let found = loss(&outcome.model);
    assert!(
        (found - expected).abs() < 1e-6,
        "{found} instead of {expected}"
    );
}

#[test]
fn one_directory_takes_one_run_after_the_other() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let short = TrainConfig {
        steps: 8,
        ..config()
    };
    let first = run(dir.path(), &config()).expect("a model");
    let second = run(dir.path(), &short).expect("a model");
    assert!(first.history.train.len() > second.history.train.len());
    let log = std::fs::read_to_string(dir.path().join("metrics.jsonl")).expect("a log");
    let parsed: Result<Vec<serde_json::Value>, _> = log.lines().map(serde_json::from_str).collect();
    assert_eq!(parsed.expect("JSON").len(), 8 + 2);
}

#[test]
fn a_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("metrics.jsonl");
    let other = std::fs::File::create(&path).expect("a file");
    std::fs::write(&path, "{}\n").expect("a line");
    other.lock().expect("a lock");
    let error = run(dir.path(), &config()).expect_err("in use").to_string();
    assert!(error.contains("another run"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("a line"), "{}\n");
}

/// The first step has the rate 0, the second destroys the weights.
#[test]
fn a_loss_that_is_not_finite_comes_with_the_weights_before_it() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = TrainConfig {
        learning_rate: 1e30,
        warmup_ratio: 1.0,
        steps: 8,
        eval_steps: 1,
        ..config()
    };
    let mut error = run(dir.path(), &config).expect_err("destroyed");
    let text = error.to_string();
    for part in ["SFT", "step 2", "the weights of step 1 were kept"] {
        assert!(text.contains(part), "{text}");
    }
    let kept = error.take_kept::<GptOss>().expect("a model");
    assert_eq!(error.to_string(), text);
    assert_eq!(kept.best_step, 1);
    let (found, expected) = (loss(&kept.model), kept.history.valid[0].loss);
    assert!(
        (found - expected).abs() < 1e-6,
        "{found} instead of {expected}"
    );
}

/// Somebody else removes the file of the best weights: the last ones are in memory.
#[test]
fn a_file_that_vanishes_does_not_take_the_last_weights_along() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let over = AtomicBool::new(false);
    let mut error = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _ = std::fs::remove_file(dir.path().join("best-model.bpk"));
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let result = run(dir.path(), &config());
        over.store(true, Ordering::Relaxed);
        result.expect_err("the best weights are gone")
    });
    let said = error.to_string();
    assert!(said.contains("best-model.bpk"), "{said}");
    assert!(said.contains("step 40 were kept"), "{said}");
    let kept = error.take_kept::<GptOss>().expect("the last weights");
    assert_eq!(kept.best_step, 40);
    assert!(loss(&kept.model).is_finite());
}

/// Without an evaluation before, nothing is claimed to be kept.
#[test]
fn nothing_is_kept_of_what_never_was_good() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let config = TrainConfig {
        learning_rate: 1e30,
        ..config()
    };
    let mut error = run(dir.path(), &config).expect_err("destroyed");
    assert!(error.to_string().contains("no weights"), "{error}");
    assert!(error.take_kept::<GptOss>().is_none());
}

#[test]
fn settings_that_are_no_numbers_are_refused() {
    let nan = f32::NAN;
    let config = config();
    for (key, config) in [
        (
            "max_grad_norm",
            TrainConfig {
                max_grad_norm: Some(f64::NAN),
                ..config.clone()
            },
        ),
        (
            "weight_decay",
            TrainConfig {
                weight_decay: nan,
                ..config.clone()
            },
        ),
        (
            "beta_1",
            TrainConfig {
                beta_1: 1.0,
                ..config.clone()
            },
        ),
        (
            "beta_2",
            TrainConfig {
                beta_2: nan,
                ..config.clone()
            },
        ),
        (
            "epsilon",
            TrainConfig {
                epsilon: 0.0,
                ..config.clone()
            },
        ),
        (
            "learning_rate",
            TrainConfig {
                learning_rate: f64::NAN,
                ..config.clone()
            },
        ),
        (
            "warmup_ratio",
            TrainConfig {
                warmup_ratio: f64::NAN,
                ..config.clone()
            },
        ),
    ] {
        let error = config.check().expect_err(key).to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn element_types_that_do_not_go_together_are_refused() {
    let with = |change: fn(&mut ElementTypes)| {
        let mut config = config();
        change(&mut config.element_types);
        config
    };
    let dir = tempfile::tempdir().expect("temporary directory");
    for (key, expected, config) in [
        (
            "element_types.storage",
            "BF16",
            with(|types| types.storage = FloatDType::F16),
        ),
        (
            "element_types.compute",
            "F32",
            with(|types| types.compute = FloatDType::BF16),
        ),
        (
            "element_types.master",
            "F32",
            with(|types| {
                types.compute = FloatDType::BF16;
                types.master = FloatDType::BF16;
            }),
        ),
    ] {
        let error = run(dir.path(), &config).expect_err(key).to_string();
        assert!(error.contains(key) && error.contains(expected), "{error}");
    }
}
