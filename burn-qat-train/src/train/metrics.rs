use std::sync::Arc;

use burn::tensor::TensorReadError;
use burn::train::metric::state::{FormatOptions, NumericMetricState};
use burn::train::metric::{
    Adaptor, Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes,
    NumericEntry, SerializedEntry,
};

use super::step::StepOutput;

/// Name of the loss, by which the best checkpoint is chosen.
pub(super) const LOSS: &str = "Loss";
/// Name of the token count.
pub(super) const TOKENS: &str = "Tokens";

/// Name of the norm of all gradients.
pub(super) const GRAD_NORM: &str = "Gradient norm";

/// A number of each step, averaged over an interval.
#[derive(Clone)]
pub(super) struct StepMetric {
    name: &'static str,
    unit: Option<&'static str>,
    precision: usize,
    /// The value and its weight in the mean.
    read: fn(&StepOutput) -> Result<(f64, usize), TensorReadError>,
    state: NumericMetricState,
}

impl StepMetric {
    /// Mean loss per target, weighted by the number of targets (Burn's own weighs by batch).
    pub fn loss() -> Self {
        Self {
            name: LOSS,
            unit: Some("nats"),
            precision: 4,
            read: |step| Ok((step.loss.clone().try_into_scalar()?, step.n_targets)),
            state: NumericMetricState::default(),
        }
    }

    /// Tokens per step, padding excluded.
    pub fn tokens() -> Self {
        Self {
            name: TOKENS,
            unit: None,
            precision: 0,
            read: |step| Ok((step.n_tokens as f64, 1)),
            state: NumericMetricState::default(),
        }
    }

    /// Norm of all gradients together, before they are clipped.
    pub fn grad_norm() -> Self {
        Self {
            name: GRAD_NORM,
            unit: None,
            precision: 4,
            read: |step| Ok((step.grad_norm.get().copied().unwrap_or(f64::NAN), 1)),
            state: NumericMetricState::default(),
        }
    }

    fn format(&self) -> FormatOptions {
        FormatOptions::new(self.name()).precision(self.precision)
    }
}

impl Adaptor<StepOutput> for StepOutput {
    fn adapt(&self) -> StepOutput {
        self.clone()
    }
}

impl Metric for StepMetric {
    type Input = StepOutput;

    fn name(&self) -> MetricName {
        Arc::new(self.name.into())
    }

    fn attributes(&self) -> MetricAttributes {
        let unit = self.unit.map(str::to_string);
        NumericAttributes {
            unit,
            higher_is_better: self.name != LOSS,
        }
        .into()
    }

    fn update(
        &mut self,
        step: &StepOutput,
        _: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        let (value, weight) = (self.read)(step)?;
        self.state.update(value, weight);
        Ok(self.state.compute_update(self.format()))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.state.compute_final(self.format()))
    }

    fn clear(&mut self) {
        self.state.reset();
    }
}

impl Numeric for StepMetric {
    fn value(&self) -> Option<NumericEntry> {
        Some(self.state.current_value())
    }

    fn running_value(&self) -> Option<NumericEntry> {
        Some(self.state.running_value())
    }

    fn final_value(&self) -> NumericEntry {
        self.state.final_value()
    }
}
