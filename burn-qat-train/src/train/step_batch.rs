use burn::tensor::Device;
use burn_gpt_oss::GptOss;

use super::Trainable;
use crate::data::{MicroBatch, TokenizedExample};

/// Everything one optimizer step sees: its micro-batches and the number of targets in all of them,
/// by which the summed loss is divided.
#[derive(Clone, Debug)]
pub struct StepBatch<B = MicroBatch> {
    /// The micro-batches. `TrainConfig::parallel_micro_batches` of them are computed side by side.
    pub micro_batches: Vec<B>,
    /// Targets in all of them.
    pub n_targets: usize,
    /// Numbers of the examples in the data that they are taken from, in the order of the micro-batches.
    pub examples: Vec<usize>,
    n_tokens: usize,
    /// Examples of a full micro-batch.
    micro_batch_size: usize,
}

impl StepBatch {
    /// Splits examples of conversations into micro-batches.
    ///
    /// # Panics
    /// If the size is zero, or a micro-batch has no target.
    pub fn new(examples: &[&TokenizedExample], micro_batch_size: usize, device: &Device) -> Self {
        Self::of::<GptOss>(examples, micro_batch_size, device)
    }
}

impl<B> StepBatch<B> {
    /// Splits examples of a module's data into micro-batches.
    ///
    /// # Panics
    /// If the size is zero.
    pub fn of<M: Trainable<Batch = B>>(
        examples: &[&M::Example],
        micro_batch_size: usize,
        device: &Device,
    ) -> Self {
        let micro_batches = examples.chunks(micro_batch_size);
        Self {
            micro_batches: micro_batches.map(|chunk| M::batch(chunk, device)).collect(),
            n_targets: examples.iter().map(|example| M::n_targets(example)).sum(),
            examples: (0..examples.len()).collect(),
            n_tokens: examples.iter().map(|example| M::n_tokens(example)).sum(),
            micro_batch_size,
        }
    }

    /// The same with the numbers of its examples.
    pub(super) fn numbered(self, examples: Vec<usize>) -> Self {
        Self { examples, ..self }
    }

    /// Tokens of all micro-batches, padding excluded.
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// The examples of a micro-batch.
    pub(super) fn examples_of(&self, micro_batch: usize) -> &[usize] {
        let mut parts = self.examples.chunks(self.micro_batch_size);
        parts.nth(micro_batch).unwrap_or_default()
    }
}
