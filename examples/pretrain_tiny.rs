//! Trains the embedded tiny gpt-oss from scratch: tokenizer, base model in float32, a short QAT phase,
//! and the MXFP4 checkpoint in `assets/tiny-gpt-oss` that `qat_gpt_oss_20b` starts from.
//!
//! `cargo run --example pretrain_tiny -- --out DIR` (about 40 minutes on 2 cores).

#[path = "tiny/dataset.rs"]
mod dataset;
#[path = "support/terminal.rs"]
mod terminal;
#[path = "tiny/tokenizer.rs"]
mod tokenizer;

use std::path::PathBuf;

use anyhow::{Context, Error, Result};
use burn::module::Module;
use burn::tensor::Device;
use burn_gpt_oss::{
    AnalysisPolicy, CheckpointForm, CheckpointWriter, GptOss, GptOssConfig, LayerType, LossMask,
    RenderOptions, RopeConfig, Tokenizer,
};
use burn_qat_train::{
    ChatFormat, ChatRecord, Console, DataNotes, QuantPolicy, StageRun, TokenizedExample,
    TrainConfig, insert_quantizers,
};
use clap::Parser;
use dataset::{Example, Split, pretrain_examples, sft_examples};
use terminal::say;

/// Keeps the memory of large tensors, which glibc gives back to the system in every step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Trains the embedded tiny gpt-oss from scratch")]
struct Args {
    /// Directory for the checkpoint
    #[arg(long, default_value = "runs/tiny-gpt-oss")]
    out: PathBuf,
    /// Optimizer steps in float32
    #[arg(long, default_value_t = 1500)]
    steps: usize,
    /// Optimizer steps of quantization-aware training after them
    #[arg(long, default_value_t = 150)]
    qat_steps: usize,
    /// Sequences per step
    #[arg(long, default_value_t = 64)]
    batch_size: usize,
    /// Peak learning rate
    #[arg(long, default_value_t = 2e-3)]
    lr: f64,
    /// Seed of weights, data and order
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Number of token ids
    #[arg(long, default_value_t = 1280)]
    vocab_size: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let device = Device::flex();
    device.seed(args.seed);
    let examples = pretrain_examples(args.steps.min(1500) * args.batch_size, args.seed);
    let texts: Vec<String> = examples
        .iter()
        .chain(&sft_examples(Split::Train, 4000, args.seed))
        .take(24_000)
        .flat_map(Example::texts)
        .chain(std::iter::repeat_n("# Instructions\n\n".to_string(), 1000))
        .collect();
    let tokenizer_json = tokenizer::train_tokenizer(&texts, args.vocab_size)?;
    let tokenizer = Tokenizer::from_bytes(&tokenizer_json)?;
    say(format_args!(
        "tokenizer of {} entries from {} texts",
        tokenizer.vocab_size(),
        texts.len()
    ));

    let config = tiny_config(&tokenizer)?;
    let model = config.init(&device);
    say(format_args!(
        "{:.2} M parameters, {:.2} M of them in experts",
        Module::num_params(&model) as f64 / 1e6,
        config.num_expert_weights() as f64 / 1e6
    ));
    let model = pretrain(&args, model, &examples, &tokenizer)?;
    save(&args, &model, &tokenizer_json)
}

/// Two stages: float32, then QAT at a tenth of the rate, so that the checkpoint loses nothing when
/// its experts are stored in MXFP4.
fn pretrain(
    args: &Args,
    model: GptOss,
    examples: &[Example],
    tokenizer: &Tokenizer,
) -> Result<GptOss> {
    let format = ChatFormat {
        system: None,
        rendering: RenderOptions::library().with_analysis(AnalysisPolicy::Keep),
        loss_mask: LossMask::default(),
        max_length: 160,
    };
    let valid = tokens(&pretrain_examples(400, args.seed + 1), &format, tokenizer)?;
    let examples = tokens(examples, &format, tokenizer)?;
    let logs = args.out.with_extension("training");
    let (base_log, qat_log) = (logs.join("base"), logs.join("qat"));
    for dir in [&base_log, &qat_log] {
        std::fs::create_dir_all(dir).context("the directory of the training log")?;
    }
    let base = TrainConfig {
        steps: args.steps,
        batch_size: args.batch_size,
        micro_batch_size: 32,
        parallel_micro_batches: 2,
        learning_rate: args.lr,
        min_lr_ratio: 0.05,
        eval_steps: 250,
        weight_decay: 0.01,
        no_weight_decay: Vec::new(),
        seed: args.seed,
        ..TrainConfig::default()
    };
    let qat = TrainConfig {
        steps: args.qat_steps,
        learning_rate: args.lr / 10.0,
        ..base.clone()
    };
    let data = || (examples.clone(), valid.clone());
    let console = || Console::Lines(std::sync::Arc::new(|line: &str| say(line)));
    let run = StageRun::new("pretrain", &base_log, &base).with_console(console());
    let outcome = run.train(model, data())?;
    let (model, _) = insert_quantizers(outcome.model, &QuantPolicy::mxfp4_mlp_weight_only())?;
    let run = StageRun::new("QAT", &qat_log, &qat).with_console(console());
    Ok(run.train(model, data())?.model)
}

fn tokens(
    examples: &[Example],
    format: &ChatFormat,
    tokenizer: &Tokenizer,
) -> Result<Vec<TokenizedExample>> {
    let records = examples
        .iter()
        .map(|example| {
            let row = example.row_json();
            ChatRecord::from_json(&row, None, &mut DataNotes::default()).map_err(Error::msg)
        })
        .collect::<Result<Vec<ChatRecord>>>()?;
    Ok(format.tokenize_all(&records, tokenizer)?.examples)
}

/// The architecture of gpt-oss in small; heads and experts keep their proportions.
fn tiny_config(tokenizer: &Tokenizer) -> Result<GptOssConfig> {
    let id = |text: &str| {
        tokenizer
            .special_token(text)
            .with_context(|| format!("the tokenizer lacks {text}"))
    };
    let layer_types = [LayerType::SlidingAttention, LayerType::FullAttention].repeat(2);
    Ok(GptOssConfig {
        vocab_size: tokenizer.vocab_size(),
        hidden_size: 128,
        intermediate_size: 128,
        num_hidden_layers: layer_types.len(),
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 32,
        num_local_experts: 16,
        num_experts_per_tok: 4,
        sliding_window: 32,
        layer_types,
        max_position_embeddings: 1024,
        rope: RopeConfig {
            factor: 4.0,
            original_max_position_embeddings: 256,
            ..GptOssConfig::gpt_oss_20b().rope
        },
        initializer_range: 0.05,
        eos_token_id: Some(id("<|return|>")?),
        pad_token_id: Some(id("<|endoftext|>")?),
        ..GptOssConfig::gpt_oss_20b()
    })
}

fn save(args: &Args, model: &GptOss, tokenizer_json: &[u8]) -> Result<()> {
    let companions = tempfile::tempdir()?;
    let config = model.config();
    std::fs::write(companions.path().join("tokenizer.json"), tokenizer_json)?;
    let generation = serde_json::json!({
        "do_sample": false,
        "eos_token_id": config.eos_token_id,
        "pad_token_id": config.pad_token_id,
    });
    std::fs::write(
        companions.path().join("generation_config.json"),
        format!("{generation:#}\n"),
    )?;
    let report = CheckpointWriter::new(CheckpointForm::Mxfp4)
        .with_overwrite(true)
        .with_companions(companions.path())
        .save(model, &args.out, |_| {})?;
    say(format_args!(
        "{} bytes of tensors in {}",
        report.bytes,
        report.dir.display()
    ));
    Ok(())
}
