//! Gradients with every layer recomputed from its input.
//!
//! The forward pass records nothing and keeps one hidden state per layer (Chen et al., "Training deep
//! nets with sublinear memory cost", with a layer as the segment). Then the layers are run once more,
//! from the last to the first, each with a graph of its own that ends when its gradients are known.

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::Tensor;
use burn_gpt_oss::ops::ordered_sum;
use burn_gpt_oss::{Block, GptOss, SequenceContext};

use super::GradientPass;
use super::documents;
use super::loss::{auxiliary_loss, head_loss};
use crate::data::MicroBatch;

/// What the forward pass keeps.
#[derive(Clone)]
pub(super) struct Kept {
    /// The input of each layer, and the output of the last.
    pub hidden: Vec<Tensor<3>>,
    /// The router's logits in each layer, where a loss needs them.
    pub router_logits: Vec<Tensor<2>>,
}

/// The scaled loss without the load-balancing part, and all gradients: those of
/// [`micro_batch_loss`](super::micro_batch_loss) to rounding.
pub(super) fn recomputed_gradients(
    model: &GptOss,
    batch: &MicroBatch,
    pass: GradientPass<'_>,
) -> (Tensor<1>, GradientsParams) {
    let mut total = GradientsAccumulator::new();
    let mut kept = forward(model, batch);

    let last = tracked(kept.hidden.pop().expect("the embedding at least"));
    let context = documents::context(model, batch, &last);
    let loss = head_loss(model, model.norm.forward(last.clone()), batch, pass.lesson);
    let loss = loss / pass.n_targets as f64;
    let reported = loss.clone().detach();
    let mut grad = gradients_of(model, loss, &last, &mut total);

    let mut router_grads = router_gradients(model, kept.router_logits, pass.n_micro_batches);
    for block in model.layers.iter().rev() {
        let input = kept.hidden.pop().expect("one input per layer");
        let pull = Pull {
            hidden: grad,
            router: router_grads.pop(),
        };
        grad = block_gradients(model, block, input, &context, pull, &mut total);
    }
    // All zeros, but a leaf to follow if the embedding is frozen.
    let nothing = tracked(grad.zeros_like());
    let embedded = model.embedded(batch.input_ids.clone()) + nothing.clone();
    gradients_of(model, ordered_sum(embedded * grad), &nothing, &mut total);
    (reported, total.grads())
}

pub(super) fn forward(model: &GptOss, batch: &MicroBatch) -> Kept {
    let model = model.valid();
    let batch = batch.without_autodiff();
    let mut hidden = vec![model.embedded(batch.input_ids.clone())];
    let mut router_logits = Vec::new();
    let context = documents::context(&model, &batch, &hidden[0]);
    for (layer, block) in model.layers.iter().enumerate() {
        let output = block.forward(hidden[layer].clone(), &context);
        hidden.push(output.hidden);
        if model.config().output_router_logits {
            router_logits.push(output.router.logits);
        }
    }
    Kept {
        hidden,
        router_logits,
    }
}

pub(super) fn tracked<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.autodiff().require_grad()
}

/// Gradients of the load-balancing loss with respect to the logits of each layer.
pub(super) fn router_gradients(
    model: &GptOss,
    logits: Vec<Tensor<2>>,
    n_micro_batches: usize,
) -> Vec<Tensor<2>> {
    let logits: Vec<_> = logits.into_iter().map(tracked).collect();
    let Some(loss) = auxiliary_loss(model.config(), &logits) else {
        return Vec::new();
    };
    let grads = (loss / n_micro_batches as f64).backward();
    let grad = |logits: &Tensor<2>| logits.grad(&grads).expect("every layer has a share");
    logits.iter().map(grad).collect()
}

/// Gradients with respect to what a layer gives.
struct Pull {
    hidden: Tensor<3>,
    router: Option<Tensor<2>>,
}

/// Adds the gradients of a layer's parameters and returns that of its input.
fn block_gradients(
    model: &GptOss,
    block: &Block,
    input: Tensor<3>,
    context: &SequenceContext,
    pull: Pull,
    total: &mut GradientsAccumulator<GptOss>,
) -> Tensor<3> {
    let input = tracked(input);
    let output = block.forward(input.clone(), context);
    // The sum of products with a constant has that constant as gradient.
    let mut product = ordered_sum(output.hidden * pull.hidden);
    if let Some(router) = pull.router {
        product = product + ordered_sum(output.router.logits * router);
    }
    gradients_of(model, product, &input, total)
}

fn gradients_of(
    model: &GptOss,
    value: Tensor<1>,
    input: &Tensor<3>,
    total: &mut GradientsAccumulator<GptOss>,
) -> Tensor<3> {
    let mut grads = value.backward();
    let grad = input
        .grad_remove(&mut grads)
        .expect("the value depends on its input");
    total.accumulate(model, GradientsParams::from_grads(grads, model));
    grad
}
