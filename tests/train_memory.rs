//! Memory of a training step: it grows with the length, and with recomputed layers by one hidden state
//! per token and layer.

#[path = "support/counting_allocator.rs"]
mod counting_allocator;

use burn::tensor::Device;
use burn::train::TrainStep;
use burn_gpt_oss::{GptOssConfig, LayerType};
use burn_qat_train::{FineTune, MemoryEstimate, StepBatch, TokenizedExample, TrainConfig};
use counting_allocator::peak_of;

const HIDDEN: usize = 64;
const VOCABULARY: usize = 128;
const LENGTHS: [usize; 3] = [512, 1024, 2048];

fn network(n_layers: usize) -> GptOssConfig {
    GptOssConfig {
        vocab_size: VOCABULARY,
        hidden_size: HIDDEN,
        intermediate_size: HIDDEN,
        num_hidden_layers: n_layers,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 16,
        num_local_experts: 4,
        num_experts_per_tok: 2,
        sliding_window: 128,
        layer_types: [LayerType::SlidingAttention, LayerType::FullAttention].repeat(n_layers / 2),
        ..GptOssConfig::gpt_oss_20b()
    }
}

fn settings(recompute_layers: bool) -> TrainConfig {
    TrainConfig {
        micro_batch_size: 1,
        parallel_micro_batches: 1,
        recompute_layers,
        ..TrainConfig::default()
    }
}

/// Peak bytes of a step at each of [`LENGTHS`].
fn peaks(n_layers: usize, recompute_layers: bool) -> [usize; 3] {
    let device = Device::flex().autodiff();
    let model = network(n_layers).init(&device);
    let stage = FineTune::new(model, &settings(recompute_layers));
    let peak = |len: usize| {
        let example = TokenizedExample {
            tokens: (0..=len).map(|i| (i * 7 % VOCABULARY) as u32).collect(),
            loss_mask: vec![true; len + 1],
            starts: Vec::new(),
        };
        let batch = StepBatch::new(&[&example], 1, &device);
        peak_of(|| TrainStep::step(&stage, batch).grads)
    };
    // Weights are made at the first use, and what lives for good.
    peak(LENGTHS[0]);
    LENGTHS.map(peak)
}

/// Bytes per token, from the two longer lengths.
fn per_token(peaks: [usize; 3]) -> f64 {
    (peaks[2] - peaks[1]) as f64 / (LENGTHS[2] - LENGTHS[1]) as f64
}

#[test]
fn grows_linearly_with_the_length() {
    let _alone = alone();
    for recompute_layers in [false, true] {
        let peaks = peaks(2, recompute_layers);
        println!("lengths {LENGTHS:?}, recomputed {recompute_layers}: {peaks:?} bytes");
        let first = (peaks[1] - peaks[0]) as f64 / (LENGTHS[1] - LENGTHS[0]) as f64;
        let ratio = per_token(peaks) / first;
        assert!(ratio < 1.05, "bytes per token grow by a factor of {ratio}");
    }
}

#[test]
fn recomputed_layers_keep_one_hidden_state_each() {
    let _alone = alone();
    let of_a_layer = |recompute_layers: bool| {
        let [few, many] = [2, 6].map(|n_layers| per_token(peaks(n_layers, recompute_layers)));
        (many - few) / 4.0
    };
    let (kept, recomputed) = (of_a_layer(false), of_a_layer(true));
    println!("bytes per token and layer: {kept}, recomputed {recomputed}");
    let hidden_state = (4 * HIDDEN) as f64;
    assert!(recomputed < 1.05 * hidden_state, "{recomputed} bytes");
    assert!(kept > 5.0 * hidden_state, "{kept} bytes without");
}

/// What is refused before a run must be what does not fit.
#[test]
fn the_estimate_is_just_above_the_peak() {
    let _alone = alone();
    for recompute_layers in [false, true] {
        let (config, settings) = (network(6), settings(recompute_layers));
        let peak = peaks(6, recompute_layers)[2] as f64;
        let estimate = MemoryEstimate::full_parameter(&config, &settings, LENGTHS[2]);
        let estimate = (estimate.gradients + estimate.activations) as f64;
        println!("recomputed {recompute_layers}: {estimate} bytes estimated, {peak} measured");
        assert!(estimate > 0.98 * peak && estimate < 1.2 * peak);
    }
}

/// The allocator counts for all tests at a time.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
