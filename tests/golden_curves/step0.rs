//! The first step: losses, logits, fake-quantized weights and gradients.

use burn::optim::GradientsParams;
use burn_gpt_oss::GptOss;

use crate::deviation::Deviations;
use crate::golden::{Array, Golden};
use crate::model::{Named, gradients, scalar, values};
use crate::start::{Batch, Pass, expert_matrix};

/// Marks keys that hold the first two experts alone.
const EXPERTS: &str = "[0:2]";
const LOSS: f64 = 1e-5;
const LOGITS: f64 = 2e-4;
/// Bar of gradients, relative to the largest magnitude of each tensor.
const RELATIVE: f64 = 1e-3;

/// The forward pass and the gradients of the cross entropy.
pub fn gradients_of(model: &GptOss, golden: &Golden) -> (Pass, Named) {
    let pass = Batch::read(golden).run(model);
    let grads = GradientsParams::from_grads(pass.ce.clone().backward(), model);
    (pass, gradients(model, &grads))
}

pub fn check(mode: &str, model: &GptOss, golden: &Golden) {
    let mut deviations = Deviations::new(&format!("step 0, {mode}"));
    let grads = check_forward(mode, model, golden, &mut deviations);
    for (key, name) in entries(golden, mode, "grad") {
        let expected = golden.f32(&key);
        let found = part(&grads, &key, &name, &expected);
        check_gradient(&key, &found, &expected.values, &mut deviations);
    }
}

/// Losses and logits alone.
pub fn check_losses(mode: &str, model: &GptOss, golden: &Golden) {
    let mut deviations = Deviations::new(&format!("step 0, {mode}"));
    check_forward(mode, model, golden, &mut deviations);
}

/// Compares losses and logits; returns the gradients.
fn check_forward(
    mode: &str,
    model: &GptOss,
    golden: &Golden,
    deviations: &mut Deviations,
) -> Named {
    let (pass, grads) = gradients_of(model, golden);
    for (name, found) in [("ce", &pass.ce), ("aux", &pass.aux)] {
        let expected = golden.f32(&format!("{mode}.{name}")).scalar();
        deviations.scalar(name, scalar(found), expected.into(), LOSS);
    }
    check_logits(mode, &pass, golden, deviations);
    grads
}

/// Logits of the last positions, as many as the golden tensor has.
fn check_logits(mode: &str, pass: &Pass, golden: &Golden, deviations: &mut Deviations) {
    let key = format!("{mode}.logits_last4");
    let expected = golden.f32(&key);
    let ([_, kept, _], [_, len, _]) = (expected.dims::<3>(), pass.logits.dims());
    let found = pass.logits.clone().narrow(1, len - kept, kept);
    assert_eq!(found.dims(), expected.dims(), "shape of `{key}`");
    deviations.compare("logits", &key, (&values(&found), &expected.values), LOGITS);
}

fn check_gradient(key: &str, found: &[f32], expected: &[f32], deviations: &mut Deviations) {
    let largest = expected
        .iter()
        .fold(0.0_f32, |max, value| max.max(value.abs()));
    assert!(largest > 0.0, "`{key}` is zero everywhere");
    let normalized = |values: &[f32]| values.iter().map(|v| v / largest).collect::<Vec<_>>();
    let (found, expected) = (normalized(found), normalized(expected));
    deviations.compare("gradients / maximum", key, (&found, &expected), RELATIVE);
}

/// Reading a quantized parameter gives the golden values, bit for bit.
pub fn check_weights(mode: &str, model: &mut GptOss, golden: &Golden) {
    for (key, name) in entries(golden, mode, "fq") {
        let expected = golden.f32(&key);
        let weight = expert_matrix(model, &name).val();
        let array = Array {
            shape: weight.dims().to_vec(),
            values: values(&weight),
        };
        let found = part(
            &Named::from([(name.clone(), array)]),
            &key,
            &name,
            &expected,
        );
        for (i, (found, expected)) in found.iter().zip(&expected.values).enumerate() {
            let same = found.to_bits() == expected.to_bits();
            assert!(
                same,
                "step 0, `{key}`: element {i} is {found:e}, expected {expected:e}"
            );
        }
        println!("step 0, `{key}`: {} elements, bit for bit", found.len());
    }
}

/// Keys of one kind, each with the name of its parameter.
fn entries(golden: &Golden, mode: &str, kind: &str) -> Vec<(String, String)> {
    let prefix = format!("{mode}.{kind}.");
    let keys = golden.keys(&prefix);
    assert!(!keys.is_empty(), "no golden tensors `{prefix}*`");
    let name = |key: &str| key[prefix.len()..].trim_end_matches(EXPERTS).to_string();
    keys.into_iter()
        .map(|key| (key.clone(), name(&key)))
        .collect()
}

/// The leading experts of a parameter, as many as `expected` has; for most, all of the parameter.
fn part(named: &Named, key: &str, name: &str, expected: &Array<f32>) -> Vec<f32> {
    let whole = named
        .get(name)
        .unwrap_or_else(|| panic!("nothing found for `{name}`"));
    assert_eq!(whole.shape.len(), expected.shape.len(), "axes of `{name}`");
    assert_eq!(
        whole.shape[1..],
        expected.shape[1..],
        "shape of `{name}` behind the first axis"
    );
    let is_whole = whole.shape == expected.shape;
    assert!(is_whole || key.ends_with(EXPERTS), "shape of `{key}`");
    whole.values[..expected.values.len()].to_vec()
}
