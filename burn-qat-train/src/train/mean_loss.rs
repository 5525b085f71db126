use burn::data::dataloader::DataLoader;
use burn::tensor::Device;

use super::{StepLoader, Trainable};
use crate::error::QatError;

/// The loss of a module over all targets of some examples, `batch_size` of them at a time: what training evaluates.
///
/// # Errors
/// A loss that cannot be read from the device.
///
/// # Panics
/// If there are no examples, or the batch size is zero.
pub fn mean_loss<M: Trainable>(
    module: &M,
    examples: &[M::Example],
    batch_size: usize,
) -> Result<f64, QatError> {
    let device = module.devices().into_iter().next().unwrap_or_default();
    let device = Device::without_autodiff(device);
    let loader = StepLoader::valid(examples.to_vec(), batch_size, &device)?;
    let loss = mean_loss_until("evaluation", module, &loader, || false)?;
    Ok(loss.unwrap_or(f64::NAN))
}

/// The same for the batches of a loader; none if it is to stop before their end.
pub(super) fn mean_loss_until<M: Trainable>(
    stage: &str,
    module: &M,
    loader: &StepLoader<M>,
    should_stop: impl Fn() -> bool,
) -> Result<Option<f64>, QatError> {
    let failed = |error: &dyn std::fmt::Display| QatError::Training {
        stage: stage.into(),
        message: error.to_string(),
    };
    let module = module.valid();
    let (mut sum, mut n_targets) = (0.0, 0);
    for batch in loader.iter() {
        if should_stop() {
            return Ok(None);
        }
        let batch = batch.map_err(|error| failed(&error))?;
        for micro_batch in &batch.micro_batches {
            let loss = module.loss(micro_batch).try_into_scalar::<f64>();
            sum += loss.map_err(|error| failed(&error))?;
        }
        n_targets += batch.n_targets;
    }
    Ok(Some(sum / n_targets as f64))
}
