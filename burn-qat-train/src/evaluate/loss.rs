use std::ops::ControlFlow;

use burn::data::dataloader::DataLoader;
use burn::tensor::Device;
use burn_gpt_oss::GptOss;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::TokenizedExample;
use crate::error::QatError;
use crate::train::{StepBatch, StepLoader, micro_batch_loss};

/// Loss over a dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossReport {
    /// Mean negative log likelihood over all targets, in nats.
    pub loss: f64,
    /// `exp(loss)`.
    pub perplexity: f64,
    /// Number of targets.
    pub n_targets: usize,
    /// Summed loss and number of targets of each batch. Reports on the same examples with the same
    /// batch size have the same batches.
    #[serde(skip)]
    pub batches: Vec<(f64, usize)>,
}

impl LossReport {
    /// Standard error of the difference to a report on the same batches, in nats; `None` for other
    /// batches or fewer than two.
    pub fn standard_error_of_difference(&self, other: &Self) -> Option<f64> {
        let n = self.batches.len();
        let pairs = self.batches.iter().zip(&other.batches);
        if n < 2 || other.batches.len() != n || pairs.clone().any(|(a, b)| a.1 != b.1) {
            return None;
        }
        let targets: usize = self.batches.iter().map(|(_, targets)| targets).sum();
        let mean = self.loss - other.loss;
        // Ratio estimator: batches have different numbers of targets.
        let squares: f64 = pairs
            .map(|(a, b)| (a.0 - b.0 - mean * a.1 as f64).powi(2))
            .sum();
        Some((squares * n as f64 / (n - 1) as f64).sqrt() / targets as f64)
    }
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
    let loader: StepLoader = StepLoader::valid(examples.to_vec(), batch_size, device)?;
    let batches: Vec<StepBatch> = loader.iter().flatten().collect();
    let (mut batch_losses, mut done) = (Vec::with_capacity(batches.len()), 0);
    for group in batches.chunks(parallel.max(1)) {
        let forks: Vec<_> = group.iter().map(|batch| (batch, model.clone())).collect();
        let losses: Vec<f64> = forks
            .into_par_iter()
            .map(|(batch, model)| batch_loss(&model, batch))
            .collect::<Result<_, _>>()?;
        let targets = group.iter().map(|batch| batch.n_targets);
        batch_losses.extend(losses.into_iter().zip(targets));
        done += group.len() * batch_size;
        if observe(done).is_break() {
            return Ok(None);
        }
    }
    let sum: f64 = batch_losses.iter().map(|(loss, _)| loss).sum();
    let n_targets = batch_losses.iter().map(|(_, targets)| targets).sum();
    let loss = sum / n_targets as f64;
    Ok(Some(LossReport {
        loss,
        perplexity: loss.exp(),
        n_targets,
        batches: batch_losses,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn report(batches: &[(f64, usize)]) -> LossReport {
        let (sum, n_targets) = batches
            .iter()
            .fold((0.0, 0), |sum, batch| (sum.0 + batch.0, sum.1 + batch.1));
        let loss = sum / n_targets as f64;
        LossReport {
            loss,
            perplexity: loss.exp(),
            n_targets,
            batches: batches.to_vec(),
        }
    }

    #[test]
    fn errors_of_differences_are_those_of_pairs() {
        let a = report(&[(10.0, 10), (30.0, 10), (20.0, 10)]);
        // The same difference everywhere: no error, however far the batches are apart.
        let b = report(&[(9.0, 10), (29.0, 10), (19.0, 10)]);
        let error = a
            .standard_error_of_difference(&b)
            .expect("the same batches");
        assert!(error < 1e-15, "{error}");
        // Differences of 0, 1 and 2 per ten targets: their standard error is sqrt(1 / 3) / 10.
        let c = report(&[(10.0, 10), (29.0, 10), (18.0, 10)]);
        let error = a
            .standard_error_of_difference(&c)
            .expect("the same batches");
        assert!(
            (error - (1.0f64 / 3.0).sqrt() / 10.0).abs() < 1e-12,
            "{error}"
        );
        let other = report(&[(10.0, 10), (30.0, 9), (20.0, 10)]);
        assert_eq!(a.standard_error_of_difference(&other), None);
    }
}
