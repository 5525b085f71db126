//! Settings of training that change what trains, how fast, and for how long.
#![allow(clippy::unwrap_used)]

#[path = "support/golden.rs"]
mod golden;
#[path = "support/model.rs"]
mod model;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use burn::train::Interrupter;
use burn_gpt_oss::GptOss;
use burn_qat_train::{
    Console, Decay, History, ParameterGroup, QatError, QuantPolicy, StageOutcome, TokenizedExample,
    TrainConfig, evaluate_loss, insert_quantizers, resume, train,
};

use model::{load, parameters};

const SOURCE: &str = "tiny-gpt-oss-bf16";

fn examples(seed: u32) -> Vec<TokenizedExample> {
    let example = |n: u32| {
        let token = |i: u32| (i * 31 + n * 17 + seed) % 90 + 1;
        TokenizedExample {
            tokens: (0..10 + n % 3).map(token).collect(),
            loss_mask: vec![true; (10 + n % 3) as usize],
        }
    };
    (0..8).map(example).collect()
}

fn config() -> TrainConfig {
    TrainConfig {
        steps: 6,
        batch_size: 4,
        micro_batch_size: 2,
        learning_rate: 1e-3,
        warmup_ratio: 0.0,
        eval_steps: 2,
        ..TrainConfig::default()
    }
}

fn start() -> GptOss {
    load(SOURCE, &Device::flex())
}

fn run_in(dir: &Path, model: GptOss, config: &TrainConfig) -> Result<StageOutcome, QatError> {
    let data = (examples(1), examples(5));
    train(
        "test",
        dir,
        model,
        data,
        config,
        Console::Silent,
        Interrupter::new(),
    )
}

fn run(config: &TrainConfig) -> StageOutcome {
    let dir = tempfile::tempdir().unwrap();
    run_in(dir.path(), start(), config).unwrap()
}

type Values = BTreeMap<String, Vec<f32>>;

fn values(model: &GptOss) -> Values {
    let arrays = parameters(model).into_iter();
    arrays.map(|(name, array)| (name, array.values)).collect()
}

fn changed(before: &Values, after: &Values) -> Vec<String> {
    let names = before.keys().filter(|name| before[*name] != after[*name]);
    names.cloned().collect()
}

fn largest_change(before: &Values, after: &Values, name: &str) -> f32 {
    let pairs = before[name].iter().zip(&after[name]);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn globs_choose_what_trains() {
    let before = values(&start());
    let frozen = run(&TrainConfig {
        frozen: vec!["*mlp*".into(), "embed*".into()],
        ..config()
    });
    let after = changed(&before, &values(&frozen.model));
    assert!(
        after.iter().any(|name| name.contains("self_attn")),
        "{after:?}"
    );
    assert!(
        !after
            .iter()
            .any(|name| name.contains("mlp") || name.contains("embed")),
        "{after:?}"
    );

    let only = run(&TrainConfig {
        trainable: Some(vec!["*router*".into(), "lm_head*".into()]),
        frozen: vec!["*bias".into()],
        ..config()
    });
    let after = changed(&before, &values(&only.model));
    let expected: Vec<&String> = before
        .keys()
        .filter(|name| name.contains("router.weight") || name.contains("lm_head"))
        .collect();
    assert_eq!(after.iter().collect::<Vec<_>>(), expected);
}

/// AdamW moves a weight by about the learning rate in the first step, whatever its gradient is.
#[test]
fn groups_have_their_own_learning_rate() {
    let before = values(&start());
    let one_step = TrainConfig {
        steps: 1,
        parameter_groups: vec![
            ParameterGroup {
                pattern: "*self_attn*".into(),
                learning_rate_ratio: 0.1,
                weight_decay: None,
            },
            ParameterGroup {
                pattern: "layers.1.self_attn*".into(),
                learning_rate_ratio: 3.0,
                weight_decay: None,
            },
        ],
        ..config()
    };
    let after = values(&run(&one_step).model);
    let step = |name: &str| largest_change(&before, &after, name) / 1e-3;
    assert!((step("model.layers.0.self_attn.o_proj.weight") - 0.1).abs() < 0.01);
    assert!((step("model.layers.1.self_attn.o_proj.weight") - 3.0).abs() < 0.1);
    assert!((step("lm_head.weight") - 1.0).abs() < 0.05);
}

/// Decay is a factor on the weight: what has none differs from a run without decay nowhere.
#[test]
fn biases_norms_and_sinks_do_not_decay_unless_asked() {
    let one_step = |weight_decay, no_weight_decay: Option<Vec<String>>| {
        let config = TrainConfig {
            steps: 1,
            weight_decay,
            ..config()
        };
        let kept = config.no_weight_decay.clone();
        let no_weight_decay = no_weight_decay.unwrap_or(kept);
        values(
            &run(&TrainConfig {
                no_weight_decay,
                ..config
            })
            .model,
        )
    };
    let plain = one_step(0.0, None);
    let decayed = changed(&plain, &one_step(0.5, None));
    assert!(decayed.contains(&"model.layers.0.mlp.experts.down_proj".to_string()));
    let spared =
        |name: &String| name.ends_with("bias") || name.contains("norm") || name.ends_with("sinks");
    assert_eq!(decayed.iter().find(|name| spared(name)), None);
    let all = changed(&plain, &one_step(0.5, Some(Vec::new())));
    assert!(all.contains(&"model.norm.weight".to_string()), "{all:?}");
}

#[test]
fn schedules_are_what_the_log_says() {
    let rates = |lr_scheduler, warmup_steps| {
        let outcome = run(&TrainConfig {
            lr_scheduler,
            warmup_steps: Some(warmup_steps),
            min_lr_ratio: 0.0,
            ..config()
        });
        let points = outcome.history.train.into_iter();
        points
            .map(|point| point.learning_rate / 1e-3)
            .collect::<Vec<_>>()
    };
    let near = |found: Vec<f64>, expected: [f64; 6]| {
        let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
        assert!(off.fold(0.0, f64::max) < 1e-9, "{found:?}");
    };
    near(rates(Decay::Constant, 2), [0.0, 0.5, 1.0, 1.0, 1.0, 1.0]);
    near(rates(Decay::Linear, 2), [0.0, 0.5, 1.0, 0.75, 0.5, 0.25]);
}

/// A learning rate that destroys: no evaluation is better than the first.
#[test]
fn a_stage_ends_early_and_keeps_its_best_model() {
    let rising = TrainConfig {
        steps: 40,
        learning_rate: 3e-2,
        early_stopping: NonZeroUsize::new(3),
        lr_scheduler: Decay::Constant,
        ..config()
    };
    let dir = tempfile::tempdir().unwrap();
    let outcome = run_in(dir.path(), start(), &rising).unwrap();
    let points = &outcome.history.valid;
    let best = outcome.history.best_interval().unwrap();
    assert!(points.len() < 20, "{points:?}");
    assert_eq!(points.len() - 1 - best, 3, "{points:?}");
    assert_eq!(outcome.best_step, points[best].step);
    assert!(!outcome.interrupted);
    let read = History::from_jsonl(&dir.path().join("metrics.jsonl")).unwrap();
    assert!(read.is_complete(&rising));
    assert!(!read.is_complete(&config()));
}

/// The first evaluation of QAT is what rounding costs.
#[test]
fn the_loss_before_the_first_step_is_told_and_never_the_best() {
    let device = Device::flex();
    let policy = QuantPolicy::mxfp4_mlp_weight_only();
    let model = insert_quantizers(start(), &policy).unwrap().0;
    let expected = evaluate_loss(&model.valid(), &examples(5), (2, 1), &device, |_| {
        std::ops::ControlFlow::Continue(())
    });
    let config = TrainConfig {
        eval_on_start: true,
        ..config()
    };
    let dir = tempfile::tempdir().unwrap();
    let outcome = run_in(dir.path(), model, &config).unwrap();
    assert_eq!(outcome.history.start, Some(expected.unwrap().unwrap().loss));
    assert_eq!(outcome.history.valid[0].step, 2);
    assert!(outcome.best_step > 0);
    let read = History::from_jsonl(&dir.path().join("metrics.jsonl")).unwrap();
    assert_eq!(read.start, outcome.history.start);
}

/// Frozen parameters, groups, NVFP4 with scales that are renewed: a run that goes on is the one that did not stop.
#[test]
fn runs_with_groups_and_kept_scales_go_on_bit_for_bit() {
    let device = Device::flex();
    let config = TrainConfig {
        steps: 8,
        checkpoint_steps: NonZeroUsize::new(1),
        global_refresh_steps: NonZeroUsize::new(3),
        eval_on_start: true,
        weight_decay: 0.1,
        frozen: vec!["*self_attn*".into()],
        parameter_groups: vec![ParameterGroup {
            pattern: "*router*".into(),
            learning_rate_ratio: 0.5,
            weight_decay: Some(0.0),
        }],
        ..config()
    };
    let refresh = burn_qat_train::GlobalRefresh::Every(NonZeroUsize::new(3).unwrap());
    let rounded = || {
        let policy = QuantPolicy::nvfp4_mlp_weight_only();
        let model = load(SOURCE, &device);
        burn_qat_train::insert_quantizers_with(model, &policy, refresh)
            .unwrap()
            .0
    };
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = run_in(whole.path(), rounded(), &config).unwrap();
    let mut found = None;
    // Stopped after one step, and one, and one; then it goes on to the end.
    for stopped in 0..4 {
        let data = (examples(1), examples(5));
        let stop = Interrupter::new();
        if stopped < 3 {
            stop.stop(None);
        }
        let console = Console::Silent;
        let outcome = match burn_qat_train::saved_step(parts.path()).unwrap() {
            None => train(
                "test",
                parts.path(),
                rounded(),
                data,
                &config,
                console,
                stop,
            ),
            Some(_) => resume(
                "test",
                parts.path(),
                rounded(),
                data,
                &config,
                console,
                stop,
            ),
        };
        let outcome = outcome.unwrap();
        assert_eq!(outcome.interrupted, stopped < 3);
        found = Some(outcome);
    }
    let found = found.unwrap();
    assert_eq!(found.history.quantization, expected.history.quantization);
    let losses = |outcome: &StageOutcome| {
        let points = outcome.history.train.iter();
        points.map(|point| point.loss).collect::<Vec<_>>()
    };
    assert_eq!(losses(&found), losses(&expected));
    assert_eq!(found.history.valid, expected.history.valid);
    assert_eq!(values(&found.model), values(&expected.model));
}

#[test]
fn what_chooses_nothing_is_refused_by_name() {
    let refused = |config: TrainConfig| {
        let dir = tempfile::tempdir().unwrap();
        run_in(dir.path(), start(), &config)
            .unwrap_err()
            .to_string()
    };
    let message = refused(TrainConfig {
        frozen: vec!["*no_such_part*".into()],
        ..config()
    });
    assert!(
        message.contains("frozen") && message.contains("`*no_such_part*`"),
        "{message}"
    );
    let message = refused(TrainConfig {
        trainable: Some(Vec::new()),
        ..config()
    });
    assert!(message.contains("leave something to train"), "{message}");
    let message = refused(TrainConfig {
        parameter_groups: vec![ParameterGroup {
            pattern: "*router*".into(),
            learning_rate_ratio: 0.0,
            weight_decay: None,
        }],
        ..config()
    });
    assert!(message.contains("learning_rate_ratio"), "{message}");
    let message = refused(TrainConfig {
        warmup_steps: Some(7),
        ..config()
    });
    assert!(
        message.contains("warmup_steps") && message.contains("the 6 steps"),
        "{message}"
    );
    let message = refused(TrainConfig {
        frozen: vec!["[".into()],
        ..config()
    });
    assert!(message.contains("frozen"), "{message}");
}

/// A token whose embedding is NaN is in one example: the message names it, and the layer that met it first.
#[test]
fn a_step_that_is_not_finite_changes_nothing_and_names_the_example() {
    let mut model = start();
    let [vocab_size, width] = model.embed_tokens.weight.lazy_shape().dims();
    let poison = vocab_size - 1;
    model.embed_tokens.weight = model.embed_tokens.weight.map(|rows| {
        let device = rows.device();
        let nan = burn::tensor::Tensor::full([1, width], f32::NAN, &device);
        rows.slice_assign(burn::tensor::s![poison..poison + 1, ..], nan)
    });
    let mut poisoned = examples(1);
    poisoned[5].tokens[4] = poison as u32;
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        batch_size: 8,
        micro_batch_size: 1,
        checkpoint_steps: NonZeroUsize::new(1),
        ..config()
    };
    let (data, stop) = ((poisoned, examples(5)), Interrupter::new());
    let error = train(
        "test",
        dir.path(),
        model,
        data,
        &config,
        Console::Silent,
        stop,
    );
    let error = error.unwrap_err();
    let message = error.to_string();
    for part in [
        "NaN at step 1",
        "the values of layer 0 are not finite",
        "no weights were kept",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let QatError::Diverged { divergence, .. } = error else {
        panic!("{message}");
    };
    assert_eq!(divergence.examples, [5]);
    let lines = std::fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap();
    assert!(lines.lines().count() <= 1, "{lines}");
    assert_eq!(
        burn_qat_train::saved_step(dir.path()).unwrap(),
        None,
        "no state of a bad step"
    );
}

#[test]
fn the_norm_of_the_gradients_is_logged() {
    let outcome = run(&config());
    let norms = outcome.history.train.iter().map(|point| point.grad_norm);
    let norms: Vec<f64> = norms.map(|norm| norm.expect("clipped")).collect();
    assert!(
        norms.iter().all(|norm| norm.is_finite() && *norm > 0.0),
        "{norms:?}"
    );
    let plain = run(&TrainConfig {
        max_grad_norm: None,
        ..config()
    });
    assert!(
        plain
            .history
            .train
            .iter()
            .all(|point| point.grad_norm.is_none())
    );
}

/// What the log says of a weight is what the weight says.
#[test]
fn quantized_weights_are_measured_at_every_evaluation() {
    let policy = QuantPolicy::mxfp4_mlp_weight_only();
    let rounded = || insert_quantizers(start(), &policy).unwrap().0;
    let dir = tempfile::tempdir().unwrap();
    let outcome = run_in(dir.path(), rounded(), &config()).unwrap();
    let points = &outcome.history.quantization;
    let n_weights = 2 * outcome.model.layers.len();
    assert_eq!(points.len(), 4 * n_weights);
    let steps: Vec<usize> = points.iter().map(|point| point.step).collect();
    assert_eq!(
        steps
            .chunks(n_weights)
            .map(|steps| steps[0])
            .collect::<Vec<_>>(),
        [0, 2, 4, 6]
    );
    assert!(
        points[..n_weights]
            .iter()
            .all(|point| point.codes_changed == 0.0)
    );

    let (before, after) = (rounded(), &outcome.model);
    let last = points
        .iter()
        .filter(|point| point.step == outcome.best_step);
    for ((path, a), (point, (_, b))) in before
        .expert_weights()
        .zip(last.zip(after.expert_weights()))
    {
        let quantizer = burn_fp4::SliceQuantizer::new(burn_fp4::Fp4Scheme::mxfp4());
        let packed = |weight: &burn_gpt_oss::ExpertWeight| {
            let values = model::values(&weight.dense().unwrap().base());
            quantizer.quantize(&values, &weight.shape(), 1).unwrap()
        };
        let (a, b) = (packed(a), packed(b));
        let changes = burn_fp4::codes_changed(&a, &b).unwrap();
        assert_eq!(point.weight, path);
        assert_eq!(
            point.codes_changed,
            changes.codes as f64 / changes.n_elements as f64
        );
        assert!(
            point.codes_changed > 0.0 && point.sqnr_db.is_some(),
            "{point:?}"
        );
    }
    let read = History::from_jsonl(&dir.path().join("metrics.jsonl")).unwrap();
    assert_eq!(&read.quantization, points);
    let off = TrainConfig {
        quantization_metrics: false,
        ..config()
    };
    let dir = tempfile::tempdir().unwrap();
    let outcome = run_in(dir.path(), rounded(), &off).unwrap();
    assert!(outcome.history.quantization.is_empty());
}
