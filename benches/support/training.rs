//! The model and the batches that training is measured with.
#![allow(dead_code)] // Every bench uses a part of it.

use burn::tensor::Device;
use burn_gpt_oss::{GptOss, GptOssConfig, LayerType};
use burn_qat_train::{StepBatch, TokenizedExample};

const VOCABULARY: usize = 8192;

/// Hidden = intermediate 512, 8 heads of 64, 2 key/value heads, 8 experts of which 4 run, window 128
/// on every other layer.
pub fn config(n_layers: usize) -> GptOssConfig {
    GptOssConfig {
        vocab_size: VOCABULARY,
        hidden_size: 512,
        intermediate_size: 512,
        num_hidden_layers: n_layers,
        num_attention_heads: 8,
        num_key_value_heads: 2,
        head_dim: 64,
        num_local_experts: 8,
        num_experts_per_tok: 4,
        sliding_window: 128,
        layer_types: [LayerType::SlidingAttention, LayerType::FullAttention].repeat(n_layers / 2),
        ..GptOssConfig::gpt_oss_20b()
    }
}

/// The model of [`config`] with fresh weights.
pub fn model(n_layers: usize, device: &Device) -> GptOss {
    config(n_layers).init(device)
}

/// One micro-batch in which every position is a target.
pub fn batch(n_sequences: usize, len: usize, device: &Device) -> StepBatch {
    batch_of(VOCABULARY, n_sequences, len, device)
}

/// [`batch`] of another vocabulary.
pub fn batch_of(vocabulary: usize, n_sequences: usize, len: usize, device: &Device) -> StepBatch {
    let tokens = |seed: usize| {
        (0..=len)
            .map(|i| ((i * 7919 + seed * 104_729) % vocabulary) as u32)
            .collect()
    };
    let examples: Vec<_> = (0..n_sequences)
        .map(|seed| TokenizedExample {
            tokens: tokens(seed),
            loss_mask: vec![true; len + 1],
            starts: Vec::new(),
        })
        .collect();
    let batch = StepBatch::new(&examples.iter().collect::<Vec<_>>(), n_sequences, device);
    assert_eq!(
        batch.n_targets,
        n_sequences * len,
        "every position a target"
    );
    batch
}
