//! The product with an expert for every row: as that with one packed weight.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};

use crate::ops::{Fp4Backend, Fp4Primitive};
use crate::scheme::Fp4Scheme;

#[derive(Debug)]
struct ExpertLinear;

impl<B: Fp4Backend> Backward<B, 1> for ExpertLinear {
    /// Shares the buffers of the indices and of the packed weight.
    type State = (IntTensor<B>, Fp4Primitive<B>, Fp4Scheme);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [rows] = ops.parents;
        let (experts, weight, scheme) = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        if let Some(rows) = rows {
            let grad = B::fp4_expert_linear_backward(grad, experts, weight, scheme);
            grads.register::<B>(rows.id, grad);
        }
    }
}

pub(super) fn expert_linear<B: Fp4Backend, C: CheckpointStrategy>(
    rows: FloatTensor<Autodiff<B, C>>,
    experts: IntTensor<B>,
    weight: Fp4Primitive<B>,
    scheme: Fp4Scheme,
) -> FloatTensor<Autodiff<B, C>> {
    let prepared = Backward::<B, 1>::prepare::<C>(ExpertLinear, [rows.node()]).compute_bound();
    let out = B::fp4_expert_linear(
        rows.into_primitive(),
        experts.clone(),
        weight.clone(),
        scheme,
    );
    match prepared.stateful() {
        OpsKind::Tracked(prepared) => prepared.finish((experts, weight, scheme), out),
        OpsKind::UnTracked(prepared) => prepared.finish(out),
    }
}
