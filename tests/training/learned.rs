//! Other gradients of quantizers, and block scales that train.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use burn::module::Module;
use burn::tensor::Device;
use burn::train::Interrupter;
use burn_fp4::WeightQuantizer;
use burn_gpt_oss::{CheckpointReader, GptOss};
use burn_qat_train::{
    DistillConfig, GlobalRefresh, GradientRule, QuantPolicy, QuantizerOptions, StageRun, Teacher,
    TrainConfig, evaluate_loss, export_fp4, insert_quantizers, insert_quantizers_with, saved_step,
};

use crate::model::open;
use crate::run::{SOURCE, config, examples, run_in, start, values};

fn with(policy: &QuantPolicy, options: QuantizerOptions) -> GptOss {
    insert_quantizers_with(start(), policy, options).unwrap().0
}

fn learned() -> QuantizerOptions {
    QuantizerOptions {
        learned_scales: true,
        ..QuantizerOptions::default()
    }
}

fn scales_alone() -> TrainConfig {
    TrainConfig {
        trainable: Some(vec!["*learned_scales".into()]),
        learning_rate: 1e-3,
        ..config()
    }
}

/// Every weight that reads as it did keeps its bits; what quantizers give is compared by their masters and scales.
fn masters(model: &GptOss) -> Vec<Vec<u32>> {
    let weights = model.expert_weights();
    weights
        .map(|(_, weight)| {
            let values: Vec<f32> = weight.dense().unwrap().base().try_into_vec_as().unwrap();
            values.into_iter().map(f32::to_bits).collect()
        })
        .collect()
}

fn rounded(model: &GptOss) -> Vec<Vec<f32>> {
    let weights = model.expert_weights();
    weights
        .map(|(_, weight)| weight.val().try_into_vec_as().unwrap())
        .collect()
}

#[test]
fn scales_begin_with_those_of_the_rule() {
    for policy in [
        QuantPolicy::mxfp4_mlp_weight_only(),
        QuantPolicy::nvfp4_mlp_weight_only(),
    ] {
        let by_rule = insert_quantizers(start(), &policy).unwrap().0;
        assert_eq!(rounded(&with(&policy, learned())), rounded(&by_rule));
    }
}

/// The cheap distillation: the model without quantizers teaches the scales of the same model.
#[test]
fn scales_alone_learn_from_the_model_before_rounding() {
    let policy = QuantPolicy::nvfp4_mlp_weight_only();
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        distill: Some(DistillConfig::default()),
        steps: 30,
        eval_steps: 10,
        eval_on_start: true,
        ..scales_alone()
    };
    let model = with(&policy, learned());
    let (before, masters_before) = (rounded(&model), masters(&model));
    let others = values(&start());
    let data = (examples(1), examples(1));
    let outcome = StageRun::new("scales", dir.path(), &config)
        .with_teacher(Teacher::new(start()))
        .train(model, data)
        .unwrap();
    assert_eq!(masters(&outcome.model), masters_before);
    for (name, values) in values(&outcome.model.clone().materialize()) {
        if !name.contains(".experts.") || name.ends_with("_bias") {
            assert_eq!(values, others[&name], "{name}");
        }
    }
    assert_ne!(rounded(&outcome.model), before);
    let losses = outcome.history.train;
    let mean = |part: &[burn_qat_train::TrainPoint]| {
        part.iter().map(|point| point.loss).sum::<f64>() / part.len() as f64
    };
    let (first, last) = (mean(&losses[..5]), mean(&losses[25..]));
    assert!(last < first, "divergence {first} to {last}");
}

/// What is exported is what the learned scales give, bit for bit, in both formats.
#[test]
fn learned_scales_are_exported() {
    for policy in [
        QuantPolicy::mxfp4_mlp_weight_only(),
        QuantPolicy::nvfp4_mlp_weight_only(),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let config = TrainConfig {
            learning_rate: 3e-2,
            ..config()
        };
        let outcome = run_in(dir.path(), with(&policy, learned()), &config).unwrap();
        let by_rule = insert_quantizers(outcome.model.clone().materialize(), &policy);
        let target = dir.path().join("exported");
        let report = export_fp4(&outcome.model, &target, &open(SOURCE), false, |_| {}).unwrap();
        let config = outcome.model.config();
        assert_eq!(report.verified_weights, config.num_expert_weights());
        assert!(by_rule.is_ok());
        let reader = CheckpointReader::open(&target).unwrap();
        let float = burn::tensor::FloatDType::F32;
        let loaded = reader.load(&Device::flex(), float, |_| {}).unwrap();
        let loss = |model: &GptOss| {
            let go_on = |_| ControlFlow::Continue(());
            let report =
                evaluate_loss(&model.valid(), &examples(5), (2, 1), &Device::flex(), go_on);
            report.unwrap().unwrap().loss
        };
        // Dense parameters are stored in 16 bits.
        assert!((loss(&loaded) - loss(&outcome.model)).abs() < 0.05);
    }
}

#[test]
fn learned_scales_go_on_bit_for_bit() {
    let policy = QuantPolicy::nvfp4_mlp_weight_only();
    let options = QuantizerOptions {
        global_refresh: GlobalRefresh::Every(NonZeroUsize::new(2).unwrap()),
        ..learned()
    };
    let config = TrainConfig {
        checkpoint_steps: NonZeroUsize::new(1),
        global_refresh_steps: NonZeroUsize::new(2),
        weight_decay: 0.1,
        ..config()
    };
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = run_in(whole.path(), with(&policy, options), &config).unwrap();
    let mut found = None;
    for stopped in 0..3 {
        let stop = Interrupter::new();
        if stopped < 2 {
            stop.stop(None);
        }
        let (model, data) = (with(&policy, options), (examples(1), examples(5)));
        let run = StageRun::new("test", parts.path(), &config).with_interrupter(stop);
        found = Some(match saved_step(parts.path()).unwrap() {
            None => run.train(model, data).unwrap(),
            Some(_) => run.resume(model, data).unwrap(),
        });
    }
    let found = found.unwrap();
    assert_eq!(masters(&found.model), masters(&expected.model));
    assert_eq!(rounded(&found.model), rounded(&expected.model));
}

/// The rule reaches the quantizers, and changes what is learned.
#[test]
fn gradients_are_cut_where_they_are_asked_to_be() {
    // A kept global scale far below the weights saturates them.
    let policy = QuantPolicy::nvfp4_mlp_weight_only();
    let options = |gradient| QuantizerOptions {
        gradient,
        global_refresh: GlobalRefresh::Frozen,
        ..QuantizerOptions::default()
    };
    let rules = [GradientRule::StraightThrough, GradientRule::ClipAware];
    let [straight, clipped] = rules.map(|rule| {
        let model = with(&policy, options(rule));
        let (_, weight) = model.expert_weights().next().unwrap();
        let quantizer = weight
            .dense()
            .unwrap()
            .reparameterization::<WeightQuantizer>();
        assert_eq!(quantizer.unwrap().gradient(), rule);
        let dir = tempfile::tempdir().unwrap();
        let config = TrainConfig {
            learning_rate: 1e-1,
            ..config()
        };
        masters(&run_in(dir.path(), model, &config).unwrap().model)
    });
    assert_ne!(straight, clipped);
}
