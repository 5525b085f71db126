use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

use super::super::{ExpertBackend, ExpertRoutes};
use super::delta;
use crate::product::operand::OperandPrimitive;
use crate::product::saved::{Saved, SavedDelta};

#[derive(Debug)]
struct Combine;

#[derive(Clone, Debug)]
struct State<B: Backend> {
    /// Absent where matrices, rows and scores need no gradient.
    rows: Option<NodeId>,
    /// Absent where rows and scores need none.
    weight: Option<Saved<B>>,
    /// Present where a delta needs a gradient.
    delta: Option<SavedDelta>,
    /// Absent where only dense matrices need one.
    bias: Option<NodeId>,
    scores: NodeId,
    routes: ExpertRoutes<B>,
}

impl<B: ExpertBackend> Backward<B, 5> for Combine {
    type State = State<B>;

    fn backward(self, ops: Ops<State<B>, 5>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let [rows_node, weight_node, b_node, bias_node, scores_node] = ops.parents;
        let State {
            rows,
            weight,
            delta,
            bias,
            scores,
            routes,
        } = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let rows = rows.map(|rows| saved.retrieve_node_output::<FloatTensor<B>>(rows));
        let scores = saved.retrieve_node_output::<FloatTensor<B>>(scores);
        if let Some(node) = bias_node {
            let gradient =
                B::expert_combine_bias_gradient(grad.clone(), scores.clone(), routes.clone());
            grads.register::<B>(node.id, gradient);
        }
        let Some(rows) = rows else { return };
        let bias = bias.map(|bias| saved.retrieve_node_output::<FloatTensor<B>>(bias));
        if let (Some(delta), Some(bias)) = (delta, bias.clone()) {
            let delta = delta.retrieve(saved);
            let (grad, rows, scores) = (grad.clone(), rows.clone(), scores.clone());
            let gradients = delta::of_combine::<B>(grad, rows, bias, scores, delta, routes.clone());
            for (node, gradient) in [weight_node, b_node].into_iter().zip(gradients) {
                if let Some(node) = node {
                    grads.register::<B>(node.id, gradient);
                }
            }
        } else if let Some(node) = weight_node {
            let (grad, rows, scores) = (grad.clone(), rows.clone(), scores.clone());
            let gradient = B::expert_combine_weight_gradient(grad, rows, scores, routes.clone());
            grads.register::<B>(node.id, gradient);
        }
        let (Some(weight), Some(bias)) = (weight, bias) else {
            return;
        };
        let weight = weight.retrieve(saved);
        let gradients = B::expert_combine_backward(grad, rows, weight, bias, scores, routes);
        if let Some(node) = rows_node {
            grads.register::<B>(node.id, gradients.rows);
        }
        if let Some(node) = scores_node {
            grads.register::<B>(node.id, gradients.scores);
        }
    }
}

/// What the node has for a value.
type Forward<B> = fn(
    FloatTensor<B>,
    OperandPrimitive<B>,
    FloatTensor<B>,
    FloatTensor<B>,
    ExpertRoutes<B>,
) -> FloatTensor<B>;

pub(super) fn combine<B: ExpertBackend, C: CheckpointStrategy>(
    rows: FloatTensor<Autodiff<B, C>>,
    weight: OperandPrimitive<Autodiff<B, C>>,
    bias: FloatTensor<Autodiff<B, C>>,
    scores: FloatTensor<Autodiff<B, C>>,
    routes: ExpertRoutes<B>,
    forward: Forward<B>,
) -> FloatTensor<Autodiff<B, C>> {
    let [first, second] = weight.floats().map(<FloatTensor<Autodiff<B, C>>>::node);
    let nodes = [rows.node(), first, second, bias.node(), scores.node()];
    match Backward::<B, 5>::prepare::<C>(Combine, nodes)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(mut prepared) => {
            let weight_tracked = weight.is_tracked();
            let needs_weight = rows.is_tracked() || scores.is_tracked();
            let delta = weight.save_delta(|factor| prepared.checkpoint(factor));
            let needs_bias = needs_weight || delta.is_some();
            let state = State {
                rows: (needs_weight || weight_tracked).then(|| prepared.checkpoint(&rows)),
                weight: needs_weight.then(|| weight.save(|dense| prepared.checkpoint(dense))),
                delta,
                bias: needs_bias.then(|| prepared.checkpoint(&bias)),
                scores: prepared.checkpoint(&scores),
                routes: routes.clone(),
            };
            let value = inner_forward::<B, C>(rows, weight, bias, scores, routes, forward);
            prepared.finish(state, value)
        }
        OpsKind::UnTracked(prepared) => {
            let value = inner_forward::<B, C>(rows, weight, bias, scores, routes, forward);
            prepared.finish(value)
        }
    }
}

fn inner_forward<B: ExpertBackend, C: CheckpointStrategy>(
    rows: FloatTensor<Autodiff<B, C>>,
    weight: OperandPrimitive<Autodiff<B, C>>,
    bias: FloatTensor<Autodiff<B, C>>,
    scores: FloatTensor<Autodiff<B, C>>,
    routes: ExpertRoutes<B>,
    forward: Forward<B>,
) -> FloatTensor<B> {
    let (rows, weight) = (rows.into_primitive(), weight.into_inner());
    let (bias, scores) = (bias.into_primitive(), scores.into_primitive());
    forward(rows, weight, bias, scores, routes)
}
