//! Arguments with every default filled in.

use std::num::NonZeroUsize;

use anyhow::{Result, ensure};
use burn_gpt_oss::{GptOssConfig, SystemContent};
use burn_qat_train::{ChatFormat, EvalOptions, LoraConfig, QuantPolicy, TrainConfig};

use crate::args::{Args, SystemBlock};

/// What a run does, all values decided.
#[derive(Clone, Debug)]
pub struct Settings {
    pub sft: TrainConfig,
    pub qat: TrainConfig,
    /// Adapters in place of full training.
    pub lora: Option<LoraConfig>,
    pub policy: QuantPolicy,
    pub format: ChatFormat,
    pub eval: EvalOptions,
    pub prompts: usize,
}

/// Values that differ between the embedded tiny model and a real one.
struct Defaults {
    sft_lr: f64,
    qat_lr: f64,
    /// With adapters.
    lora_lr: [f64; 2],
    batch_size: usize,
    micro_batch_size: usize,
    parallel: usize,
    eval_steps: usize,
    max_new_tokens: usize,
    system: SystemBlock,
}

const EMBEDDED: Defaults = Defaults {
    sft_lr: 2e-4,
    qat_lr: 2e-4,
    lora_lr: [4e-3, 2e-3],
    batch_size: 32,
    micro_batch_size: 16,
    parallel: 2,
    eval_steps: 30,
    max_new_tokens: 64,
    system: SystemBlock::None,
};

/// The published recipe (ModelOpt `sft_full.yaml`; QAT at 1e-5; `sft_lora.yaml` for adapters).
const REAL: Defaults = Defaults {
    sft_lr: 2e-5,
    qat_lr: 1e-5,
    lora_lr: [2e-4, 1e-4],
    batch_size: 4,
    micro_batch_size: 2,
    parallel: 1,
    eval_steps: 8,
    max_new_tokens: 512,
    system: SystemBlock::Published,
};

/// Steps on the embedded dataset, chosen so that the recipe takes a few minutes on two cores.
const EMBEDDED_STEPS: (usize, usize) = (120, 60);

impl Settings {
    /// Decides everything; `n_examples` is the size of the training data, for epochs.
    pub fn resolve(args: &Args, format: ChatFormat, n_examples: usize) -> Result<Self> {
        ensure!(
            args.max_grad_norm.is_finite() && args.max_grad_norm >= 0.0,
            "--max-grad-norm is {}, expected 0 (no limit) or a positive number",
            args.max_grad_norm
        );
        ensure!(
            (0.0..1.0).contains(&args.eval_fraction),
            "--eval-fraction must be from 0 to below 1"
        );
        let embedded = args.model.is_none();
        let defaults = if embedded { EMBEDDED } else { REAL };
        let batch_size = args.batch_size.unwrap_or(defaults.batch_size);
        let epoch = n_examples.div_ceil(batch_size.max(1));
        let (sft_steps, qat_steps) = match (args.smoke, embedded) {
            (true, _) => (4, 2),
            (false, true) => EMBEDDED_STEPS,
            (false, false) => (epoch, epoch),
        };
        let lora = args.lora();
        let [sft_lr, qat_lr] = match lora {
            Some(_) => defaults.lora_lr,
            None => [defaults.sft_lr, defaults.qat_lr],
        };
        let eval_steps = args.eval_steps.unwrap_or(defaults.eval_steps);
        let sft = TrainConfig {
            steps: args.sft_steps.unwrap_or(sft_steps),
            batch_size,
            micro_batch_size: args.micro_batch_size.unwrap_or(defaults.micro_batch_size),
            parallel_micro_batches: args.parallel.unwrap_or(defaults.parallel),
            learning_rate: args.sft_lr.unwrap_or(sft_lr),
            min_lr_ratio: args.min_lr_ratio,
            warmup_ratio: args.warmup_ratio,
            weight_decay: args.weight_decay,
            max_grad_norm: (args.max_grad_norm > 0.0).then_some(args.max_grad_norm),
            eval_steps,
            // States of full training would be three times as large as the model.
            checkpoint_steps: match lora {
                Some(_) => args.save_steps.or(NonZeroUsize::new(eval_steps)),
                None => None,
            },
            gradient_checkpointing: args.gradient_checkpointing,
            // The memory of a large model's activations would be many times that of the adapters.
            recompute_layers: args.recompute_layers || (lora.is_some() && !embedded),
            seed: args.seed,
            ..TrainConfig::default()
        };
        let qat = TrainConfig {
            steps: args.qat_steps.unwrap_or(qat_steps),
            learning_rate: args.qat_lr.unwrap_or(qat_lr),
            // The order goes on with other data than SFT began with.
            seed: args.seed.wrapping_add(1),
            ..sft.clone()
        };
        sft.check()?;
        qat.check()?;
        Ok(Self {
            lora,
            policy: QuantPolicy::preset(&args.quantize)?,
            format,
            eval: EvalOptions {
                batch_size: if embedded { 32 } else { sft.micro_batch_size },
                parallel: sft.parallel_micro_batches,
                max_new_tokens: args.max_new_tokens.unwrap_or(defaults.max_new_tokens),
                element_types: sft.element_types,
            },
            prompts: if args.smoke {
                args.prompts.min(8)
            } else {
                args.prompts
            },
            sft,
            qat,
        })
    }
}

/// How conversations become tokens that a model with this context can be trained on.
pub fn format_of(args: &Args, config: &GptOssConfig) -> ChatFormat {
    let defaults = if args.model.is_none() { EMBEDDED } else { REAL };
    let system = match args.system.unwrap_or(defaults.system) {
        SystemBlock::Published => Some(SystemContent::default().with_date(args.date.as_str())),
        SystemBlock::None => None,
    };
    ChatFormat {
        system,
        loss_mask: args.loss_mask,
        max_length: args.max_length.min(config.max_position_embeddings),
    }
}
