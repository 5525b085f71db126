//! Forward pass and training step of a small gpt-oss, in tokens per second.
//!
//! 4 layers, hidden = intermediate 256, 8 heads of 32, 2 key/value heads, 8 experts of which 4 run,
//! vocabulary 4096, 4 sequences of 128 tokens, every position a target, float32, AdamW.
//!
//! Floor per token, 2 FLOP per multiply-add: forward 2 * (4 * (4 * 3 * 256^2 + 0.16 M attention) +
//! 4096 * 256) = 9.7 MFLOP, a training step three times that.

use std::hint::black_box;
use std::path::Path;

use burn::optim::AdamWConfig;
use burn::tensor::Device;
use burn::train::TrainStep;
use burn_gpt_oss::{GptOss, GptOssConfig, LayerType};
use burn_qat_train::{
    FineTune, QuantPolicy, StepBatch, TokenizedExample, TrainConfig, insert_quantizers,
};
use divan::Bencher;
use divan::counter::ItemsCount;

/// Keeps the memory of large tensors, which glibc gives back to the system in every step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SEQUENCES: usize = 4;
const LEN: usize = 128;

fn main() {
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).exists());
    divan::main();
}

fn model(device: &Device) -> GptOss {
    GptOssConfig {
        vocab_size: 4096,
        hidden_size: 256,
        intermediate_size: 256,
        num_hidden_layers: 4,
        num_attention_heads: 8,
        num_key_value_heads: 2,
        head_dim: 32,
        num_local_experts: 8,
        layer_types: [LayerType::SlidingAttention, LayerType::FullAttention].repeat(2),
        ..GptOssConfig::gpt_oss_20b()
    }
    .init(device)
}

fn batch(device: &Device) -> StepBatch {
    let tokens = |seed: usize| {
        (0..=LEN)
            .map(|i| ((i * 7919 + seed * 104_729) % 4096) as u32)
            .collect()
    };
    let examples: Vec<_> = (0..SEQUENCES)
        .map(|seed| TokenizedExample {
            tokens: tokens(seed),
            loss_mask: vec![true; LEN + 1],
            starts: Vec::new(),
        })
        .collect();
    StepBatch::new(&examples.iter().collect::<Vec<_>>(), SEQUENCES, device)
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn forward(bencher: Bencher) {
    let device = Device::flex();
    let (model, batch) = (model(&device), batch(&device));
    let ids = batch.micro_batches[0].input_ids.clone();
    bencher
        .counter(ItemsCount::new(SEQUENCES * LEN))
        .bench_local(|| {
            let logits = model.forward(ids.clone(), None);
            device.sync().expect("the device works");
            black_box(logits)
        });
}

#[divan::bench(sample_count = 6, sample_size = 1)]
fn sft_step(bencher: Bencher) {
    step(bencher, false);
}

#[divan::bench(sample_count = 6, sample_size = 1)]
fn qat_step(bencher: Bencher) {
    step(bencher, true);
}

fn step(bencher: Bencher, quantized: bool) {
    let device = Device::flex().autodiff();
    let mut model = model(&device);
    if quantized {
        let policy = QuantPolicy::mxfp4_mlp_weight_only();
        model = insert_quantizers(model, &policy)
            .expect("the preset matches")
            .0;
    }
    let batch = batch(&device);
    let mut state = Some(FineTune::new(model, &TrainConfig::default()));
    let mut optimizer = AdamWConfig::new().init();
    bencher
        .counter(ItemsCount::new(SEQUENCES * LEN))
        .bench_local(|| {
            let model = state.take().expect("put back after each step");
            let output = TrainStep::step(&model, batch.clone());
            state = Some(model.optimize(&mut optimizer, 1e-4.into(), output.grads));
            device.sync().expect("the device works");
        });
}
