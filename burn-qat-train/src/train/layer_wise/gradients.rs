//! The gradients of gpt-oss, from its head to its embedding, each part as soon as it is known.

use burn::module::Param;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::DType;
use burn::tensor::Tensor;
use burn_fp4::WeightQuantizer;
use burn_gpt_oss::ops::{embedding_gradient, next_token_loss_gradients, ordered_sum};
use burn_gpt_oss::{Block, GptOss, SequenceContext};

use super::GradientSink;
use crate::data::MicroBatch;
use crate::train::loss::{head_loss, target_rows};
use crate::train::recompute::{Kept, forward, router_gradients, tracked};
use crate::train::{GradientPass, documents};

/// What there is of a micro-batch between two layers.
struct Passing {
    kept: Kept,
    context: SequenceContext,
    /// The gradient of what the next layer gives.
    pull: Tensor<3>,
    /// Those of the logits of its router.
    router_pulls: Vec<Tensor<2>>,
}

/// Hands all gradients to a sink, from the last layer to the first, and returns the losses of the micro-batches as
/// [`Trainable::gradients`](crate::train::Trainable::gradients) does. The gradients are those of layers that are recomputed.
/// For a sink that measures there is a backward pass of its own, from the same forward pass.
pub(in crate::train) fn walk<S: GradientSink<GptOss>>(
    mut model: GptOss,
    batches: &[MicroBatch],
    pass: GradientPass<'_>,
    sink: &mut S,
) -> (GptOss, Vec<Tensor<1>>) {
    let kept: Vec<Kept> = batches.iter().map(|batch| forward(&model, batch)).collect();
    if sink.is_measuring() {
        let losses;
        (model, losses) = backward(model, batches, kept.clone(), pass, sink);
        if !sink.measured(&model) {
            return (model, losses);
        }
    }
    backward(model, batches, kept, pass, sink)
}

fn backward<S: GradientSink<GptOss>>(
    mut model: GptOss,
    batches: &[MicroBatch],
    kept: Vec<Kept>,
    pass: GradientPass<'_>,
    sink: &mut S,
) -> (GptOss, Vec<Tensor<1>>) {
    let mut losses = Vec::with_capacity(batches.len());
    let mut passing = Vec::with_capacity(batches.len());
    let mut total = Total::default();
    for (mut kept, batch) in kept.into_iter().zip(batches) {
        let last = tracked(kept.hidden.pop().expect("the embedding at least"));
        let context = documents::context(&model, batch, &last);
        let (loss, pull) = through_head(&model, batch, pass, last, &mut total);
        losses.push(loss);
        let logits = std::mem::take(&mut kept.router_logits);
        passing.push(Passing {
            kept,
            context,
            pull,
            router_pulls: router_gradients(&model, logits, pass.n_micro_batches),
        });
    }
    model = sink.hand(model, total.take());
    for layer in (0..model.layers.len()).rev() {
        model = through_layer(model, layer, &mut passing, sink);
    }
    let table = of_embedding(&model, batches, passing);
    (sink.hand(model, table), losses)
}

/// The loss of a micro-batch over all targets, and the gradient of what the last layer gave; adds those of norm and head.
fn through_head(
    model: &GptOss,
    batch: &MicroBatch,
    pass: GradientPass<'_>,
    last: Tensor<3>,
    total: &mut Total,
) -> (Tensor<1>, Tensor<3>) {
    let normed = model.norm.forward(last.clone());
    let head = &model.lm_head.weight;
    if pass.lesson.is_some() || head.reparameterization::<WeightQuantizer>().is_some() {
        let loss = head_loss(model, normed, batch, pass.lesson) / pass.n_targets as f64;
        let reported = loss.clone().detach();
        return (reported, total.add(model, loss, &last));
    }
    // Without autodiff, which would make a second matrix when it scales the gradient of the head.
    let rows = target_rows(normed, batch);
    let targets = batch.without_autodiff().targets;
    let every = Tensor::ones(targets.dims(), (&targets.device(), DType::F32));
    let (nll, by_rows, by_head) = next_token_loss_gradients(
        rows.clone().without_autodiff(),
        head.val().without_autodiff(),
        targets,
        every,
        head.is_require_grad(),
    );
    let scale = scale(pass.n_targets, &nll);
    let pull = total.add(model, pulled(rows, by_rows * scale), &last);
    if let Some(by_head) = by_head {
        let mut grads = GradientsParams::new();
        grads.register::<2>(head.id, by_head * scale);
        total.accumulate(model, grads);
    }
    ((nll / pass.n_targets as f64).autodiff(), pull)
}

/// What autodiff multiplies the gradients of a sum with where the sum is divided by a number of targets.
fn scale(n_targets: usize, like: &Tensor<1>) -> f32 {
    let sum = tracked(Tensor::<1>::ones([1], (&like.device(), DType::F32)));
    let grads = (sum.clone() / n_targets as f64).backward();
    let scale = sum.grad(&grads).expect("the mean depends on the sum");
    // A device that cannot be read is reported where the loss is.
    scale.try_into_scalar::<f32>().unwrap_or(f32::NAN)
}

/// Takes the gradients of a layer: those of the experts' second matrix, of the first one with the router, and of
/// attention; each before the next are computed.
fn through_layer<S: GradientSink<GptOss>>(
    mut model: GptOss,
    layer: usize,
    passing: &mut [Passing],
    sink: &mut S,
) -> GptOss {
    let block = &model.layers[layer];
    let parts = passing.iter_mut().map(|passing| {
        let input = passing.kept.hidden.pop().expect("one input per layer");
        Parts::new(block, tracked(input), passing)
    });
    let mut parts: Vec<Parts> = parts.collect();
    for step in [Parts::combined, Parts::routed, Parts::attended] {
        let mut total = Total::default();
        for part in &mut parts {
            step(part, &model, &mut total);
        }
        model = sink.hand(model, total.take());
    }
    for (passing, part) in passing.iter_mut().zip(parts) {
        passing.pull = part.pull;
    }
    model
}

/// A layer run again, in three graphs.
struct Parts {
    input: Tensor<3>,
    /// After attention, of `input`.
    attended: Option<Tensor<3>>,
    /// The same as the beginning of the next graph.
    middle: Tensor<3>,
    /// What `down_proj` is multiplied with, the scores of the experts, and the logits of the router, of `middle`.
    routed: Option<[Tensor<2>; 3]>,
    /// The first two as the beginning of the last graph.
    ends: [Tensor<2>; 2],
    /// Zeros that have the gradients of what the experts give, of `ends`.
    combined: Option<Tensor<2>>,
    router_pull: Option<Tensor<2>>,
    /// The gradient of what comes next.
    pull: Tensor<3>,
    end_pulls: Option<[Tensor<2>; 2]>,
}

impl Parts {
    fn new(block: &Block, input: Tensor<3>, passing: &mut Passing) -> Self {
        let attended = block.attended(input.clone(), &passing.context);
        let middle = again(&attended);
        let (tokens, router) = block.routed(middle.clone());
        let experts = &block.mlp.experts;
        let routing = experts.routing(&router);
        let active = experts.intermediate(tokens, &routing);
        let ends = [again(&active), again(&router.scores)];
        let [rows, scores] = ends.clone();
        Self {
            input,
            attended: Some(attended),
            middle,
            combined: Some(experts.combined_gradients(rows, scores, &routing)),
            routed: Some([active, router.scores, router.logits]),
            ends,
            router_pull: passing.router_pulls.pop(),
            pull: passing.pull.clone(),
            end_pulls: None,
        }
    }

    fn combined(&mut self, model: &GptOss, total: &mut Total) {
        let Some(combined) = self.combined.take() else {
            return;
        };
        let pull = self.pull.clone().reshape(combined.dims());
        let mut grads = pulled(combined, pull).backward();
        let [active, scores] = &self.ends;
        let pull = |of: &Tensor<2>, grads: &mut _| {
            of.grad_remove(grads).expect("the experts depend on both")
        };
        self.end_pulls = Some([pull(active, &mut grads), pull(scores, &mut grads)]);
        total.accumulate(model, GradientsParams::from_grads(grads, model));
    }

    fn routed(&mut self, model: &GptOss, total: &mut Total) {
        let (Some([active, scores, logits]), Some([of_active, of_scores])) =
            (self.routed.take(), self.end_pulls.take())
        else {
            return;
        };
        let mut product = pulled(active, of_active) + pulled(scores, of_scores);
        if let Some(router) = self.router_pull.take() {
            product = product + pulled(logits, router);
        }
        let by_experts = total.add(model, product, &self.middle);
        self.pull = self.pull.clone() + by_experts;
    }

    fn attended(&mut self, model: &GptOss, total: &mut Total) {
        if let Some(attended) = self.attended.take() {
            let product = pulled(attended, self.pull.clone());
            self.pull = total.add(model, product, &self.input);
        }
    }
}

/// The value as a leaf of a graph of its own.
fn again<const D: usize>(x: &Tensor<D>) -> Tensor<D> {
    x.clone().detach().require_grad()
}

/// The sum of products with a constant, which is its gradient.
fn pulled<const D: usize>(x: Tensor<D>, pull: Tensor<D>) -> Tensor<1> {
    ordered_sum(x * pull.autodiff())
}

/// Gradients of some parameters, summed over micro-batches.
#[derive(Default)]
struct Total(Option<GradientsAccumulator<GptOss>>);

impl Total {
    fn accumulate(&mut self, model: &GptOss, grads: GradientsParams) {
        let total = self.0.get_or_insert_with(GradientsAccumulator::new);
        total.accumulate(model, grads);
    }

    /// Adds those of a value and returns that of its input.
    fn add(&mut self, model: &GptOss, value: Tensor<1>, input: &Tensor<3>) -> Tensor<3> {
        let mut grads = value.backward();
        let grad = input
            .grad_remove(&mut grads)
            .expect("the value depends on its input");
        self.accumulate(model, GradientsParams::from_grads(grads, model));
        grad
    }

    fn take(self) -> GradientsParams {
        self.0
            .map_or_else(GradientsParams::new, |mut total| total.grads())
    }
}

/// The gradient of the embedding; none if it is frozen.
fn of_embedding(model: &GptOss, batches: &[MicroBatch], passing: Vec<Passing>) -> GradientsParams {
    let table: &Param<Tensor<2>> = &model.embed_tokens.weight;
    let mut grads = GradientsParams::new();
    if !table.is_require_grad() {
        return grads;
    }
    let [vocab_size, width] = table.lazy_shape().dims();
    let mut sum: Option<Tensor<2>> = None;
    for (batch, passing) in batches.iter().zip(passing) {
        let ids = batch.without_autodiff().input_ids;
        let n = ids.shape().num_elements();
        let rows = passing.pull.reshape([n, width]);
        let gradient = embedding_gradient(rows, ids.reshape([n]), vocab_size);
        sum = Some(match sum {
            Some(sum) => sum + gradient,
            None => gradient,
        });
    }
    if let Some(sum) = sum {
        grads.register::<2>(table.id, sum);
    }
    grads
}
