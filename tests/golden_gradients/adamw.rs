use burn::optim::AdamWConfig;
use burn::tensor::Device;
use burn_gpt_oss::GptOss;

use crate::deviation::Deviations;
use crate::golden::Golden;
use crate::gradients::loss_and_gradients;
use crate::model::{Named, gradients, parameters, scalar};

const LEARNING_RATE: f64 = 1e-3;
const WEIGHT_DECAY: f32 = 0.01;

/// Bar where the gradient is above [`SMALL`].
const LIMIT: f64 = 1e-5;
/// Bar elsewhere: the first step moves every weight by about the learning rate, in the direction of
/// a gradient that may be rounding noise.
const LIMIT_SMALL: f64 = 2.1e-3;
const SMALL: f32 = 1e-5;
const LARGE: f32 = 0.5;
const LOSS: f64 = 1e-5;

/// What one step sees and does.
struct Step {
    before: Named,
    gradients: Named,
    after: Named,
}

pub fn check(model: GptOss, golden: &Golden, device: &Device) {
    let mut deviations = Deviations::new("AdamW");
    let before = parameters(&model);
    let (loss, grads) = loss_and_gradients(&model, device);
    let expected = |key: &str| f64::from(golden.f32(key).scalar());
    deviations.scalar(
        "loss before",
        scalar(&loss),
        expected("ce_loss_before"),
        LOSS,
    );

    let step_gradients = gradients(&model, &grads);
    let mut optimizer = AdamWConfig::new()
        .with_beta_1(0.9)
        .with_beta_2(0.999)
        .with_epsilon(1e-8)
        .with_weight_decay(WEIGHT_DECAY)
        .init();
    let model = optimizer.step(LEARNING_RATE, model, grads);
    let step = Step {
        before,
        gradients: step_gradients,
        after: parameters(&model),
    };
    step.check(golden, &mut deviations);
    step.check_decay(&mut deviations);
    let (loss, _) = loss_and_gradients(&model, device);
    deviations.scalar(
        "loss after",
        scalar(&loss),
        expected("ce_loss_after1"),
        LOSS,
    );
}

impl Step {
    fn check(&self, golden: &Golden, deviations: &mut Deviations) {
        let keys = golden.keys("after1.");
        assert!(!keys.is_empty(), "no golden parameters");
        for key in keys {
            let name = &key["after1.".len()..];
            let found = self
                .after
                .get(name)
                .unwrap_or_else(|| panic!("no parameter `{name}`"));
            let expected = golden.f32(&key);
            assert_eq!(found.shape, expected.shape, "shape of `{key}`");
            let (before, gradient) = (&self.before[name].values, &self.gradients[name].values);
            let pair = (&found.values[..], &expected.values[..]);
            let clear = |i: usize| gradient[i].abs() > SMALL;
            deviations.compare_where("parameters", &key, pair, LIMIT, clear);
            let (group, unclear) = ("parameters, small gradient", |i| !clear(i));
            deviations.compare_where(group, &key, pair, LIMIT_SMALL, unclear);
            // Far below the decay of such weights, which would be lost inside the gradient.
            let (group, large) = ("large parameters", |i| clear(i) && before[i].abs() > LARGE);
            let limit = 0.2 * LEARNING_RATE * f64::from(WEIGHT_DECAY * LARGE);
            deviations.compare_where(group, &key, pair, limit, large);
        }
    }

    /// The decay is `learning rate * weight decay` of the weight itself, not part of the gradient:
    /// it is all that happens to weights without one, such as the embeddings of unused tokens.
    fn check_decay(&self, deviations: &mut Deviations) {
        let mut n_checked = 0;
        for (name, gradient) in &self.gradients {
            let (before, after) = (&self.before[name].values, &self.after[name].values);
            for i in (0..before.len()).filter(|i| gradient.values[*i] == 0.0) {
                let weight = f64::from(before[i]);
                let decayed = weight * (1.0 - LEARNING_RATE * f64::from(WEIGHT_DECAY));
                // One float32 rounding of the factor, one of the product.
                let limit = weight.abs() * f64::from(f32::EPSILON) + f64::from(f32::MIN_POSITIVE);
                deviations.scalar("decay alone", after[i].into(), decayed, limit);
                n_checked += 1;
            }
        }
        assert!(n_checked > 0, "every weight has a gradient");
    }
}
