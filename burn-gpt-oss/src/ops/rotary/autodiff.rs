use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

use super::RotaryBackend;

#[derive(Debug)]
struct Rotary;

impl<B: RotaryBackend> Backward<B, 1> for Rotary {
    /// Cosine and sine.
    type State = (FloatTensor<B>, FloatTensor<B>);

    /// The transposed rotation: by the negative angle.
    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [parent] = ops.parents;
        let (cos, sin) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        if let Some(parent) = parent {
            let grad = B::rotary_embedding(grad, cos, B::float_neg(sin));
            grads.register::<B>(parent.id, grad);
        }
    }
}

impl<B: RotaryBackend, C: CheckpointStrategy> RotaryBackend for Autodiff<B, C> {
    fn rotary_embedding(
        x: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (cos, sin) = (cos.into_primitive(), sin.into_primitive());
        let prepared = Backward::<B, 1>::prepare::<C>(Rotary, [x.node()]);
        let prepared = prepared.compute_bound().stateful();
        let output = B::rotary_embedding(x.into_primitive(), cos.clone(), sin.clone());
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish((cos, sin), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }
}
