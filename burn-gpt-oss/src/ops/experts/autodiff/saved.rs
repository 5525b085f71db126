//! What the backward passes keep.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::{Autodiff, Backend};
use burn_fp4::Fp4Scheme;
use burn_fp4::backend::Fp4Primitive;

use super::super::{ExpertPrimitive, ExpertRoutes};

/// Matrices: dense ones as a checkpoint, packed ones shared.
#[derive(Clone, Debug)]
pub(super) enum Saved<B: Backend> {
    Dense(NodeId),
    Packed(Fp4Primitive<B>, Fp4Scheme),
}

impl<B: Backend> Saved<B> {
    pub(super) fn retrieve(self, checkpointer: &mut Checkpointer) -> ExpertPrimitive<B> {
        match self {
            Self::Dense(node) => ExpertPrimitive::Dense(checkpointer.retrieve_node_output(node)),
            Self::Packed(weight, scheme) => ExpertPrimitive::Packed(weight, scheme),
        }
    }
}

pub(super) fn inner_routes<B: Backend, C: CheckpointStrategy>(
    routes: ExpertRoutes<Autodiff<B, C>>,
) -> ExpertRoutes<B> {
    ExpertRoutes {
        order: routes.order,
        offsets: routes.offsets,
        top_k: routes.top_k,
    }
}

pub(super) fn inner_matrices<B: Backend, C: CheckpointStrategy>(
    weight: ExpertPrimitive<Autodiff<B, C>>,
) -> ExpertPrimitive<B> {
    match weight {
        ExpertPrimitive::Dense(weight) => ExpertPrimitive::Dense(weight.into_primitive()),
        ExpertPrimitive::Packed(weight, scheme) => {
            ExpertPrimitive::Packed(inner_packed::<B, C>(weight), scheme)
        }
    }
}

pub(super) fn inner_packed<B: Backend, C: CheckpointStrategy>(
    weight: Fp4Primitive<Autodiff<B, C>>,
) -> Fp4Primitive<B> {
    Fp4Primitive {
        codes: weight.codes,
        scales: weight.scales,
        global_scales: weight.global_scales.into_primitive(),
    }
}
