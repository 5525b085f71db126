//! Shapes and dtypes of results before they are computed, for lazy execution.

use burn::backend::fusion::custom::TensorSpec;

use super::AdamWUpdatedMetadata;
use crate::train::adamw::AdamWFactors;

pub(super) fn updated(
    weight: &TensorSpec,
    _grad: &TensorSpec,
    moment_1: &TensorSpec,
    moment_2: &TensorSpec,
    _factors: &AdamWFactors,
) -> AdamWUpdatedMetadata {
    AdamWUpdatedMetadata {
        weight: weight.clone(),
        moment_1: moment_1.clone(),
        moment_2: moment_2.clone(),
    }
}
