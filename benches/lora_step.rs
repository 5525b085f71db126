//! Training steps of low-rank adapters on a packed base of the shapes of gpt-oss-20b: plain ones, and ones on
//! rounded sums (QAT).
//!
//! `cargo bench --bench lora_step` makes four layers with random weights in a temporary directory, with `LAYERS=N`
//! others; `CHECKPOINT=DIR` takes any checkpoint. `TOKENS=N` tokens in one sequence (512), `TURNS=N` steps of each
//! kind, one after the other (5), `RANK=N` (8), `TARGETS=GLOBS` the adapted weights.
//!
//! Floor of a step: the products of the forward pass, of its repetition and of the gradients by rows, three times
//! two FLOP per weight and row, at the rate of the `gemm` crate for an expert's rows; one decoding of all experts
//! that have rows for each of the three; with rounding one merging of them for both passes. The rates are those of
//! the same run.

#[path = "support/checkpoint.rs"]
mod checkpoint;
#[path = "support/process.rs"]
mod process;
#[path = "../examples/synthetic_checkpoint/tensors.rs"]
mod tensors;
#[path = "support/training.rs"]
mod training;

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result};
use burn::backend::DispatchDevice;
use burn::optim::ModuleOptimizer;
use burn::tensor::{Device, FloatDType};
use burn::train::TrainStep;
use burn_fp4::backend::flex::{Matrix, MatrixMut, product};
use burn_gpt_oss::{CheckpointReader, GptOss, GptOssConfig};
use burn_qat_train::{
    AdapterTable, FineTune, LoraConfig, MergeReport, QuantPolicy, StepBatch, TrainConfig, adamw,
    insert_adapters, round_adapters, unround_adapters,
};
use checkpoint::checkpoint;
use process::Process;

/// Keeps the memory of large tensors, which glibc gives back to the system in every step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let (dir, _temporary) = checkpoint(4)?;
    let (tokens, turns) = (number("TOKENS", 512)?, number("TURNS", 5)?);
    let plain_device = Device::default();
    let device = plain_device.clone().autodiff();
    let reader = CheckpointReader::open(&dir)?;
    let model = reader.load_stored(&device, FloatDType::F32, |_| {})?;
    let mut lora = LoraConfig {
        rank: number("RANK", 8)?,
        ..LoraConfig::default()
    };
    if let Ok(targets) = std::env::var("TARGETS") {
        lora.targets = targets.split(',').map(String::from).collect();
    }
    let (model, adapted) = insert_adapters(model, &lora)?;
    println!(
        "# LoRA steps of {tokens} tokens, {} layers, {:.1} GB on disk, {plain_device:?}, {} threads\n",
        reader.config().num_hidden_layers,
        reader.file_len()? as f64 / 1e9,
        rayon::current_num_threads()
    );
    println!("{}\n", AdapterTable::new(&adapted));
    let config = TrainConfig {
        learning_rate: std::env::var("LR").map_or(Ok(1e-3), |rate| rate.parse())?,
        recompute_layers: true,
        max_grad_norm: None,
        ..TrainConfig::default()
    };
    let mut stepper = Stepper {
        batch: training::batch_of(reader.config().vocab_size, 1, tokens, &device),
        model: Some(model),
        optimizer: adamw(&config),
        config,
    };
    let mut times = [Vec::new(), Vec::new()];
    println!("| step | loss | plain, s | loss | rounded, s | anonymous | peak resident |");
    println!("|--:|--:|--:|--:|--:|--:|--:|");
    for turn in 0..turns {
        let plain = stepper.step(None)?;
        let rounded = stepper.step(Some(&QuantPolicy::mxfp4_mlp_weight_only()))?;
        let memory = Process::now();
        println!(
            "| {turn} | {:.4} | {:.2} | {:.4} | {:.2} | {:.2} GB | {:.2} GB |",
            plain.loss,
            plain.seconds,
            rounded.loss,
            rounded.seconds,
            memory.anonymous as f64 / 1e9,
            memory.peak_resident as f64 / 1e9
        );
        times[0].push(plain.seconds);
        times[1].push(rounded.seconds);
    }
    let [plain, rounded] = times.map(median);
    let model = stepper.model.as_ref().context("a model")?;
    if matches!(plain_device.as_dispatch(), DispatchDevice::Flex(_)) {
        Rates::measure(model)?.report(reader.config(), tokens, [plain, rounded]);
    }
    println!("\n{}", MergeReport::new(model)?);
    Ok(())
}

fn number(name: &str, default: usize) -> Result<usize> {
    match std::env::var(name) {
        Ok(value) => value.parse().with_context(|| name.to_owned()),
        Err(_) => Ok(default),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

struct Stepper {
    model: Option<GptOss>,
    batch: StepBatch,
    optimizer: ModuleOptimizer,
    config: TrainConfig,
}

struct Step {
    loss: f64,
    seconds: f64,
}

impl Stepper {
    /// An optimizer step, on rounded sums if there is a policy.
    fn step(&mut self, policy: Option<&QuantPolicy>) -> Result<Step> {
        let model = self.model.take().context("put back after each step")?;
        let model = match policy {
            Some(policy) => round_adapters(model, policy)?.0,
            None => unround_adapters(model),
        };
        let model = FineTune::new(model, &self.config);
        let start = Instant::now();
        let output = model.step(self.batch.clone());
        let rate = self.config.learning_rate.into();
        let model = model.optimize(&mut self.optimizer, rate, output.grads);
        let loss = output.item.loss.try_into_vec_as::<f32>()?;
        let seconds = start.elapsed().as_secs_f64();
        self.model = Some(model.model);
        Ok(Step {
            loss: f64::from(loss[0]),
            seconds,
        })
    }
}

/// What the parts of a step cannot be faster than.
struct Rates {
    /// FLOP per second of a product of an expert's rows.
    gemm: f64,
    /// Elements per second.
    decode: f64,
    merge: f64,
}

impl Rates {
    fn measure(model: &GptOss) -> Result<Self> {
        let [m, k, n] = [
            64,
            model.config().hidden_size,
            2 * model.config().intermediate_size,
        ];
        let (a, b) = (vec![0.5f32; m * k], vec![0.25f32; k * n]);
        let mut out = vec![0f32; m * n];
        let gemm = fastest(|| {
            let out = MatrixMut::new(&mut out, [m, n]);
            product(out, Matrix::new(&a, [m, k]), Matrix::new(&b, [k, n]), false);
        });
        let weight = &model.layers[0].mlp.experts.gate_up_proj;
        let n_elements = weight.shape().iter().product::<usize>() as f64;
        let base = weight.packed().context("a packed base")?;
        // A part of it, for the memory of the floats.
        let packed = base.to_packed()?;
        let eighth = packed.codes().len() / 8;
        let bytes = packed.scales().len() / 8;
        let shape = vec![eighth * 2 / k, k];
        let part = burn_fp4::PackedFp4::from_parts(
            packed.scheme(),
            shape,
            &packed.codes()[..eighth],
            &packed.scales()[..bytes],
        )?;
        let mut floats = vec![0f32; eighth * 2];
        let decode = fastest(|| part.dequantize_along(1, &mut floats).expect("whole blocks"));
        let merge = fastest(|| drop(black_box(weight.codes())));
        Ok(Self {
            gemm: 2.0 * (m * k * n) as f64 / gemm,
            decode: n_elements / 8.0 / decode,
            merge: n_elements / merge,
        })
    }

    fn report(&self, config: &GptOssConfig, tokens: usize, times: [f64; 2]) {
        let layers = config.num_hidden_layers as f64;
        let experts = config.num_expert_weights() as f64;
        let share = config.num_experts_per_tok as f64 / config.num_local_experts as f64;
        let attention = 2 * config.num_attention_heads + 2 * config.num_key_value_heads;
        let attention = (config.hidden_size * attention * config.head_dim) as f64 * layers;
        let head = (config.hidden_size * config.vocab_size) as f64;
        let flops = tokens as f64 * 2.0 * (3.0 * (experts * share + attention) + 2.0 * head);
        let products = flops / self.gemm;
        let decode = 3.0 * experts / self.decode;
        let merge = 2.0 * experts / self.merge;
        let [plain, rounded] = times;
        println!(
            "\nproducts {products:.2} s ({:.0} GFLOP at {:.0} GFLOP/s), decoding {decode:.2} s at {:.2} G/s, merging \
             {merge:.2} s at {:.2} G/s",
            flops / 1e9,
            self.gemm / 1e9,
            self.decode / 1e9,
            self.merge / 1e9
        );
        let floors = [products + decode, products + decode + merge];
        for (name, seconds, floor) in [("plain", plain, floors[0]), ("rounded", rounded, floors[1])]
        {
            println!(
                "{name}: median {seconds:.2} s, {:.1} tokens/s, {:.0} % of the floor of {floor:.2} s",
                tokens as f64 / seconds,
                100.0 * floor / seconds
            );
        }
        println!("rounded over plain: {:.3}", rounded / plain);
    }
}

/// Seconds of the fastest of some runs.
fn fastest(mut run: impl FnMut()) -> f64 {
    let mut seconds = || {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    (0..5).map(|_| seconds()).fold(f64::INFINITY, f64::min)
}
