use std::ops::ControlFlow;

use burn::tensor::{Device, FloatDType};
use burn_gpt_oss::{CheckpointReader, Finish, GenerateOptions, GptOss, generate};

use crate::deviation::Deviations;
use crate::golden::{Array, Golden};
use crate::model::{Batch, cross_entropy, int_tensor, scalar, values};

const LOGITS: f64 = 2e-4;

/// Decodes token for token like the package, alone and beside a shorter prompt.
pub fn check(model: &GptOss, extra: &Golden, device: &Device) {
    let prompt = tokens(&extra.i64("greedy.prompt_ids"));
    let output = extra.i64("greedy.output_ids");
    let expected = tokens(&output);
    assert!(
        expected.starts_with(&prompt),
        "greedy.output_ids begins with the prompt"
    );
    let new = expected.len() - prompt.len();

    let alone = continued(model, std::slice::from_ref(&prompt), new, device);
    assert_eq!(alone[0], expected[prompt.len()..], "greedy tokens");
    let short = prompt[..prompt.len().div_ceil(3)].to_vec();
    let short_alone = continued(model, std::slice::from_ref(&short), new, device);
    let together = continued(model, &[short, prompt.clone()], new, device);
    assert_eq!(
        together,
        [short_alone[0].clone(), alone[0].clone()],
        "padding changes nothing"
    );
    check_logits(model, extra, (&output, prompt.len()), device);
}

fn continued(model: &GptOss, prompts: &[Vec<u32>], new: usize, device: &Device) -> Vec<Vec<u32>> {
    let options = GenerateOptions {
        max_new_tokens: new,
        batch_size: prompts.len(),
        ..GenerateOptions::default()
    };
    let results = generate(model, prompts, &options, device, |_| {
        ControlFlow::Continue(())
    });
    let tokens = results
        .expect("valid prompts")
        .into_iter()
        .map(|generated| {
            assert_eq!(generated.finish, Some(Finish::Length), "no stop token");
            generated.tokens
        });
    tokens.collect()
}

fn check_logits(
    model: &GptOss,
    extra: &Golden,
    (output, start): (&Array<i64>, usize),
    device: &Device,
) {
    let expected = extra.f32("greedy.logits");
    let [new, vocab] = expected.dims();
    let logits = model
        .forward(int_tensor(output, device), None)
        .narrow(1, start - 1, new);
    assert_eq!(logits.dims(), [1, new, vocab], "shape of greedy.logits");
    let mut deviations = Deviations::new("greedy");
    deviations.compare(
        "logits",
        "greedy.logits",
        (&values(&logits), &expected.values),
        LOGITS,
    );
}

fn tokens(ids: &Array<i64>) -> Vec<u32> {
    assert_eq!(ids.shape[0], 1, "one sequence");
    ids.values
        .iter()
        .map(|id| u32::try_from(*id).expect("token id"))
        .collect()
}

/// Half precision flips routing decisions, so only averages are comparable: in the README's own
/// numbers bf16 is 0.037 in the logits (mean) and 3e-3 in the loss away from float32.
pub fn check_bf16(reader: &CheckpointReader, extra: &Golden, inputs: &Golden, device: &Device) {
    let model = reader
        .load(device, FloatDType::BF16, |_| {})
        .expect("loads as BF16");
    let batch = Batch::read(inputs, "a");
    let logits = model.forward(batch.ids(device), Some(batch.mask(device)));
    let labels = batch.labels.as_ref().expect("case a has labels");
    let ce = scalar(&cross_entropy(
        logits.clone().cast(burn::tensor::DType::F32),
        labels,
    ));

    let mut deviations = Deviations::new("bf16 against bf16");
    let expected = extra.f32("bf16.logits");
    assert_eq!(
        logits.dims().as_slice(),
        expected.shape,
        "shape of bf16.logits"
    );
    let pairs = values(&logits).into_iter().zip(&expected.values);
    let sum: f64 = pairs.map(|(a, b)| f64::from((a - b).abs())).sum();
    deviations.scalar(
        "mean of logits",
        sum / expected.values.len() as f64,
        0.0,
        0.1,
    );
    deviations.scalar(
        "cross entropy",
        ce,
        extra.f32("bf16.ce_loss").scalar().into(),
        0.05,
    );
}
