use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, TensorMetadata};
use burn::tensor::{DType, Shape};

use super::NextTokenLossBackend;

/// The gradient by one input for a loss whose own gradient is 1, and the dtype of the rows.
type Unit<B> = Option<(FloatTensor<B>, DType)>;

#[derive(Debug)]
struct NextTokenLoss;

impl<B: Backend> Backward<B, 2> for NextTokenLoss {
    type State = [Unit<B>; 2];

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let scale = B::float_reshape(grads.consume::<B>(&ops.node), Shape::new([1, 1]));
        for (parent, unit) in ops.parents.into_iter().zip(ops.state) {
            if let (Some(parent), Some((gradient, dtype))) = (parent, unit) {
                let gradient = B::float_mul(gradient, scale.clone());
                grads.register::<B>(parent.id, B::float_cast(gradient, dtype.into()));
            }
        }
    }
}

impl<B: NextTokenLossBackend, C: CheckpointStrategy> NextTokenLossBackend for Autodiff<B, C> {
    fn next_token_loss(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        row_weights: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let wanted = [hidden.is_tracked(), weight.is_tracked()];
        // Also that of a narrower weight, whose gradient would lose what an optimizer needs.
        let dtype = hidden.dtype();
        let prepared =
            Backward::<B, 2>::prepare::<C>(NextTokenLoss, [hidden.node(), weight.node()]);
        let prepared = prepared.compute_bound().stateful();
        let (hidden, weight) = (hidden.into_primitive(), weight.into_primitive());
        let row_weights = row_weights.into_primitive();
        match prepared {
            OpsKind::Tracked(prepared) => {
                let (loss, by_hidden, by_weight) =
                    B::next_token_loss_with_gradients(hidden, weight, targets, row_weights, wanted);
                let units = [
                    wanted[0].then_some((by_hidden, dtype)),
                    wanted[1].then_some((by_weight, dtype)),
                ];
                prepared.finish(units, loss)
            }
            OpsKind::UnTracked(prepared) => {
                prepared.finish(B::next_token_loss(hidden, weight, targets, row_weights))
            }
        }
    }

    fn next_token_loss_with_gradients(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        row_weights: FloatTensor<Self>,
        wanted: [bool; 2],
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (loss, by_hidden, by_weight) = B::next_token_loss_with_gradients(
            hidden.into_primitive(),
            weight.into_primitive(),
            targets,
            row_weights.into_primitive(),
            wanted,
        );
        let constant = <FloatTensor<Self>>::new;
        (constant(loss), constant(by_hidden), constant(by_weight))
    }
}
