//! What the log says of the steps.

use burn_qat_train::{LearningRateDecay, TrainConfig};

use crate::run::{config, run};

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
    near(
        rates(LearningRateDecay::Constant, 2),
        [0.0, 0.5, 1.0, 1.0, 1.0, 1.0],
    );
    near(
        rates(LearningRateDecay::Linear, 2),
        [0.0, 0.5, 1.0, 0.75, 0.5, 0.25],
    );
}

/// Also where they are not clipped; before they are, where they are.
#[test]
fn the_norm_of_the_gradients_is_logged() {
    let norms = |max_grad_norm| {
        let outcome = run(&TrainConfig {
            max_grad_norm,
            ..config()
        });
        let points = outcome.history.train.iter();
        let norms = points.map(|point| point.grad_norm.expect("logged"));
        norms.collect::<Vec<f64>>()
    };
    let (plain, clipped) = (norms(None), norms(Some(1e-3)));
    assert!(
        plain.iter().all(|norm| norm.is_finite() && *norm > 1e-3),
        "{plain:?}"
    );
    assert_eq!(plain[0], clipped[0], "of the same weights");
    assert!(clipped.iter().all(|norm| *norm > 1e-3), "{clipped:?}");
}
