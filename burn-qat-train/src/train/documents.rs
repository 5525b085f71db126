//! Rows that hold several conversations: each sees itself alone.

use burn::tensor::Tensor;
use burn_gpt_oss::{BlockOutput, GptOss, SequenceContext};

use crate::data::MicroBatch;

/// The residual stream after the final norm, `[batch, len, hidden_size]`.
pub(crate) fn hidden_states(
    model: &GptOss,
    batch: &MicroBatch,
    observe: impl FnMut(&BlockOutput),
) -> Tensor<3> {
    let ids = batch.input_ids.clone();
    match &batch.documents {
        Some(documents) => model.packed_hidden_states(ids, documents.clone(), observe),
        None => model.hidden_states(ids, None, observe),
    }
}

/// What the layers need to know of a batch, for hidden states like `hidden`.
pub(crate) fn context(model: &GptOss, batch: &MicroBatch, hidden: &Tensor<3>) -> SequenceContext {
    match &batch.documents {
        Some(documents) => model.packed_context(documents.clone(), hidden),
        None => model.context(batch.input_ids.dims()[1], None, hidden),
    }
}
