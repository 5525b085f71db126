//! Training steps of four layers of gpt-oss-20b on the device that `BURN_DEVICE` names.
//!
//! True shapes, vocabulary included, 4.3 G parameters in bf16 with AdamW's moments in bf16; 2 sequences
//! of 4096 tokens, every position a target. On a slow device the small model of `train_step` in float32.
//! `scripts/peer_gpu.py step` runs the same with transformers.
//!
//! Floor: three times the FLOPs of a forward pass, two per multiply-add, counted below: 23 TFLOP.
//!
//! `cargo bench --bench train_slice [--features cuda] [-- FILTER]`

#[path = "support/device.rs"]
mod device;
#[path = "support/training.rs"]
mod training;

use std::time::Instant;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Tensor};
use burn::train::TrainStep;
use burn_gpt_oss::{GptOssConfig, LayerType};
use burn_qat_train::{FineTune, QuantPolicy, StepBatch, TrainConfig, adamw, insert_quantizers};

use device::Target;

const LAYERS: usize = 4;
/// Measured, after two to compile kernels and to make the optimizer's state.
const STEPS: usize = 5;

fn main() {
    let target = Target::open("Training steps of four layers");
    let (config, shape) = match target.large {
        true => (slice_of_20b(), [2, 4096]),
        false => (training::config(LAYERS), [2, 128]),
    };
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    println!("| step | ms | spread | tokens/s | TFLOP/s |");
    println!("|---|--:|--:|--:|--:|");
    for (name, quantized, recompute) in [
        ("SFT", false, false),
        ("QAT, MXFP4", true, false),
        ("QAT, MXFP4, layers recomputed", true, true),
    ] {
        if filter.as_ref().is_none_or(|filter| name.contains(filter)) {
            measure(&target, name, &config, shape, (quantized, recompute));
        }
    }
}

fn slice_of_20b() -> GptOssConfig {
    GptOssConfig {
        num_hidden_layers: LAYERS,
        layer_types: [LayerType::SlidingAttention, LayerType::FullAttention].repeat(LAYERS / 2),
        ..GptOssConfig::gpt_oss_20b()
    }
}

fn measure(
    target: &Target,
    name: &str,
    config: &GptOssConfig,
    [sequences, len]: [usize; 2],
    (quantized, recompute_layers): (bool, bool),
) {
    let device = target.device.clone().autodiff();
    let mut model = config.init(&device);
    if target.large {
        model = model.map(&mut ToBf16);
    }
    if quantized {
        let policy = QuantPolicy::mxfp4_mlp_weight_only();
        model = insert_quantizers(model, &policy)
            .expect("the preset matches")
            .0;
    }
    let settings = TrainConfig {
        max_grad_norm: None,
        recompute_layers,
        ..TrainConfig::default()
    };
    let batch = training::batch_of(config.vocab_size, sequences, len, &device);
    let mut optimizer = adamw(&settings);
    let mut step = |model: FineTune, batch: &StepBatch| {
        let output = TrainStep::step(&model, batch.clone());
        let model = model.optimize(&mut optimizer, 1e-5.into(), output.grads);
        let loss = output.item.loss.into_data();
        device.sync().expect("the device works");
        (model, loss)
    };
    let mut model = FineTune::new(model, &settings);
    let mut times = Vec::new();
    for _ in 0..STEPS + 2 {
        let start = Instant::now();
        let (next, loss) = step(model, &batch);
        times.push(start.elapsed().as_secs_f64());
        let loss = loss.iter::<f64>().next().expect("a loss");
        assert!(loss.is_finite(), "loss {loss}");
        model = next;
    }
    let mut times = times.split_off(2);
    times.sort_by(f64::total_cmp);
    let time = times[STEPS / 2];
    let tokens = sequences * len;
    println!(
        "| {name} | {:.1} | {:.0} % | {:.0} | {:.1} |",
        time * 1e3,
        100.0 * (times[STEPS - 1] - times[0]) / time,
        tokens as f64 / time,
        3.0 * forward_flops(config, sequences, len) / time / 1e12,
    );
    drop(model);
    device.memory_cleanup();
}

fn forward_flops(config: &GptOssConfig, sequences: usize, len: usize) -> f64 {
    let width = config.hidden_size;
    let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
    let channels = heads * config.head_dim;
    let projections = width * (2 * channels + 2 * kv_heads * config.head_dim);
    let experts = 3 * config.num_experts_per_tok * width * config.intermediate_size;
    let pairs = |layer: &LayerType| {
        let visible = match layer {
            LayerType::SlidingAttention => config.sliding_window.min(len),
            LayerType::FullAttention => len,
        };
        visible * (visible + 1) / 2 + (len - visible) * visible
    };
    let scores: usize = config.layer_types.iter().map(pairs).sum();
    let per_token = config.num_hidden_layers * (projections + experts) + width * config.vocab_size;
    2.0 * sequences as f64 * (len * per_token + scores * 2 * channels) as f64
}

/// One parameter after the other, so that the model never exists as float32.
struct ToBf16;

impl ModuleMapper for ToBf16 {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(DType::BF16).detach().require_grad())
    }
}
