//! Shapes and dtypes of results before they are computed, for lazy execution.

use burn::backend::fusion::custom::TensorSpec;
use burn::tensor::{DType, Shape};

use super::extension::{
    AttentionInputsMetadata, AttentionOptions, AttentionOutputMetadata, KeySegmentsMetadata,
};

pub(super) fn forward(
    inputs: &AttentionInputsMetadata,
    _segments: &KeySegmentsMetadata,
    _options: &AttentionOptions,
) -> AttentionOutputMetadata {
    let query = &inputs.query;
    let rows = [query.shape[0], query.shape[1], query.shape[2]];
    AttentionOutputMetadata {
        output: query.clone(),
        log_sum_exp: TensorSpec::new(Shape::new(rows), DType::F32),
    }
}

pub(super) fn backward(
    _grad: &TensorSpec,
    inputs: &AttentionInputsMetadata,
    _output: &AttentionOutputMetadata,
    _segments: &KeySegmentsMetadata,
    _options: &AttentionOptions,
) -> AttentionInputsMetadata {
    AttentionInputsMetadata {
        query: inputs.query.clone(),
        key: inputs.key.clone(),
        value: inputs.value.clone(),
        sinks: inputs.sinks.clone(),
    }
}
