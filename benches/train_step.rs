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
//! `qat over sft` takes the steps of both in turns, so that a change of the machine's speed meets both.
//!
//! `cargo bench --bench train_step [-- FILTER]`

#[path = "../tests/support/plain_model.rs"]
mod plain_model;
#[path = "support/training.rs"]
mod training;

use std::time::Instant;

use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use burn::train::TrainStep;
use burn_qat_train::{FineTune, QuantPolicy, StepBatch, TrainConfig, adamw, insert_quantizers};
use divan::Bencher;
use divan::counter::ItemsCount;

/// Keeps the memory of large tensors, which glibc gives back to the system in every step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LAYERS: usize = 4;
const SEQUENCES: usize = 4;
const LEN: usize = 256;
const THREADS: usize = 2;

fn main() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(THREADS);
    pool.build_global().expect("the first use of threads");
    divan::main();
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    if filter.is_none_or(|filter| "qat over sft".contains(&filter)) {
        qat_over_sft();
    }
}

/// Prints the time of a QAT step over that of an SFT step, the median of pairs of neighbours.
fn qat_over_sft() {
    const PAIRS: usize = 24;
    let gradients =
        |model: &FineTune, batch: &StepBatch| TrainStep::step(model, batch.clone()).grads;
    let mut steppers = [false, true].map(|quantized| Stepper::new(quantized, adamw, gradients));
    let seconds = |stepper: &mut Stepper<_>| {
        let start = Instant::now();
        stepper.step();
        start.elapsed().as_secs_f64()
    };
    let mut ratios: Vec<f64> = (0..PAIRS)
        .map(|pair| {
            // Who goes first changes, too.
            let first = pair % 2;
            let times = [first, 1 - first].map(|which| seconds(&mut steppers[which]));
            times[1 - first] / times[first]
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    println!(
        "qat over sft, {PAIRS} pairs of steps: median {:.3}, quartiles {:.3} and {:.3}",
        ratios[PAIRS / 2],
        ratios[PAIRS / 4],
        ratios[3 * PAIRS / 4],
    );
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
    let mut stepper = Stepper::new(quantized, optimizer, gradients);
    bencher
        .counter(ItemsCount::new(SEQUENCES * LEN))
        .bench_local(|| stepper.step());
}

/// A model in training.
struct Stepper<G> {
    device: Device,
    model: Option<FineTune>,
    optimizer: ModuleOptimizer,
    batch: StepBatch,
    gradients: G,
}

impl<G: Fn(&FineTune, &StepBatch) -> GradientsParams> Stepper<G> {
    /// After a first step, which makes the weights and the optimizer's state.
    fn new(
        quantized: bool,
        optimizer: impl Fn(&TrainConfig) -> ModuleOptimizer,
        gradients: G,
    ) -> Self {
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
        let mut stepper = Self {
            batch: training::batch(SEQUENCES, LEN, &device),
            model: Some(FineTune::new(model, &config)),
            optimizer: optimizer(&config),
            device,
            gradients,
        };
        stepper.step();
        stepper
    }

    fn step(&mut self) {
        let model = self.model.take().expect("put back after each step");
        let grads = (self.gradients)(&model, &self.batch);
        self.model = Some(model.optimize(&mut self.optimizer, 1e-4.into(), grads));
        self.device.sync().expect("the device works");
    }
}
