use std::sync::{Arc, OnceLock};

use burn::backend::ExecutionError;
use burn::tensor::Tensor;
use burn::train::ItemLazy;

/// What one step reports: no logits, so a large vocabulary costs nothing here.
#[derive(Clone, Debug)]
pub struct StepOutput {
    /// Mean loss over the targets of the whole batch, `[1]`.
    pub loss: Tensor<1>,
    /// Number of targets.
    pub n_targets: usize,
    /// Number of tokens, padding excluded.
    pub n_tokens: usize,
    /// The L2 norm of all gradients together, before they are clipped: known after the update.
    pub grad_norm: Arc<OnceLock<f64>>,
}

impl ItemLazy for StepOutput {
    fn sync(self) -> Result<Self, ExecutionError> {
        self.loss.device().flush()?;
        Ok(Self {
            loss: self.loss.without_autodiff(),
            ..self
        })
    }
}
