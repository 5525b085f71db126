use burn::backend::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

use super::SwigluBackend;

#[derive(Debug)]
struct ClampedSwiglu;

impl<B: SwigluBackend> Backward<B, 1> for ClampedSwiglu {
    /// `x`, limit and alpha.
    type State = (NodeId, f32, f32);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let [node] = ops.parents;
        let (x, limit, alpha) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        if let Some(node) = node {
            let x = saved.retrieve_node_output(x);
            grads.register::<B>(node.id, B::clamped_swiglu_backward(grad, x, limit, alpha));
        }
    }
}

impl<B: SwigluBackend, C: CheckpointStrategy> SwigluBackend for Autodiff<B, C> {
    fn clamped_swiglu(x: FloatTensor<Self>, limit: f32, alpha: f32) -> FloatTensor<Self> {
        let prepared = Backward::<B, 1>::prepare::<C>(ClampedSwiglu, [x.node()]);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(mut prepared) => {
                let state = (prepared.checkpoint(&x), limit, alpha);
                prepared.finish(state, B::clamped_swiglu(x.into_primitive(), limit, alpha))
            }
            OpsKind::UnTracked(prepared) => {
                prepared.finish(B::clamped_swiglu(x.into_primitive(), limit, alpha))
            }
        }
    }

    fn clamped_swiglu_backward(
        grad: FloatTensor<Self>,
        x: FloatTensor<Self>,
        limit: f32,
        alpha: f32,
    ) -> FloatTensor<Self> {
        let (grad, x) = (grad.into_primitive(), x.into_primitive());
        <FloatTensor<Self>>::new(B::clamped_swiglu_backward(grad, x, limit, alpha))
    }
}
