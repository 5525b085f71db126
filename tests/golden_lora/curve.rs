//! Training of the factors alone on rounded sums.

use burn::optim::{AdamWConfig, GradientsParams};

use crate::deviation::Deviations;
use crate::golden::Golden;
use crate::model::{device, scalar};
use crate::pass::pass;
use crate::{BASES, EXPECTED, rounded};

const LEARNING_RATE: f64 = 1e-3;

/// Once one FP4 code differs, the runs part.
const START: f64 = 1e-5;
const EARLY: f64 = 3e-4;
const LATE: f64 = 1e-1;
const LATE_MEAN: f64 = 3e-2;

#[test]
fn the_loss_follows_torch() {
    let golden = Golden::open(EXPECTED);
    let expected = golden.f64("qat.curve.ce").values;
    assert!(expected.len() > 3, "{} entries", expected.len());
    for (name, base) in [BASES[0], BASES[2]] {
        let device = device().autodiff();
        let mut model = rounded(base, &device);
        let mut optimizer = AdamWConfig::new()
            .with_beta_1(0.9)
            .with_beta_2(0.999)
            .with_epsilon(1e-8)
            .with_weight_decay(0.0)
            .init();
        let mut deviations = Deviations::new(&format!("curve, {name}"));
        let mut late = Vec::new();
        for (step, &expected) in expected.iter().enumerate() {
            let ce = pass(&model, &device).ce;
            let found = scalar(&ce);
            match step {
                0 => deviations.scalar("start", found, expected, START),
                1 | 2 => deviations.scalar("early", found, expected, EARLY),
                _ => {
                    deviations.scalar("late", found, expected, LATE);
                    late.push((found - expected).abs());
                }
            }
            let grads = GradientsParams::from_grads(ce.backward(), &model);
            model = optimizer.step(LEARNING_RATE, model, grads);
        }
        let mean = late.iter().sum::<f64>() / late.len() as f64;
        deviations.scalar("late, mean", mean, 0.0, LATE_MEAN);
    }
}
