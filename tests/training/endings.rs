//! Before the first step, and ends before the last.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use burn::module::Module;
use burn::tensor::{Device, Tensor, s};
use burn_qat_train::{
    History, LearningRateDecay, QatError, QuantPolicy, StageRun, TrainConfig, evaluate_loss,
    insert_quantizers, saved_step,
};

use crate::run::{config, examples, run_in, start};

/// A learning rate that destroys: no evaluation is better than the first.
#[test]
fn a_stage_ends_early_and_keeps_its_best_model() {
    let rising = TrainConfig {
        steps: 40,
        learning_rate: 3e-2,
        early_stopping: NonZeroUsize::new(3),
        lr_scheduler: LearningRateDecay::Constant,
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
        ControlFlow::Continue(())
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

/// A token whose embedding is NaN is in one example: the message names it, and the layer that met it first.
#[test]
fn a_step_that_is_not_finite_changes_nothing_and_names_the_example() {
    let mut model = start();
    let [vocab_size, width] = model.embed_tokens.weight.lazy_shape().dims();
    let poison = vocab_size - 1;
    model.embed_tokens.weight = model.embed_tokens.weight.map(|rows| {
        let device = rows.device();
        let nan = Tensor::full([1, width], f32::NAN, &device);
        rows.slice_assign(s![poison..poison + 1, ..], nan)
    });
    let mut poisoned = examples(1);
    poisoned[5].tokens[4] = poison as u32;
    // Also where gradients are not clipped.
    for max_grad_norm in [Some(1.0), None] {
        let dir = tempfile::tempdir().unwrap();
        let config = TrainConfig {
            batch_size: 8,
            micro_batch_size: 1,
            checkpoint_steps: NonZeroUsize::new(1),
            max_grad_norm,
            ..config()
        };
        let data = (poisoned.clone(), examples(5));
        let run = StageRun::new("test", dir.path(), &config);
        let error = run.train(model.clone(), data).unwrap_err();
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
        let state = saved_step(dir.path()).unwrap();
        assert_eq!(state, None, "no state of a bad step");
    }
}
