use std::ops::ControlFlow;

use burn::data::dataloader::DataLoader;
use burn::tensor::Device;
use burn_gpt_oss::GptOss;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::QatError;
use crate::data::{StepBatch, StepLoader, TokenizedExample};
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

/// Mean loss over all targets of all examples, in batches of `batch_size` of which `parallel` are
/// computed side by side. `observe` is called after each batch;
/// [`ControlFlow::Break`] ends the evaluation without a result.
///
/// # Errors
/// A loss that cannot be read from the device.
///
/// # Panics
/// If there are no examples, one has no target, or the batch size is zero.
pub fn evaluate_loss(
    model: &GptOss,
    examples: &[TokenizedExample],
    (batch_size, parallel): (usize, usize),
    device: &Device,
    mut observe: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Option<LossReport>, QatError> {
    let loader = StepLoader::valid(examples.to_vec(), batch_size, device);
    let batches: Vec<StepBatch> = loader.iter().flatten().collect();
    let (mut sum, mut n_targets, mut done) = (0.0, 0, 0);
    for group in batches.chunks(parallel.max(1)) {
        let forks: Vec<_> = group.iter().map(|batch| (batch, model.clone())).collect();
        let losses: Vec<f64> = forks
            .into_par_iter()
            .map(|(batch, model)| batch_loss(&model, batch))
            .collect::<Result<_, _>>()?;
        sum += losses.iter().sum::<f64>();
        n_targets += group.iter().map(|batch| batch.n_targets).sum::<usize>();
        done += group.len() * batch_size;
        if observe(done).is_break() {
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

fn batch_loss(model: &GptOss, batch: &StepBatch) -> Result<f64, QatError> {
    let mut sum = 0.0;
    for micro_batch in &batch.micro_batches {
        let (nll, _) = micro_batch_loss(model, micro_batch);
        sum += nll
            .try_into_scalar::<f64>()
            .map_err(|error| QatError::Training {
                stage: "evaluation".into(),
                message: error.to_string(),
            })?;
    }
    Ok(sum)
}
