use burn::tensor::{DType, Tensor};
use burn_gpt_oss::ops::next_token_loss;
use burn_gpt_oss::{GptOss, GptOssConfig, router_aux_loss};

use super::documents::hidden_states;
use crate::data::MicroBatch;
use crate::distill::{DistillConfig, Teacher};

/// A teacher and how it teaches.
pub(super) type Lesson<'a> = (&'a Teacher, &'a DistillConfig);

/// Summed loss of a micro-batch, the head applied to the rows with targets alone; and, where the
/// configuration asks for it (`output_router_logits`), the weighted load-balancing loss.
///
/// # Shapes
/// - output: `[1]` each
pub fn micro_batch_loss(model: &GptOss, batch: &MicroBatch) -> (Tensor<1>, Option<Tensor<1>>) {
    taught_loss(model, batch, None)
}

/// The same, with the loss of a student where there is a teacher.
pub(super) fn taught_loss(
    model: &GptOss,
    batch: &MicroBatch,
    lesson: Option<Lesson<'_>>,
) -> (Tensor<1>, Option<Tensor<1>>) {
    let config = model.config();
    let mut router_logits = Vec::new();
    let hidden = hidden_states(model, batch, |block| {
        if config.output_router_logits {
            router_logits.push(block.router.logits.clone());
        }
    });
    let nll = head_loss(model, hidden, batch, lesson);
    let auxiliary = auxiliary_loss(config, &router_logits);
    (nll, auxiliary)
}

/// Summed loss of the rows with targets.
///
/// # Shapes
/// - hidden: `[batch, len, hidden_size]`, after the final norm
/// - output: `[1]`
pub(super) fn head_loss(
    model: &GptOss,
    hidden: Tensor<3>,
    batch: &MicroBatch,
    lesson: Option<Lesson<'_>>,
) -> Tensor<1> {
    let rows = target_rows(hidden, batch);
    if let Some((teacher, config)) = lesson {
        return teacher.loss(config, model, rows, batch);
    }
    let every = Tensor::ones(batch.targets.dims(), (&rows.device(), DType::F32));
    let head = model.lm_head.weight.val();
    next_token_loss(rows, head, batch.targets.clone(), every)
}

/// The rows with targets, `[targets, hidden_size]`.
pub(super) fn target_rows(hidden: Tensor<3>, batch: &MicroBatch) -> Tensor<2> {
    let [sequences, len, width] = hidden.dims();
    let rows = hidden.reshape([sequences * len, width]);
    rows.select(0, batch.target_rows.clone())
}

/// The weighted load-balancing loss, where the configuration asks for it.
pub(super) fn auxiliary_loss(
    config: &GptOssConfig,
    router_logits: &[Tensor<2>],
) -> Option<Tensor<1>> {
    config.output_router_logits.then(|| {
        let loss = router_aux_loss(router_logits, config.num_experts_per_tok, None);
        loss * config.router_aux_loss_coef
    })
}
