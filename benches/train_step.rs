//! One optimizer step of a small gpt-oss on two threads, in tokens ("items") per second.
//!
//! 4 layers, hidden = intermediate 512, 8 heads of 64, 2 key/value heads, 8 experts of which 4 run,
//! vocabulary 8192, window 128 on every other layer, 4 sequences of 256 tokens, every position a
//! target, float32, AdamW, no clipping. `scripts/peer_train_step.py` runs the same with transformers.
//!
//! Floor per token, 2 FLOP per multiply-add: a layer has 0.66 M of them in the projections of
//! attention, 0.10 M (window) or 0.13 M (full) in scores and mixing, and 4 * 3 * 512^2 = 3.15 M in its
//! experts; the head has 4.19 M. Forward 2 * (4 * 3.92 M + 4.19 M) = 39.8 MFLOP, a step three times that:
//! 119 MFLOP per token, so 100 GFLOP/s are 838 tokens/s. AdamW moves 28 bytes for each of 36.4 M
//! parameters once per step besides: 1.0 MB per token.
//!
//! `plain` is the same step from Burn's own tensor operations, all logits and scores at once, and with its
//! own optimizer.
//!
//! `cargo bench --bench train_step [-- FILTER]`

#[path = "../tests/support/plain_model.rs"]
mod plain_model;
#[path = "support/training.rs"]
mod training;

use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use burn::train::TrainStep;
use burn_qat_train::{FineTune, QuantPolicy, StepBatch, TrainConfig, adamw, insert_quantizers};
use divan::Bencher;
use divan::counter::ItemsCount;

const LAYERS: usize = 4;
const SEQUENCES: usize = 4;
const LEN: usize = 256;
const THREADS: usize = 2;

fn main() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(THREADS);
    pool.build_global().expect("the first use of threads");
    divan::main();
}

#[divan::bench(sample_count = 8, sample_size = 1)]
fn sft(bencher: Bencher) {
    steps(bencher, false, adamw, |model, batch| {
        TrainStep::step(model, batch.clone()).grads
    });
}

#[divan::bench(sample_count = 8, sample_size = 1)]
fn qat(bencher: Bencher) {
    steps(bencher, true, adamw, |model, batch| {
        TrainStep::step(model, batch.clone()).grads
    });
}

#[divan::bench(sample_count = 4, sample_size = 1)]
fn plain(bencher: Bencher) {
    let burns = |_: &TrainConfig| AdamWConfig::new().init();
    steps(bencher, false, burns, |model, batch| {
        let losses = batch.micro_batches.iter();
        let losses = losses.map(|batch| plain_model::loss(&model.model, batch));
        let loss = Tensor::cat(losses.collect(), 0).sum() / batch.n_targets as f64;
        GradientsParams::from_grads(loss.backward(), model)
    });
}

fn steps(
    bencher: Bencher,
    quantized: bool,
    optimizer: impl Fn(&TrainConfig) -> ModuleOptimizer,
    gradients: impl Fn(&FineTune, &StepBatch) -> GradientsParams,
) {
    let device = Device::flex().autodiff();
    let mut model = training::model(LAYERS, &device);
    if quantized {
        let policy = QuantPolicy::mxfp4_mlp_weight_only();
        model = insert_quantizers(model, &policy)
            .expect("the preset matches")
            .0;
    }
    let config = TrainConfig {
        max_grad_norm: None,
        ..TrainConfig::default()
    };
    let batch = training::batch(SEQUENCES, LEN, &device);
    let mut optimizer = optimizer(&config);
    let mut step = |model: FineTune| {
        let grads = gradients(&model, &batch);
        let model = model.optimize(&mut optimizer, 1e-4.into(), grads);
        device.sync().expect("the device works");
        model
    };
    // The first step makes the weights and the optimizer's state.
    let mut state = Some(step(FineTune::new(model, &config)));
    bencher
        .counter(ItemsCount::new(SEQUENCES * LEN))
        .bench_local(|| {
            let model = state.take().expect("put back after each step");
            state = Some(step(model));
        });
}
