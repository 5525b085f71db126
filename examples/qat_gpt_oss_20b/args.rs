//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use burn_gpt_oss::LossMask;
use burn_qat_train::LoraConfig;
use clap::{Parser, ValueEnum};

use crate::date::PUBLISHED_DATE;
use crate::device::DeviceName;

/// Fine-tunes a gpt-oss model so that it keeps its quality in MXFP4: SFT, then PTQ for comparison,
/// then quantization-aware training (QAT), and an MXFP4 checkpoint that vLLM, SGLang, TensorRT-LLM and
/// llama.cpp load.
///
/// Without --model and --data the whole recipe runs on an embedded tiny gpt-oss in a few minutes.
#[derive(Clone, Debug, Parser)]
#[command(name = "qat_gpt_oss_20b", max_term_width = 100)]
pub struct Args {
    /// Checkpoint directory in the published format (config.json, safetensors, tokenizer.json)
    /// [default: the embedded tiny model]
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Chat dataset, one JSON object with `messages` per line
    /// [default: the embedded dataset]
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Output directory [default: runs/<time>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Replace the results of an earlier run in the output directory
    #[arg(long)]
    pub overwrite: bool,
    /// Go on with the run in the output directory, which ended early: with the same options. Runs with adapters only
    #[arg(long, requires = "out", conflicts_with = "overwrite")]
    pub resume: bool,
    /// Where to compute
    #[arg(long, value_enum, default_value_t = DeviceName::Flex)]
    pub device: DeviceName,
    /// Seed of the data order and of the split into training and validation data
    #[arg(long, default_value_t = 42)]
    pub seed: u64,

    /// Optimizer steps of SFT [default: one epoch; embedded model: 120]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub sft_steps: Option<usize>,
    /// Optimizer steps of QAT [default: one epoch; embedded model: 60]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub qat_steps: Option<usize>,
    /// Peak learning rate of SFT [default: 2e-5, with adapters 2e-4; embedded model: 2e-4 and 4e-3]
    #[arg(long, value_name = "LR", help_heading = "Training")]
    pub sft_lr: Option<f64>,
    /// Peak learning rate of QAT [default: 1e-5, with adapters 1e-4; embedded model: 2e-4 and 2e-3]
    #[arg(long, value_name = "LR", help_heading = "Training")]
    pub qat_lr: Option<f64>,
    /// Sequences per optimizer step [default: 4; embedded model: 32]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub batch_size: Option<usize>,
    /// Sequences per forward and backward pass [default: 2; embedded model: 16]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub micro_batch_size: Option<usize>,
    /// Micro-batches, and batches of the evaluation, computed side by side [default: 1; embedded model: 2]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub parallel: Option<usize>,
    /// Final learning rate as a fraction of the peak
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.1,
        help_heading = "Training"
    )]
    pub min_lr_ratio: f64,
    /// Share of the steps over which the learning rate rises
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.03,
        help_heading = "Training"
    )]
    pub warmup_ratio: f64,
    /// Weight decay of AdamW
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.0,
        help_heading = "Training"
    )]
    pub weight_decay: f32,
    /// Largest norm of all gradients together, 0 for no limit
    #[arg(
        long,
        value_name = "X",
        default_value_t = 1.0,
        help_heading = "Training"
    )]
    pub max_grad_norm: f64,
    /// Steps between evaluations of the validation loss [default: 8; embedded model: 30]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub eval_steps: Option<usize>,
    /// Recompute cheap operations in the backward pass instead of keeping their results
    #[arg(long, help_heading = "Training")]
    pub gradient_checkpointing: bool,
    /// Recompute every layer in the backward pass from its input: least memory, one more forward pass
    #[arg(long, help_heading = "Training")]
    pub recompute_layers: bool,
    /// Which weights are quantized (names of ModelOpt's presets work, too)
    #[arg(
        long,
        value_name = "POLICY",
        default_value = "mxfp4_mlp_weight_only",
        help_heading = "Training"
    )]
    pub quantize: String,

    /// Train low-rank adapters on a frozen base in place of all parameters, with little memory beside the checkpoint.
    /// The default where full training does not fit into memory
    #[arg(long, help_heading = "Adapters")]
    pub lora: bool,
    /// Rank of the adapters, of each expert; this and the following options ask for adapters, as --lora does
    /// [default: 8]
    #[arg(long, value_name = "N", help_heading = "Adapters")]
    pub rank: Option<usize>,
    /// Scale of the adapters times the rank [default: 16]
    #[arg(long, value_name = "X", help_heading = "Adapters")]
    pub alpha: Option<f64>,
    /// Scale by the root of the rank (rsLoRA)
    #[arg(long, help_heading = "Adapters")]
    pub rslora: bool,
    /// Weights with adapters, globs on module paths, separated by commas
    /// [default: *.self_attn.?_proj.weight,*.mlp.experts.*_proj]
    #[arg(
        long,
        value_name = "GLOBS",
        value_delimiter = ',',
        help_heading = "Adapters"
    )]
    pub lora_targets: Option<Vec<String>>,
    /// Layers with adapters, separated by commas [default: all]
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        help_heading = "Adapters"
    )]
    pub lora_layers: Option<Vec<usize>>,

    /// Steps between two saved states, from which --resume goes on; one is also saved before each evaluation
    /// and before a stop [default: that of --eval-steps]
    #[arg(long, value_name = "N", help_heading = "Adapters")]
    pub save_steps: Option<NonZeroUsize>,

    /// Longest sequence in tokens, at most the model's context; longer conversations are cut
    #[arg(long, value_name = "N", default_value_t = 4096, help_heading = "Data")]
    pub max_length: usize,
    /// Share of the dataset kept for validation (the embedded dataset has its own split)
    #[arg(long, value_name = "X", default_value_t = 0.1, help_heading = "Data")]
    pub eval_fraction: f64,
    /// Leave out rows of the dataset that cannot be used, and count them
    #[arg(long, help_heading = "Data")]
    pub skip_bad_rows: bool,
    /// Which tokens are trained: assistant_with_inner_starts, assistant, final_only, last_turn or all
    #[arg(long, value_name = "MASK", default_value = "assistant_with_inner_starts", value_parser = loss_mask, help_heading = "Data")]
    pub loss_mask: LossMask,
    /// System block in front of every conversation [default: published; embedded model: none]
    #[arg(long, value_enum, help_heading = "Data")]
    pub system: Option<SystemBlock>,
    /// Date in the published system block, YYYY-MM-DD; fixed so that runs can be repeated
    #[arg(
        long,
        value_name = "DATE",
        default_value = PUBLISHED_DATE,
        help_heading = "Data"
    )]
    pub date: String,

    /// Held-out prompts answered for the pass rate
    #[arg(
        long,
        value_name = "N",
        default_value_t = 200,
        help_heading = "Evaluation"
    )]
    pub prompts: usize,
    /// Most tokens to generate per prompt [default: 512; embedded model: 64]
    #[arg(long, value_name = "N", help_heading = "Evaluation")]
    pub max_new_tokens: Option<usize>,
    /// Run every stage with a handful of steps and prompts, to see that everything works
    #[arg(long, help_heading = "Evaluation")]
    pub smoke: bool,
}

impl Args {
    /// The adapters that were asked for.
    pub fn lora(&self) -> Option<LoraConfig> {
        let asked = self.lora
            || self.rank.is_some()
            || self.alpha.is_some()
            || self.rslora
            || self.lora_targets.is_some()
            || self.lora_layers.is_some();
        asked.then(|| self.lora_config())
    }

    /// The adapters that the other options describe.
    pub fn lora_config(&self) -> LoraConfig {
        let defaults = LoraConfig::default();
        LoraConfig {
            rank: self.rank.unwrap_or(defaults.rank),
            alpha: self.alpha.unwrap_or(defaults.alpha),
            use_rslora: self.rslora,
            targets: self.lora_targets.clone().unwrap_or(defaults.targets),
            layers: self.lora_layers.clone(),
            seed: self.seed,
            ..LoraConfig::default()
        }
    }
}

/// The system block of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SystemBlock {
    /// The one gpt-oss was trained with
    Published,
    /// No system block
    None,
}

fn loss_mask(name: &str) -> Result<LossMask, String> {
    serde_json::from_value(name.into()).map_err(|error| error.to_string())
}
