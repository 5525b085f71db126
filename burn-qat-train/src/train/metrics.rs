use std::sync::Arc;

use burn::tensor::{Tensor, TensorReadError};
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

/// Mean loss per target, weighted by the number of targets (Burn's own weighs by batch).
#[derive(Clone, Default)]
pub(super) struct TargetLoss {
    state: NumericMetricState,
}

/// Tokens per step, padding excluded.
#[derive(Clone, Default)]
pub(super) struct Tokens {
    state: NumericMetricState,
}

pub(super) struct LossInput(Tensor<1>, usize);
pub(super) struct TokensInput(usize);

impl Adaptor<LossInput> for StepOutput {
    fn adapt(&self) -> LossInput {
        LossInput(self.loss.clone(), self.n_targets)
    }
}

impl Adaptor<TokensInput> for StepOutput {
    fn adapt(&self) -> TokensInput {
        TokensInput(self.n_tokens)
    }
}

impl Metric for TargetLoss {
    type Input = LossInput;

    fn name(&self) -> MetricName {
        Arc::new(LOSS.into())
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes {
            unit: Some("nats".into()),
            higher_is_better: false,
        }
        .into()
    }

    fn update(
        &mut self,
        input: &LossInput,
        _: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        self.state
            .update(input.0.clone().try_into_scalar::<f64>()?, input.1);
        Ok(self
            .state
            .compute_update(FormatOptions::new(self.name()).precision(4)))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self
            .state
            .compute_final(FormatOptions::new(self.name()).precision(4)))
    }

    fn clear(&mut self) {
        self.state.reset();
    }
}

impl Metric for Tokens {
    type Input = TokensInput;

    fn name(&self) -> MetricName {
        Arc::new(TOKENS.into())
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes {
            unit: None,
            higher_is_better: true,
        }
        .into()
    }

    fn update(
        &mut self,
        input: &TokensInput,
        _: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        self.state.update(input.0 as f64, 1);
        Ok(self
            .state
            .compute_update(FormatOptions::new(self.name()).precision(0)))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self
            .state
            .compute_final(FormatOptions::new(self.name()).precision(0)))
    }

    fn clear(&mut self) {
        self.state.reset();
    }
}

impl Numeric for TargetLoss {
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

impl Numeric for Tokens {
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
