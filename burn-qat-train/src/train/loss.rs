use burn::tensor::{DType, Tensor};
use burn_gpt_oss::{GptOss, next_token_loss, router_aux_loss};

use crate::data::MicroBatch;

/// Summed loss of a micro-batch, the head applied to the rows with targets alone; and, where the
/// configuration asks for it (`output_router_logits`), the weighted load-balancing loss.
///
/// # Shapes
/// - output: `[1]` each
pub fn micro_batch_loss(model: &GptOss, batch: &MicroBatch) -> (Tensor<1>, Option<Tensor<1>>) {
    let config = model.config();
    let mut router_logits = Vec::new();
    let hidden = model.hidden_states(batch.input_ids.clone(), None, |block| {
        if config.output_router_logits {
            router_logits.push(block.router.logits.clone());
        }
    });
    let [sequences, len, width] = hidden.dims();
    let rows = hidden
        .reshape([sequences * len, width])
        .select(0, batch.target_rows.clone());
    let every = Tensor::ones(batch.targets.dims(), (&rows.device(), DType::F32));
    let head = model.lm_head.weight.val();
    let nll = next_token_loss(rows, head, batch.targets.clone(), every);
    let auxiliary = config.output_router_logits.then(|| {
        let loss = router_aux_loss(&router_logits, config.num_experts_per_tok, None);
        loss * config.router_aux_loss_coef
    });
    (nll, auxiliary)
}
