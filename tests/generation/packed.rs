//! Packed experts: exact, and with activations of eight bits.

use burn_fp4::Fp4Scheme;
use burn_gpt_oss::{GenerateOptions, GptOss};

use crate::model::{device, int_tensor, load_packed, values};
use crate::{Golden, run, sequence, stored, tiny, tokens, unequal_prompts};

fn golden() -> Golden {
    Golden::open("tiny-gpt-oss-extra.safetensors")
}

/// 40 tokens behind the golden prompt.
fn greedy(model: &GptOss) -> Vec<u32> {
    let options = GenerateOptions {
        max_new_tokens: 40,
        ..GenerateOptions::default()
    };
    run(model, &[sequence()[..20].to_vec()], &options)[0]
        .tokens
        .clone()
}

/// Logits of the golden sequence seen token by token, and the root mean square of what differs from the
/// golden ones beside that of these.
fn error(model: &GptOss) -> (f64, f64) {
    let expected = golden().f32("greedy.logits");
    let ids = int_tensor::<2>(&golden().i64("greedy.output_ids"), &device());
    let mut cache = burn_gpt_oss::KvCache::new(model.config(), vec![0]);
    let columns = (0..60).map(|i| model.forward_cached(ids.clone().narrow(1, i, 1), &mut cache));
    let hidden = burn::tensor::Tensor::cat(columns.collect(), 1);
    let found = values(&model.logits(hidden.narrow(1, 19, 40)));
    let rms = |values: &mut dyn Iterator<Item = f32>| {
        let (sum, n) = values.fold((0.0, 0), |(sum, n), x| (sum + f64::from(x).powi(2), n + 1));
        (sum / n as f64).sqrt()
    };
    let mut differences = found.iter().zip(&expected.values).map(|(a, b)| a - b);
    (
        rms(&mut differences),
        rms(&mut expected.values.iter().copied()),
    )
}

#[test]
fn stored_weights_give_the_golden_tokens() {
    let stored = stored();
    assert_eq!(greedy(&stored), &sequence()[20..]);
    let (error, logits) = error(&stored);
    println!("root mean square of logits {logits:.3}; error {error:.2e}");
    assert!(error < 1e-5 * logits, "products: {error:e} of {logits}");
}

#[test]
fn experts_in_nvfp4_decode_as_their_values_do() {
    let scheme = Fp4Scheme::nvfp4();
    let packed = tiny().pack_experts(&scheme).expect("whole blocks");
    let mut dense = packed.clone();
    for block in &mut dense.layers {
        for (_, weight) in block.mlp.experts.weights_mut() {
            *weight = burn::module::Param::from_tensor(weight.val()).into();
        }
    }
    let options = GenerateOptions {
        max_new_tokens: 20,
        ..GenerateOptions::default()
    };
    let prompts = unequal_prompts();
    assert_eq!(
        tokens(&run(&packed, &prompts, &options)),
        tokens(&run(&dense, &prompts, &options))
    );
}

#[test]
fn copied_and_mapped_experts_are_the_same() {
    let copied = load_packed("tiny-gpt-oss", &device());
    assert_eq!(greedy(&copied), greedy(&stored()));
}
