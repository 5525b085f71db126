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
struct Linear;

#[derive(Clone, Debug)]
struct State<B: Backend> {
    /// Absent where the matrices need no gradient.
    x: Option<NodeId>,
    /// Absent where `x` needs none.
    weight: Option<Saved<B>>,
    /// Present where a delta needs a gradient.
    delta: Option<SavedDelta>,
    routes: ExpertRoutes<B>,
}

impl<B: ExpertBackend> Backward<B, 4> for Linear {
    type State = State<B>;

    fn backward(self, ops: Ops<State<B>, 4>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let [x_node, weight_node, b_node, bias_node] = ops.parents;
        let State {
            x,
            weight,
            delta,
            routes,
        } = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        if let Some(node) = bias_node {
            let gradient = B::expert_linear_bias_gradient(grad.clone(), routes.clone());
            grads.register::<B>(node.id, gradient);
        }
        let x = x.map(|x| saved.retrieve_node_output::<FloatTensor<B>>(x));
        if let (Some(delta), Some(x)) = (delta, x.clone()) {
            let delta = delta.retrieve(saved);
            let gradients = delta::of_linear::<B>(x, grad.clone(), delta, routes.clone());
            for (node, gradient) in [weight_node, b_node].into_iter().zip(gradients) {
                if let Some(node) = node {
                    grads.register::<B>(node.id, gradient);
                }
            }
        } else if let (Some(node), Some(x)) = (weight_node, x) {
            let gradient = B::expert_linear_weight_gradient(x, grad.clone(), routes.clone());
            grads.register::<B>(node.id, gradient);
        }
        if let (Some(node), Some(weight)) = (x_node, weight) {
            let gradient = B::expert_linear_backward(grad, weight.retrieve(saved), routes);
            grads.register::<B>(node.id, gradient);
        }
    }
}

pub(super) fn linear<B: ExpertBackend, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    weight: OperandPrimitive<Autodiff<B, C>>,
    bias: FloatTensor<Autodiff<B, C>>,
    routes: ExpertRoutes<B>,
) -> FloatTensor<Autodiff<B, C>> {
    let [first, second] = weight.floats().map(<FloatTensor<Autodiff<B, C>>>::node);
    let nodes = [x.node(), first, second, bias.node()];
    let prepared = Backward::<B, 4>::prepare::<C>(Linear, nodes);
    match prepared.compute_bound().stateful() {
        OpsKind::Tracked(mut prepared) => {
            let weight_tracked = weight.is_tracked();
            let kept_x = weight_tracked.then(|| prepared.checkpoint(&x));
            let kept_weight = x
                .is_tracked()
                .then(|| weight.save(|dense| prepared.checkpoint(dense)));
            let state = State {
                x: kept_x,
                weight: kept_weight,
                delta: weight.save_delta(|factor| prepared.checkpoint(factor)),
                routes: routes.clone(),
            };
            prepared.finish(state, forward::<B, C>(x, weight, bias, routes))
        }
        OpsKind::UnTracked(prepared) => prepared.finish(forward::<B, C>(x, weight, bias, routes)),
    }
}

fn forward<B: ExpertBackend, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    weight: OperandPrimitive<Autodiff<B, C>>,
    bias: FloatTensor<Autodiff<B, C>>,
    routes: ExpertRoutes<B>,
) -> FloatTensor<B> {
    let weight = weight.into_inner();
    B::expert_linear(x.into_primitive(), weight, bias.into_primitive(), routes)
}
