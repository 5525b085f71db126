mod plan;

pub use plan::{MemoryPlan, TrainingWay};

use burn_gpt_oss::{GptOssConfig, tensor_specs};

use crate::adapt::LoraConfig;
use crate::error::QatError;
use crate::evaluate::decoded_bytes;
use crate::train::{CompactFormat, LayerWise, TrainConfig, is_matrix};

/// Bytes a full-parameter training run needs at its peak, by purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// Master weights.
    pub weights: u64,
    /// Gradients, of the type of the master weights.
    pub gradients: u64,
    /// AdamW's two moments, of the same type.
    pub optimizer: u64,
    /// The previous weights, alive until all are updated.
    pub update: u64,
    /// The weights after SFT, kept for the control run while QAT changes its own.
    pub control: u64,
    /// Codes of the quantized weights before the first step, with which later ones are compared.
    pub first_codes: u64,
    /// What a teacher has in memory: experts that its file has in floats.
    pub teacher: u64,
    /// Fake-quantized copies of the expert matrices kept for the backward pass; of one layer where
    /// layers are recomputed.
    pub fake_quantized: u64,
    /// Activations of the micro-batches computed side by side, and a chunk of logits for each.
    pub activations: u64,
    /// What a state takes while it is written: the moments once more, since Burn's record of an optimizer is whole before it is
    /// written. Another moment than that of gradients and activations.
    pub saving: u64,
    /// The weights of a checkpoint of the run while it is loaded and evaluated, beside those in training; the head is there
    /// twice meanwhile.
    pub evaluation: u64,
    /// What loading takes in float32, where matrices are cast after it: another moment than that of the rest.
    pub load: u64,
}

impl MemoryEstimate {
    /// The peak of SFT followed by QAT.
    pub fn full_parameter(config: &GptOssConfig, train: &TrainConfig, max_length: usize) -> Self {
        if let Some(settings) = train.layer_wise {
            return Self::layer_wise(config, train, settings, max_length);
        }
        let types = train.element_types;
        let weights =
            types.master_bytes() * (config.num_expert_weights() + config.num_dense_weights());
        let trained = types.master_bytes() * train.n_trained(config);
        let tokens = (train.micro_batch_size * max_length) as u64;
        let [kept, working] = values_per_token(config, train.recompute_layers);
        let logits = (4 * tokens * config.vocab_size as u64).min(logits_chunk(config));
        // The head is done before the first layer goes back.
        let values = |per_token| types.compute_bytes() * tokens * per_token;
        let micro_batch = values(kept) + logits.max(values(working));
        let layers_at_a_time = match train.recompute_layers {
            true => 1,
            false => config.num_hidden_layers as u64,
        };
        let experts_of_a_layer = config.num_expert_weights() / config.num_hidden_layers as u64;
        Self {
            weights,
            gradients: trained,
            optimizer: 2 * trained,
            update: trained,
            control: weights,
            first_codes: match train.quantization_metrics {
                // In NVFP4, which has more scales than MXFP4.
                true => config.num_expert_weights() * 9 / 16,
                false => 0,
            },
            teacher: 0,
            fake_quantized: types.compute_bytes() * experts_of_a_layer * layers_at_a_time,
            activations: train.parallel_micro_batches as u64 * micro_batch,
            saving: match train.checkpoint_steps {
                Some(_) => 2 * trained,
                None => 0,
            },
            evaluation: decoded_bytes(config),
            load: 0,
        }
    }

    /// The same layer by layer: gradients of one matrix at a time, and the codes of one layer.
    fn layer_wise(
        config: &GptOssConfig,
        train: &TrainConfig,
        settings: LayerWise,
        max_length: usize,
    ) -> Self {
        let format = |path: &str, n_axes| match is_matrix(path, n_axes) {
            true => settings.format(),
            false => CompactFormat::F32,
        };
        let (mut weights, mut optimizer, mut largest) = (0, 0, 0);
        for spec in tensor_specs(config) {
            let (format, n) = (format(&spec.path, spec.shape.len()), spec.len() as u64);
            weights += format.weight_bytes(n);
            // Malformed globs are refused by `check`.
            if train.trains(&spec.path).unwrap_or(true) {
                let of_optimizer = format.optimizer_bytes(n);
                let is_away = settings.offload && is_matrix(&spec.path, spec.shape.len());
                optimizer += match is_away {
                    true => format.remainder_bytes(n),
                    false => of_optimizer,
                };
                // Moments that come from a file are there beside it.
                let with_it = if is_away { of_optimizer } else { 0 };
                largest = largest.max(4 * n + with_it);
            }
        }
        let n_micro_batches = train.batch_size.div_ceil(train.micro_batch_size) as u64;
        let tokens = (train.micro_batch_size * max_length) as u64;
        let [kept, working] = values_per_token(config, true);
        let logits = (4 * tokens * config.vocab_size as u64).min(logits_chunk(config));
        let values = |per_token| train.element_types.compute_bytes() * tokens * per_token;
        let experts_of_a_layer = config.num_expert_weights() / config.num_hidden_layers as u64;
        Self {
            weights,
            // While those of another micro-batch are added there are two.
            gradients: largest * n_micro_batches.min(2),
            optimizer,
            update: 0,
            control: weights,
            first_codes: match train.quantization_metrics {
                true => config.num_expert_weights() * 9 / 16,
                false => 0,
            },
            teacher: 0,
            fake_quantized: experts_of_a_layer * 9 / 16,
            activations: n_micro_batches * values(kept) + logits.max(values(working)),
            saving: 0,
            evaluation: decoded_bytes(config),
            load: 4 * (config.num_expert_weights() + config.num_dense_weights()),
        }
    }

    /// The peak of training adapters on a base that stays in its file: what is mapped is not counted, since the system
    /// can take it back. Experts that the file has in floats, not `packed`, are decoded into memory.
    ///
    /// # Errors
    /// Those of [`insert_adapters`](crate::insert_adapters).
    pub fn adapters(
        config: &GptOssConfig,
        lora: &LoraConfig,
        train: &TrainConfig,
        max_length: usize,
        packed: bool,
    ) -> Result<Self, QatError> {
        let full = Self::full_parameter(config, train, max_length);
        let factors = 4 * lora.trainable(config)?;
        let experts = config.num_expert_weights();
        let layers_at_a_time = match train.recompute_layers {
            true => 1,
            false => config.num_hidden_layers as u64,
        };
        // The sums of embedding and head are made as a whole, and so are their gradients.
        let table = 4 * (config.vocab_size * config.hidden_size) as u64;
        let base = if packed { 0 } else { 4 * experts };
        Ok(Self {
            weights: factors + base,
            gradients: factors,
            optimizer: 2 * factors,
            update: factors,
            control: 0,
            first_codes: 0,
            teacher: 0,
            // Codes with their scales: 4.25 bits.
            fake_quantized: experts / config.num_hidden_layers as u64 * layers_at_a_time * 17 / 32,
            activations: full.activations + 3 * table * lora.whole_tables(config)?,
            saving: match train.checkpoint_steps {
                Some(_) => 2 * factors,
                None => 0,
            },
            evaluation: decoded_bytes(config),
            load: 0,
        })
    }

    /// The most that exists at a time.
    pub fn total(&self) -> u64 {
        let kept = self.weights + self.optimizer + self.control + self.first_codes + self.teacher;
        let of_a_step = self.gradients + self.fake_quantized.max(self.update) + self.activations;
        // The weights of before the update are there while a state is written.
        let of_a_state = match self.saving {
            0 => 0,
            saving => self.update + saving,
        };
        let of_evaluation = self.weights + self.control + self.evaluation;
        (kept + of_a_step.max(of_a_state))
            .max(of_evaluation)
            .max(self.load)
    }

    /// Compares with the memory that is free now.
    ///
    /// # Errors
    /// [`QatError::Memory`] with the figures and what could be done.
    pub fn check(&self, available: u64) -> Result<(), QatError> {
        if self.total() <= available {
            return Ok(());
        }
        Err(QatError::Memory(format!(
            "this run needs about {} of memory, {} are available\n{self}\n\
             If activations dominate, reduce --max-length, --micro-batch-size or --parallel, or add \
             --recompute-layers. --layer-wise trains all parameters in 5 bytes each and the gradient of one matrix. \
             All parameters of gpt-oss-20b need about 590 GB in float32, 114 GB with --layer-wise, adapters on its \
             packed weights (--lora) about 4 GB beside the file. A smaller gpt-oss checkpoint, or the embedded one (leave out --model), runs here.",
            gigabytes(self.total()),
            gigabytes(available)
        )))
    }
}

impl std::fmt::Display for MemoryEstimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = |name, bytes| format!("  {name:<28}{:>12}\n", gigabytes(bytes));
        f.write_str(&line("weights", self.weights))?;
        f.write_str(&line("gradients", self.gradients))?;
        f.write_str(&line("AdamW moments", self.optimizer))?;
        f.write_str(&line(
            "fake-quantized or old copies",
            self.fake_quantized.max(self.update),
        ))?;
        if self.control > 0 {
            f.write_str(&line("SFT weights for the control", self.control))?;
        }
        if self.first_codes > 0 {
            f.write_str(&line("codes before the first step", self.first_codes))?;
        }
        if self.teacher > 0 {
            f.write_str(&line("the teacher's experts", self.teacher))?;
        }
        if self.saving > 0 {
            f.write_str(&line("or writing a state", self.update + self.saving))?;
        }
        if self.evaluation > 0 {
            f.write_str(&line("or evaluating, in float32", self.evaluation))?;
        }
        if self.load > 0 {
            f.write_str(&line("or loading, in float32", self.load))?;
        }
        f.write_str(line("activations", self.activations).trim_end_matches('\n'))
    }
}

/// Values per token that the operations of the layers keep for the backward pass, and those that the
/// backward pass of one layer needs besides.
fn values_per_token(config: &GptOssConfig, recompute_layers: bool) -> [u64; 2] {
    let (hidden, top_k) = (config.hidden_size, config.num_experts_per_tok);
    let heads = (config.num_attention_heads, config.num_key_value_heads);
    // Two residual streams and their norms; queries and outputs, keys and values, sums of rows.
    let attention = 4 * hidden + 2 * (heads.0 + heads.1) * config.head_dim + heads.0;
    // Both sides of SwiGLU, logits and choices.
    let experts = 3 * top_k * config.intermediate_size + config.num_local_experts + 4 * top_k + 2;
    let layer = attention + experts;
    let working = top_k * (2 * config.intermediate_size + hidden) + hidden;
    let kept = match recompute_layers {
        true => (config.num_hidden_layers + 1) * hidden + layer,
        false => config.num_hidden_layers * layer + 2 * hidden,
    };
    [kept as u64, working as u64]
}

/// Bytes of the logits that exist at a time: 16 MiB, or 128 rows if these are more.
fn logits_chunk(config: &GptOssConfig) -> u64 {
    (16 << 20).max(128 * 4 * config.vocab_size as u64)
}

/// Memory that can be allocated now, in bytes, respecting the limit of a container; `None` where the
/// system does not tell.
pub fn available_memory() -> Option<u64> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    let free = system.available_memory();
    match system.cgroup_limits() {
        Some(limits) if limits.total_memory > 0 => Some(free.min(limits.free_memory)),
        _ => (free > 0).then_some(free),
    }
}

/// `12.3 GB`, decimal.
pub(crate) fn gigabytes(bytes: u64) -> String {
    match bytes {
        0..10_000_000 => format!("{:.2} MB", bytes as f64 / 1e6),
        10_000_000..1_000_000_000 => format!("{:.0} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_20b_does_not_fit_into_24_gb_and_says_so() {
        let config = GptOssConfig::gpt_oss_20b();
        let estimate = MemoryEstimate::full_parameter(&config, &TrainConfig::default(), 4096);
        assert!(estimate.total() > 500_000_000_000);
        let error = estimate
            .check(24_000_000_000)
            .expect_err("too little")
            .to_string();
        assert!(
            error.contains("24.0 GB") && error.contains("weights"),
            "{error}"
        );
    }
}
