//! Conversations that share a row train as they do alone.

use crate::model::{gradients, values};
use burn::module::Module;
use burn::tensor::Device;
use burn::train::TrainStep;
use burn_gpt_oss::{GptOss, GptOssConfig, LayerType};
use burn_qat_train::{FineTune, PackedExamples, StepBatch, TokenizedExample, TrainConfig};

/// Longest row in tokens.
const ROW: usize = 48;

fn network(device: &Device) -> GptOss {
    device.seed(5);
    let config = GptOssConfig {
        vocab_size: 128,
        hidden_size: 64,
        intermediate_size: 32,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 16,
        num_local_experts: 4,
        num_experts_per_tok: 2,
        sliding_window: 8,
        layer_types: vec![LayerType::SlidingAttention, LayerType::FullAttention],
        initializer_range: 0.3,
        ..GptOssConfig::gpt_oss_20b()
    };
    config.init(device).train()
}

/// Lengths from 9 to 27, prompts without a loss, and trained first tokens, which nothing predicts.
fn examples() -> Vec<TokenizedExample> {
    let example = |seed: usize| {
        let len = 9 + 3 * seed;
        TokenizedExample {
            tokens: (0..len)
                .map(|i| ((i * 7 + seed * 31) % 128) as u32)
                .collect(),
            loss_mask: (0..len).map(|i| i == 0 || i > 2 + seed).collect(),
            starts: Vec::new(),
        }
    };
    (0..7).map(example).collect()
}

fn check(recompute_layers: bool) {
    let device = Device::flex().autodiff();
    let model = network(&device);
    let config = TrainConfig {
        recompute_layers,
        ..TrainConfig::default()
    };
    let step = |examples: &[TokenizedExample]| {
        let chosen: Vec<_> = examples.iter().collect();
        let batch = StepBatch::new(&chosen, 2, &device);
        let n_targets = batch.n_targets;
        let output = TrainStep::step(&FineTune::new(model.clone(), &config), batch);
        let gradients = gradients(&model, &output.grads);
        (n_targets, values(&output.item.loss)[0], gradients)
    };
    let examples = examples();
    let packed = PackedExamples::new(&examples, ROW);
    assert!(packed.examples.len() < examples.len() && packed.efficiency() > 0.8);
    let (n_alone, alone, of_alone) = step(&examples);
    let (n_packed, together, of_packed) = step(&packed.examples);
    assert_eq!(n_alone, n_packed);
    assert!(
        (alone - together).abs() <= 1e-5 * alone,
        "{alone} and {together}"
    );
    assert!(of_alone.keys().eq(of_packed.keys()), "the same parameters");
    for (name, gradient) in &of_alone {
        let largest = gradient
            .values
            .iter()
            .fold(0.0f32, |most, x| most.max(x.abs()));
        let pairs = gradient.values.iter().zip(&of_packed[name].values);
        let apart = pairs.fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(
            largest > 0.0 && apart <= 1e-4 * largest,
            "{name}: {apart} of {largest}"
        );
    }
}

#[test]
fn losses_and_gradients_are_those_of_conversations_alone() {
    check(false);
}

#[test]
fn recomputed_layers_see_the_same_rows() {
    check(true);
}
