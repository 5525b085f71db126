use std::ops::ControlFlow;

use burn::data::dataloader::DataLoader;
use burn::tensor::Device;
use burn_gpt_oss::GptOss;
use serde::{Deserialize, Serialize};

use crate::QatError;
use crate::data::{StepLoader, TokenizedExample};
use crate::train::micro_batch_loss;

/// Loss over a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossReport {
    /// Mean negative log likelihood over all targets, in nats.
    pub loss: f64,
    /// `exp(loss)`.
    pub perplexity: f64,
    /// Number of targets.
    pub n_targets: usize,
}

/// Mean loss over all targets of all examples. `observe` is called after each batch;
/// [`ControlFlow::Break`] ends the evaluation without a result.
///
/// # Errors
/// A loss that cannot be read from the device.
pub fn evaluate_loss(
    model: &GptOss,
    examples: &[TokenizedExample],
    batch_size: usize,
    device: &Device,
    mut observe: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Option<LossReport>, QatError> {
    let loader = StepLoader::valid(examples.to_vec(), batch_size, device);
    let (mut sum, mut n_targets) = (0.0, 0);
    for (done, batch) in loader.iter().enumerate() {
        let Ok(batch) = batch else { continue };
        for micro_batch in &batch.micro_batches {
            let (nll, _) = micro_batch_loss(model, micro_batch);
            sum += nll
                .try_into_scalar::<f64>()
                .map_err(|error| QatError::Training {
                    stage: "evaluation".into(),
                    message: error.to_string(),
                })?;
        }
        n_targets += batch.n_targets;
        if observe((done + 1) * batch_size).is_break() {
            return Ok(None);
        }
    }
    let loss = sum / n_targets as f64;
    Ok(Some(LossReport {
        loss,
        perplexity: loss.exp(),
        n_targets,
    }))
}
