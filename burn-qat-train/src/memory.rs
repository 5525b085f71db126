use burn_gpt_oss::GptOssConfig;

use crate::QatError;
use crate::train::TrainConfig;

/// Bytes a full-parameter float32 training run needs at its peak, by purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// Master weights, 4 bytes each.
    pub weights: u64,
    /// Gradients, 4 bytes per weight.
    pub gradients: u64,
    /// AdamW's two moments, 8 bytes per weight.
    pub optimizer: u64,
    /// The previous weights, alive until all are updated, 4 bytes each.
    pub update: u64,
    /// The weights after SFT, kept for the control run while QAT changes its own, 4 bytes each.
    pub control: u64,
    /// Fake-quantized copies of the expert matrices kept for the backward pass, 4 bytes each.
    pub fake_quantized: u64,
    /// Activations of the micro-batches computed side by side.
    pub activations: u64,
}

impl MemoryEstimate {
    /// The peak of SFT followed by QAT.
    pub fn full_parameter(config: &GptOssConfig, train: &TrainConfig, max_length: usize) -> Self {
        let weights = 4 * (config.num_expert_weights() + config.num_dense_weights());
        let tokens = (train.micro_batch_size * train.parallel_micro_batches * max_length) as u64;
        Self {
            weights,
            gradients: weights,
            optimizer: 2 * weights,
            update: weights,
            control: weights,
            fake_quantized: 4 * config.num_expert_weights(),
            activations: 4 * tokens * activations_per_token(config, max_length),
        }
    }

    /// The sum.
    pub fn total(&self) -> u64 {
        self.weights
            + self.gradients
            + self.optimizer
            + self.fake_quantized.max(self.update)
            + self.control
            + self.activations
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
             Reduce --max-length, --micro-batch-size or --parallel first if activations dominate. \
             Full-parameter float32 training of a larger model needs a machine with more memory: \
             gpt-oss-20b about 500 GB. A smaller gpt-oss checkpoint, or the embedded one \
             (leave out --model), runs here.",
            gigabytes(self.total()),
            gigabytes(available)
        )))
    }
}

impl std::fmt::Display for MemoryEstimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = |name, bytes| format!("  {name:<28}{:>12}\n", gigabytes(bytes));
        f.write_str(&line("weights (float32)", self.weights))?;
        f.write_str(&line("gradients", self.gradients))?;
        f.write_str(&line("AdamW moments", self.optimizer))?;
        f.write_str(&line(
            "fake-quantized or old copies",
            self.fake_quantized.max(self.update),
        ))?;
        f.write_str(&line("SFT weights for the control", self.control))?;
        f.write_str(line("activations", self.activations).trim_end_matches('\n'))
    }
}

/// Values kept per token for the backward pass: a count of the tensors the plain composition saves in
/// attention, experts and head, with scores of full width.
fn activations_per_token(config: &GptOssConfig, max_length: usize) -> u64 {
    let query = config.num_attention_heads * config.head_dim;
    let key = config.num_key_value_heads * config.head_dim;
    let attention = 6 * config.hidden_size
        + 6 * (query + 2 * key)
        + 5 * config.num_attention_heads * max_length;
    let experts =
        config.num_experts_per_tok * (12 * config.intermediate_size + 4 * config.hidden_size);
    let head = 3 * config.vocab_size;
    (config.num_hidden_layers * (attention + experts) + head) as u64
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
