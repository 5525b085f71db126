//! The product with a packed weight: the weight is frozen, so only the rows have a gradient, and the
//! rows themselves need not be kept for it.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

use crate::ops::{Fp4Backend, Fp4Primitive};
use crate::scheme::Fp4Scheme;

#[derive(Debug)]
struct Linear;

impl<B: Fp4Backend> Backward<B, 1> for Linear {
    /// Shares the buffers of the packed weight.
    type State = (Fp4Primitive<B>, Fp4Scheme);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [rows] = ops.parents;
        let (weight, scheme) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        if let Some(rows) = rows {
            grads.register::<B>(rows.id, B::fp4_linear_backward(grad, weight, scheme));
        }
    }
}

pub(super) fn linear<B: Fp4Backend, C: CheckpointStrategy>(
    rows: FloatTensor<Autodiff<B, C>>,
    weight: Fp4Primitive<B>,
    scheme: Fp4Scheme,
) -> FloatTensor<Autodiff<B, C>> {
    let prepared = Backward::<B, 1>::prepare::<C>(Linear, [rows.node()]).compute_bound();
    let out = B::fp4_linear(rows.into_primitive(), weight.clone(), scheme);
    match prepared.stateful() {
        OpsKind::Tracked(prepared) => prepared.finish((weight, scheme), out),
        OpsKind::UnTracked(prepared) => prepared.finish(out),
    }
}
