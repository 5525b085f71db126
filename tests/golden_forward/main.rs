//! Compares the forward pass, the losses, the rotary tables and greedy decoding with the golden
//! data, made with transformers' `GptOssForCausalLM` in float32.
//!
//! The data is in `golden` next to this file, or in the directory `GOLDEN_DIR`; see its README.

#[path = "../support/deviation.rs"]
mod deviation;
#[path = "../support/golden.rs"]
mod golden;
#[path = "../support/model.rs"]
mod model;

mod cases;
mod greedy;
mod rope;

use burn::tensor::FloatDType;
use golden::Golden;
use model::{device, load, load_packed, load_stored, open, parameters};

/// The same parameters in the three forms offered: MXFP4, MXFP4 in shards, dense BF16.
const FORMS: [&str; 3] = ["tiny-gpt-oss", "tiny-gpt-oss-sharded", "tiny-gpt-oss-bf16"];

/// Everything else in the golden directory, and which test it belongs to.
const ELSEWHERE: [(&str, &str); 9] = [
    ("lora", "tests/golden_lora"),
    ("distill", "tests/training/distill.rs"),
    ("README.md", "description"),
    ("fp4", "tests of burn-fp4"),
    ("harmony", "tests/golden_harmony/main.rs"),
    ("qat", "tests/golden_curves/main.rs"),
    (
        "tiny-gpt-oss-grads.safetensors",
        "tests/golden_gradients/main.rs",
    ),
    (
        "tiny-gpt-oss-adamw.safetensors",
        "tests/golden_gradients/main.rs",
    ),
    ("tiny-gpt-oss-original", "tests/convert/main.rs"),
];

const EXPECTED: &str = "tiny-gpt-oss-expected.safetensors";
const EXTRA: &str = "tiny-gpt-oss-extra.safetensors";
const ROPE: &str = "rope/rope.safetensors";

#[test]
fn every_golden_entry_belongs_to_a_test() {
    let here = [EXPECTED, EXTRA, "rope"];
    let mut known: Vec<_> = here.into_iter().chain(FORMS).collect();
    known.extend(ELSEWHERE.map(|(name, _)| name));
    let found = golden::entries("");
    for name in &found {
        assert!(
            known.contains(&name.as_str()),
            "`{name}` is visited by no test"
        );
    }
    // A description is not data.
    for name in known.into_iter().filter(|name| *name != "README.md") {
        assert!(
            found.iter().any(|found| found == name),
            "`{name}` is missing"
        );
    }
    assert_eq!(
        golden::entries("rope"),
        ["rope.safetensors"],
        "files in rope/"
    );
}

#[test]
fn all_forms_hold_the_same_parameters() {
    let device = device();
    let expected = parameters(&load(FORMS[0], &device));
    let names: Vec<_> = open(FORMS[0])
        .specs()
        .iter()
        .map(|spec| spec.name.clone())
        .collect();
    assert!(
        expected.keys().eq(&names),
        "parameters of the model: {:?}",
        expected.keys()
    );
    for form in &FORMS[1..] {
        let found = parameters(&load(form, &device));
        for (name, expected) in &expected {
            assert_eq!(
                found[name].shape, expected.shape,
                "{form}: shape of `{name}`"
            );
            let pairs = found[name].values.iter().zip(&expected.values);
            let differs = pairs.clone().position(|(a, b)| a.to_bits() != b.to_bits());
            assert_eq!(
                differs, None,
                "{form}: `{name}` differs from {} at this element",
                FORMS[0]
            );
        }
    }
}

/// The dense BF16 file itself, not just the model loaded from it.
#[test]
fn parameters_equal_the_dense_file() {
    let dense = Golden::open("tiny-gpt-oss-bf16/model.safetensors");
    for (name, found) in parameters(&load("tiny-gpt-oss", &device())) {
        let expected = dense.f32(&name);
        assert_eq!(found.shape, expected.shape, "shape of `{name}`");
        let bits = |values: &[f32]| {
            values
                .iter()
                .map(|value| value.to_bits())
                .collect::<Vec<_>>()
        };
        assert!(
            bits(&found.values) == bits(&expected.values),
            "bits of `{name}`"
        );
    }
    dense.finish(&[]);
}

#[test]
fn forward_pass_and_losses_equal_the_package() {
    let device = device();
    for form in FORMS {
        let expected = Golden::open(EXPECTED);
        let model = load(form, &device);
        for case in ["a", "b", "c"] {
            cases::check(form, &model, &expected, case, &device);
        }
        rope::check_model(&model, &expected);
        expected.finish(&[]);
    }
}

#[test]
fn packed_experts_compute_the_same_within_the_bars() {
    let device = device();
    let model = load_packed("tiny-gpt-oss", &device);
    let expected = Golden::open(EXPECTED);
    for case in ["a", "b", "c"] {
        cases::check("packed experts", &model, &expected, case, &device);
    }
    rope::check_model(&model, &expected);
    expected.finish(&[]);
    greedy::check(&model, &Golden::open(EXTRA), &device);
}

/// Matrices as they lie in the file, 4 and 16 bits per weight.
#[test]
fn stored_matrices_compute_the_same_within_the_bars() {
    let device = device();
    for form in FORMS {
        let model = load_stored(form, &device);
        let expected = Golden::open(EXPECTED);
        for case in ["a", "b", "c"] {
            cases::check(form, &model, &expected, case, &device);
        }
        rope::check_model(&model, &expected);
        expected.finish(&[]);
        greedy::check(&model, &Golden::open(EXTRA), &device);
    }
}

#[test]
fn rotary_tables_equal_the_package() {
    let tables = Golden::open(ROPE);
    rope::check_published(&tables);
    tables.finish(&[]);
}

#[test]
fn greedy_decoding_and_half_precision_follow_the_package() {
    let device = device();
    let extra = Golden::open(EXTRA);
    greedy::check(&load("tiny-gpt-oss", &device), &extra, &device);
    if !device.supports_dtype(FloatDType::BF16) {
        eprintln!("half precision is not compared: {device:?} does not compute with bf16");
        return;
    }
    greedy::check_bf16(
        &open("tiny-gpt-oss"),
        &extra,
        &Golden::open(EXPECTED),
        &device,
    );
    extra.finish(&[]);
}
