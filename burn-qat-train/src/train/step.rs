use burn::module::Module;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer};
use burn::backend::ExecutionError;
use burn::tensor::Tensor;
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};
use burn_gpt_oss::GptOss;

use super::clip::clip_global_norm;
use super::loss::micro_batch_loss;
use crate::data::StepBatch;

/// A model under training: what Burn's `Learner` steps.
#[derive(Module, Debug)]
pub struct FineTune {
    /// The model.
    pub model: GptOss,
    max_grad_norm: Option<f64>,
}

/// What one step reports: no logits, so a large vocabulary costs nothing here.
#[derive(Clone, Debug)]
pub struct StepOutput {
    /// Mean loss over the targets of the whole batch, `[1]`.
    pub loss: Tensor<1>,
    /// Number of targets.
    pub n_targets: usize,
    /// Number of tokens, padding excluded.
    pub n_tokens: usize,
}

impl FineTune {
    /// Wraps a model; gradients are clipped to a common norm when one is given.
    pub fn new(model: GptOss, max_grad_norm: Option<f64>) -> Self {
        Self { model, max_grad_norm }
    }
}

impl TrainStep for FineTune {
    type Input = StepBatch;
    type Output = StepOutput;

    /// Accumulates gradients over the micro-batches. Each loss is a sum divided by the targets of
    /// the whole batch, so the result is the mean over all of them, however they are split.
    fn step(&self, batch: StepBatch) -> TrainOutput<StepOutput> {
        let (n_targets, n_tokens) = (batch.n_targets, batch.n_tokens());
        let n_micro_batches = batch.micro_batches.len() as f64;
        let mut accumulator = GradientsAccumulator::new();
        let mut total: Option<Tensor<1>> = None;
        for micro_batch in &batch.micro_batches {
            let (nll, auxiliary) = micro_batch_loss(&self.model, micro_batch);
            let mut loss = nll / n_targets as f64;
            let reported = loss.clone().detach();
            if let Some(auxiliary) = auxiliary {
                loss = loss + auxiliary / n_micro_batches;
            }
            let grads = GradientsParams::from_grads(loss.backward(), self);
            accumulator.accumulate(self, grads);
            total = Some(match total {
                Some(total) => total + reported,
                None => reported,
            });
        }
        let loss = total.unwrap_or_else(|| Tensor::zeros([1], &self.devices()[0]));
        let item = StepOutput { loss, n_targets, n_tokens };
        TrainOutput { grads: accumulator.grads(), item }
    }

    fn optimize(
        self,
        optimizer: &mut ModuleOptimizer,
        rate: ModuleLearningRate,
        grads: GradientsParams,
    ) -> Self {
        let grads = match self.max_grad_norm {
            Some(max_norm) => clip_global_norm(&self, grads, max_norm),
            None => grads,
        };
        optimizer.step(rate, self, grads)
    }
}

impl InferenceStep for FineTune {
    type Input = StepBatch;
    type Output = StepOutput;

    fn step(&self, batch: StepBatch) -> StepOutput {
        let losses = batch.micro_batches.iter().map(|b| micro_batch_loss(&self.model, b).0).collect();
        let loss = Tensor::cat(losses, 0).sum() / batch.n_targets as f64;
        StepOutput { loss, n_targets: batch.n_targets, n_tokens: batch.n_tokens() }
    }
}

impl ItemLazy for StepOutput {
    fn sync(self) -> Result<Self, ExecutionError> {
        self.loss.device().flush()?;
        Ok(Self { loss: self.loss.without_autodiff(), ..self })
    }
}
