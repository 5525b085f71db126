//! Training layer by layer gives what training as a whole gives.

use std::num::NonZeroUsize;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use burn::train::Interrupter;
use burn_gpt_oss::GptOss;
use burn_qat_train::{
    Clipping, LayerWise, Masters, Moments, ParameterGroup, QatError, QuantPolicy, StageOutcome,
    StageRun, TrainConfig, export_fp4, insert_quantizers, saved_step,
};

use crate::run::{SOURCE, config, examples, run, run_in, start, values};

const F32: LayerWise = LayerWise {
    clipping: Clipping::Exact,
    masters: Masters::F32,
    moments: Moments::F32,
    offload: false,
};

fn layer_wise(settings: LayerWise) -> TrainConfig {
    TrainConfig {
        layer_wise: Some(settings),
        ..config()
    }
}

/// What must be equal to the last bit.
fn curve(outcome: &StageOutcome) -> Vec<u64> {
    let history = &outcome.history;
    let train = history.train.iter().flat_map(|point| {
        let norm = point.grad_norm.unwrap_or(f64::NAN);
        [
            point.loss.to_bits(),
            norm.to_bits(),
            point.learning_rate.to_bits(),
        ]
    });
    train
        .chain(history.valid.iter().map(|point| point.loss.to_bits()))
        .collect()
}

fn quantized(policy: &QuantPolicy) -> GptOss {
    insert_quantizers(start(), policy).unwrap().0
}

#[test]
fn with_float32_the_curve_and_the_weights_are_those_of_the_whole_bit_for_bit() {
    let groups = vec![ParameterGroup {
        pattern: "*router*".into(),
        learning_rate_ratio: 0.5,
        weight_decay: Some(0.3),
    }];
    let cases = [
        config(),
        // Norms above the limit, decay, groups and frozen parameters.
        TrainConfig {
            max_grad_norm: Some(0.05),
            weight_decay: 0.1,
            parameter_groups: groups,
            frozen: vec!["embed_tokens*".into(), "*q_proj*".into()],
            ..config()
        },
        TrainConfig {
            max_grad_norm: None,
            micro_batch_size: 4,
            ..config()
        },
    ];
    for case in cases {
        let whole = run(&case);
        let parts = run(&TrainConfig {
            layer_wise: Some(F32),
            ..case.clone()
        });
        assert_eq!(curve(&whole), curve(&parts), "{case:?}");
        assert_eq!(values(&whole.model), values(&parts.model), "{case:?}");
    }
}

#[test]
fn quantized_experts_train_as_in_the_whole() {
    for policy in [
        QuantPolicy::mxfp4_mlp_weight_only(),
        QuantPolicy::nvfp4_mlp_weight_only(),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let whole = run_in(dir.path(), quantized(&policy), &config()).unwrap();
        let parts = run_in(dir.path(), quantized(&policy), &layer_wise(F32)).unwrap();
        let [whole, parts] = [whole, parts].map(|outcome| {
            let losses: Vec<f64> = outcome
                .history
                .train
                .iter()
                .map(|point| point.loss)
                .collect();
            (losses, outcome.model)
        });
        for (whole, parts) in whole.0.iter().zip(&parts.0) {
            assert!((whole - parts).abs() < 1e-5, "{whole} and {parts}");
        }
    }
}

#[test]
fn every_scheme_learns_what_float32_learns() {
    let whole = run(&config());
    let last = |outcome: &StageOutcome| outcome.history.train.last().unwrap().loss;
    let first = whole.history.train[0].loss;
    let learned = first - last(&whole);
    assert!(learned > 0.1, "{learned}");
    for masters in [
        Masters::F32,
        Masters::Split32,
        Masters::Split24,
        Masters::Bf16,
    ] {
        for moments in [Moments::F32, Moments::Companded8] {
            for clipping in [Clipping::Exact, Clipping::Previous, Clipping::Parameter] {
                let settings = LayerWise {
                    clipping,
                    masters,
                    moments,
                    ..F32
                };
                let outcome = run(&layer_wise(settings));
                let share = (first - last(&outcome)) / learned;
                println!("{settings:?}: {share:.3}");
                assert!(
                    (0.9..1.1).contains(&share) || clipping == Clipping::Parameter,
                    "{settings:?}: {share}"
                );
                assert!(share > 0.5, "{settings:?}: {share}");
            }
        }
    }
}

#[test]
fn an_interrupted_run_goes_on_bit_for_bit() {
    let policy = QuantPolicy::mxfp4_mlp_weight_only();
    for (masters, moments, offload) in [
        (Masters::F32, Moments::F32, false),
        (Masters::Split32, Moments::Companded8, true),
        (Masters::Split24, Moments::Companded8, false),
        (Masters::Bf16, Moments::Companded8, true),
    ] {
        let config = TrainConfig {
            steps: 7,
            checkpoint_steps: NonZeroUsize::new(1),
            ..layer_wise(LayerWise {
                clipping: Clipping::Previous,
                masters,
                moments,
                offload,
            })
        };
        let data = || (examples(1), examples(5));
        let dir = tempfile::tempdir().unwrap();
        let whole = run_in(dir.path(), quantized(&policy), &config).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut n_runs = 0;
        let outcome = loop {
            n_runs += 1;
            assert!(n_runs < 20, "no progress");
            let stop = Interrupter::new();
            let watcher = stopped_two_steps_on(dir.path(), stop.clone());
            let stage = StageRun::new("test", dir.path(), &config).with_interrupter(stop);
            let outcome = match saved_step(dir.path()).unwrap() {
                None => stage.train(quantized(&policy), data()).unwrap(),
                Some(_) => stage.resume(quantized(&policy), data()).unwrap(),
            };
            watcher.join().unwrap();
            if !outcome.interrupted {
                break outcome;
            }
        };
        assert!(n_runs > 1, "it was never stopped");
        assert_eq!(curve(&whole), curve(&outcome), "{masters:?} {moments:?}");
        assert_eq!(
            values(&whole.model),
            values(&outcome.model),
            "{masters:?} {moments:?}"
        );
    }
}

/// What the model multiplies with in 16-bit masters is what is exported: the export compares it, bit for bit.
#[test]
fn codes_of_narrow_masters_are_exported_as_they_trained() {
    let source = crate::model::open(SOURCE);
    for policy in [
        QuantPolicy::mxfp4_mlp_weight_only(),
        QuantPolicy::nvfp4_mlp_weight_only(),
    ] {
        for masters in [Masters::Split24, Masters::Bf16] {
            let settings = LayerWise {
                masters,
                ..LayerWise::default()
            };
            let dir = tempfile::tempdir().unwrap();
            let outcome = run_in(dir.path(), quantized(&policy), &layer_wise(settings)).unwrap();
            let target = dir.path().join("export");
            let report = export_fp4(&outcome.model, &target, &source, false, |_| {}).unwrap();
            let experts = outcome.model.config().num_expert_weights();
            assert_eq!(
                report.verified_weights, experts,
                "{} {masters:?}",
                policy.name
            );
        }
    }
}

/// Stops a run when its last state is two steps further.
fn stopped_two_steps_on(dir: &Path, stop: Interrupter) -> JoinHandle<()> {
    let dir = dir.to_path_buf();
    let step = move || saved_step(&dir).ok().flatten().unwrap_or(0);
    let from = step();
    std::thread::spawn(move || {
        for _ in 0..10_000 {
            if step() >= from + 2 {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        stop.stop(None);
    })
}

/// A state that is cut off, of other formats, or of settings without it is refused by name.
#[test]
fn states_that_do_not_fit_are_refused() {
    let config = TrainConfig {
        checkpoint_steps: NonZeroUsize::new(1),
        ..layer_wise(LayerWise::default())
    };
    let dir = tempfile::tempdir().unwrap();
    run_in(dir.path(), start(), &config).unwrap();
    let resumed = |config: &TrainConfig| {
        let stage = StageRun::new("test", dir.path(), config);
        stage.resume(start(), (examples(1), examples(5)))
    };
    let whole = TrainConfig {
        layer_wise: None,
        ..config.clone()
    };
    let error = resumed(&whole).expect_err("another optimizer").to_string();
    assert!(error.contains("`layer_wise` was"), "{error}");
    let elsewhere = TrainConfig {
        layer_wise: Some(LayerWise {
            offload: true,
            ..LayerWise::default()
        }),
        ..config.clone()
    };
    resumed(&elsewhere).expect("where moments are has no effect");

    let step = saved_step(dir.path()).unwrap().unwrap();
    let file = dir
        .path()
        .join(format!("checkpoint-{step:08}/optimizer.safetensors"));
    let bytes = std::fs::read(&file).unwrap();
    let refused = |bytes: &[u8], part: &str| {
        std::fs::write(&file, bytes).unwrap();
        let error = resumed(&config).expect_err(part).to_string();
        assert!(
            error.contains("optimizer.safetensors") && error.contains(part),
            "{error}"
        );
    };
    refused(&bytes[..bytes.len() - 5], "are there");
    refused(&bytes[..6], "fill whole buffer");
    refused(&[255; 40], "a header of");
    let replaced = |from: &str, to: &str| {
        let at = bytes
            .windows(from.len())
            .position(|part| part == from.as_bytes());
        let mut bytes = bytes.clone();
        bytes[at.unwrap()..][..to.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    refused(
        &replaced("time:norm.weight", "time:norm.weighs"),
        "no parameter",
    );
    refused(&replaced(".codes_1", ".codes_9"), "is missing");
    refused(&replaced("\"BF16\"", "\"F16\" "), "expected");
}

#[test]
fn a_step_that_is_not_finite_changes_nothing_and_names_its_place() {
    for clipping in [Clipping::Exact, Clipping::Previous, Clipping::Parameter] {
        let config = TrainConfig {
            learning_rate: 1e30,
            ..layer_wise(LayerWise { clipping, ..F32 })
        };
        let dir = tempfile::tempdir().unwrap();
        let error = run_in(dir.path(), start(), &config).expect_err("weights of 1e30");
        assert!(matches!(error, QatError::Diverged { .. }), "{error}");
    }
}
