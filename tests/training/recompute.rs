//! Gradients with recomputed layers are those without, bit for bit.

use crate::model::{Named, gradients, values};
use burn::module::Module;
use burn::tensor::Device;
use burn::train::TrainStep;
use burn_gpt_oss::{GptOss, GptOssConfig, LayerType};
use burn_qat_train::{
    FineTune, QuantPolicy, StepBatch, TokenizedExample, TrainConfig, insert_quantizers,
};

fn network(output_router_logits: bool, device: &Device) -> GptOss {
    let config = GptOssConfig {
        vocab_size: 128,
        hidden_size: 64,
        intermediate_size: 32,
        num_hidden_layers: 3,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 16,
        num_local_experts: 4,
        num_experts_per_tok: 2,
        sliding_window: 8,
        layer_types: vec![
            LayerType::SlidingAttention,
            LayerType::FullAttention,
            LayerType::SlidingAttention,
        ],
        initializer_range: 0.3,
        output_router_logits,
        ..GptOssConfig::gpt_oss_20b()
    };
    config.init(device).train()
}

/// Two micro-batches of two sequences, padding and tokens without a loss among them.
fn batch(device: &Device) -> StepBatch {
    let example = |seed: usize| {
        let len = 12 + 5 * seed;
        TokenizedExample {
            tokens: (0..len)
                .map(|i| ((i * 7 + seed * 31) % 128) as u32)
                .collect(),
            loss_mask: (0..len).map(|i| i % 4 != seed % 2).collect(),
            starts: Vec::new(),
        }
    };
    let examples: Vec<_> = (0..4).map(example).collect();
    StepBatch::new(&examples.iter().collect::<Vec<_>>(), 2, device)
}

fn step(model: &GptOss, recompute_layers: bool, device: &Device) -> (Vec<f32>, Named) {
    let config = TrainConfig {
        recompute_layers,
        ..TrainConfig::default()
    };
    let stage = FineTune::new(model.clone(), &config);
    let output = TrainStep::step(&stage, batch(device));
    (values(&output.item.loss), gradients(model, &output.grads))
}

fn check(model: &GptOss, n_gradients: impl Fn(usize) -> bool, device: &Device) {
    let (loss, kept) = step(model, false, device);
    let (recomputed_loss, recomputed) = step(model, true, device);
    assert_eq!(loss, recomputed_loss);
    assert!(n_gradients(kept.len()), "{} gradients", kept.len());
    assert!(kept.keys().eq(recomputed.keys()), "the same parameters");
    for (name, gradient) in &kept {
        assert!(gradient.values.iter().any(|x| *x != 0.0), "{name}: zero");
        let pairs = gradient.values.iter().zip(&recomputed[name].values);
        let wrong = pairs.filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        assert_eq!(wrong, 0, "{name}: values that differ");
    }
}

#[test]
fn every_parameter() {
    let device = Device::flex().autodiff();
    for auxiliary in [false, true] {
        let model = network(auxiliary, &device);
        let all = crate::model::parameters(&model).len();
        check(&model, |n| n == all, &device);
    }
}

#[test]
fn quantized_experts() {
    let device = Device::flex().autodiff();
    let policy = QuantPolicy::mxfp4_mlp_weight_only();
    let (model, _) = insert_quantizers(network(true, &device), &policy).expect("experts");
    check(&model, |n| n > 0, &device);
}

/// Without gradients of its parameters a layer still hands on that of its input.
#[test]
fn frozen_parameters() {
    let device = Device::flex().autodiff();
    let mut model = network(true, &device);
    model.layers[1] = model.layers[1].clone().freeze();
    model.embed_tokens = model.embed_tokens.freeze();
    let all = crate::model::parameters(&model).len();
    check(&model, |n| n < all, &device);

    model.lm_head.weight = model.lm_head.weight.set_require_grad(false);
    check(&model, |n| n < all, &device);
}
