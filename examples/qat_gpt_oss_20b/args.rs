//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::device::DeviceName;
use crate::output::Mode;

/// Fine-tunes a gpt-oss model so that it keeps its quality in FP4: SFT, then PTQ for comparison,
/// then quantization-aware training (QAT), and an MXFP4 checkpoint that vLLM, SGLang, TensorRT-LLM and
/// llama.cpp load.
///
/// Without --model and --data the whole recipe runs on an embedded tiny gpt-oss in a few minutes. Options of
/// training, adapters, data and evaluation are keys of a recipe file, too: docs/recipes.md lists them.
#[derive(Clone, Debug, Parser)]
#[command(name = "qat_gpt_oss_20b", max_term_width = 100)]
pub struct Args {
    /// Keys of the recipe with other values, as `model=DIR` or `stages.sft.learning_rate=1e-5`
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Recipe file, YAML or TOML, as those in recipes/ [default: the one for this model and method]
    #[arg(long, value_name = "FILE")]
    pub recipe: Option<PathBuf>,
    /// Checkpoint directory in the published format (config.json, safetensors, tokenizer.json)
    /// [default: the embedded tiny model]
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Chat dataset: a file, a directory or a pattern such as 'data/*.jsonl', in any shape of docs/data.md
    /// [default: the embedded dataset]
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Output directory [default: runs/<time>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Replace the results of an earlier run in the output directory
    #[arg(long)]
    pub overwrite: bool,
    /// Go on with the run in the output directory, which ended early: with the same options
    #[arg(long, conflicts_with = "overwrite")]
    pub resume: bool,
    /// Print parameters, stages, memory and disk of the run, and end: weights are not read, nothing is written
    #[arg(long)]
    pub dry_run: bool,
    /// Where to compute
    #[arg(long, value_enum, default_value_t = DeviceName::Flex)]
    pub device: DeviceName,
    /// Seed of the data order and of the split into training and validation data [default: 42]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Optimizer steps of SFT from the model [default: one epoch; embedded model: 900, with adapters 120]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub sft_steps: Option<usize>,
    /// Optimizer steps of every other stage [default: one epoch; embedded model: 150, with adapters 60]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub qat_steps: Option<usize>,
    /// Peak learning rate of SFT from the model [default: 2e-5, with adapters 2e-4; embedded model: 3e-4 and 4e-3]
    #[arg(long, value_name = "LR", help_heading = "Training")]
    pub sft_lr: Option<f64>,
    /// Peak learning rate of every other stage [default: 1e-5, with adapters 1e-4; embedded model: 1e-4 and 2e-3]
    #[arg(long, value_name = "LR", help_heading = "Training")]
    pub qat_lr: Option<f64>,
    /// Sequences per optimizer step [default: 4; embedded model: 16, with adapters 32]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub batch_size: Option<usize>,
    /// Sequences per forward and backward pass [default: 2; embedded model: 8, with adapters 16]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub micro_batch_size: Option<usize>,
    /// Micro-batches, and batches of the evaluation, computed side by side [default: 1; embedded model: 2]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub parallel: Option<usize>,
    /// Final learning rate as a fraction of the peak [default: 0.1]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub min_lr_ratio: Option<f64>,
    /// Share of the steps over which the learning rate rises [default: 0.03]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub warmup_ratio: Option<f64>,
    /// Weight decay of AdamW [default: 0]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub weight_decay: Option<f64>,
    /// Largest norm of all gradients together, 0 for no limit [default: 1]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub max_grad_norm: Option<f64>,
    /// Steps between evaluations of the validation loss [default: 8; embedded model: 75, with adapters 30]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub eval_steps: Option<usize>,
    /// Steps between two saved states, from which --resume goes on, 0 for none; one is also saved before each
    /// evaluation and before a stop [default: that of --eval-steps]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub save_steps: Option<usize>,
    /// Recompute cheap operations in the backward pass instead of keeping their results
    #[arg(long, help_heading = "Training")]
    pub gradient_checkpointing: bool,
    /// Recompute every layer in the backward pass from its input: least memory, one more forward pass
    #[arg(long, help_heading = "Training")]
    pub recompute_layers: bool,
    /// Train layer by layer: 5 bytes per parameter in place of 16, and the gradient of one matrix. The keys `clipping`,
    /// `masters`, `moments` and `offload` of recipes say more
    #[arg(long, help_heading = "Training")]
    pub layer_wise: bool,
    /// Which weights are quantized (names of ModelOpt's presets work, too)
    /// [default: mxfp4_mlp_weight_only]
    #[arg(long, value_name = "POLICY", help_heading = "Training")]
    pub quantize: Option<String>,

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

    /// Longest sequence in tokens, at most the model's context; longer conversations are cut [default: 4096]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub max_length: Option<usize>,
    /// Share of the dataset kept for validation (the embedded dataset has its own split) [default: 0.1]
    #[arg(long, value_name = "X", help_heading = "Data")]
    pub eval_fraction: Option<f64>,
    /// Leave out rows of the dataset that cannot be used, and count them
    #[arg(long, help_heading = "Data")]
    pub skip_bad_rows: bool,
    /// Which tokens are trained: assistant_with_inner_starts, assistant, final_only, last_turn or all
    /// [default: assistant_with_inner_starts]
    #[arg(long, value_name = "MASK", help_heading = "Data")]
    pub loss_mask: Option<String>,
    /// System block in front of every conversation, published or none [default: published; embedded model: none]
    #[arg(long, value_name = "BLOCK", help_heading = "Data")]
    pub system: Option<String>,
    /// Date in the published system block, YYYY-MM-DD; fixed so that runs can be repeated [default: 2025-08-05]
    #[arg(long, value_name = "DATE", help_heading = "Data")]
    pub date: Option<String>,

    /// Held-out prompts answered for the pass rate [default: 200]
    #[arg(long, value_name = "N", help_heading = "Evaluation")]
    pub prompts: Option<usize>,
    /// Most tokens to generate per prompt [default: 512; embedded model: 64]
    #[arg(long, value_name = "N", help_heading = "Evaluation")]
    pub max_new_tokens: Option<usize>,
    /// Run every stage with a handful of steps and prompts, to see that everything works
    #[arg(long, help_heading = "Evaluation")]
    pub smoke: bool,
}

impl Args {
    /// What becomes of an earlier run.
    pub fn mode(&self) -> Mode {
        match (self.resume, self.overwrite) {
            (true, _) => Mode::Resume,
            (false, true) => Mode::Overwrite,
            (false, false) => Mode::New,
        }
    }

    /// Whether adapters were asked for.
    pub fn asks_for_lora(&self) -> bool {
        let asked = self.lora
            || self.rank.is_some()
            || self.alpha.is_some()
            || self.rslora
            || self.lora_targets.is_some()
            || self.lora_layers.is_some();
        let mut overrides = self.overrides.iter();
        asked || overrides.any(|text| speaks_of_lora(text) && text != "lora=null")
    }

    /// Whether anything was said about adapters, be it that there are to be none.
    pub fn speaks_of_lora(&self) -> bool {
        self.asks_for_lora() || self.overrides.iter().any(|text| speaks_of_lora(text))
    }

    /// Whether a model was given, so that the embedded one is not meant.
    pub fn gives_model(&self) -> bool {
        self.model.is_some() || self.overrides.iter().any(|text| text.starts_with("model="))
    }
}

fn speaks_of_lora(text: &str) -> bool {
    text.starts_with("lora=") || text.starts_with("lora.")
}
