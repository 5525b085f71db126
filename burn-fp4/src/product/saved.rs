//! What the backward passes keep of an operand.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

use super::operand::OperandPrimitive;
use crate::ops::Fp4Primitive;
use crate::ops::autodiff::inner;
use crate::scheme::Fp4Scheme;

/// Dense matrices as a checkpoint, packed ones shared.
#[derive(Clone, Debug)]
pub(super) enum Saved<B: Backend> {
    Dense(NodeId),
    Packed(Fp4Primitive<B>, Fp4Scheme),
}

impl<B: Backend> Saved<B> {
    pub(super) fn retrieve(self, checkpointer: &mut Checkpointer) -> OperandPrimitive<B> {
        match self {
            Self::Dense(node) => OperandPrimitive::Dense(checkpointer.retrieve_node_output(node)),
            Self::Packed(weight, scheme) => OperandPrimitive::Packed(weight, scheme),
        }
    }
}

impl<B: Backend, C: CheckpointStrategy> OperandPrimitive<Autodiff<B, C>> {
    /// The float whose node is that of the weight.
    pub(super) fn float(&self) -> &FloatTensor<Autodiff<B, C>> {
        match self {
            Self::Dense(weight) => weight,
            // One that nothing trains, so that the place of the weight has a node in either form.
            Self::Packed(weight, _) => &weight.global_scales,
        }
    }

    /// Whether the weight needs a gradient.
    pub(super) fn is_tracked(&self) -> bool {
        matches!(self, Self::Dense(weight) if weight.is_tracked())
    }

    pub(super) fn save(
        &self,
        checkpoint: impl FnOnce(&FloatTensor<Autodiff<B, C>>) -> NodeId,
    ) -> Saved<B> {
        match self {
            Self::Dense(weight) => Saved::Dense(checkpoint(weight)),
            Self::Packed(weight, scheme) => Saved::Packed(inner(weight.clone()), *scheme),
        }
    }

    pub(super) fn into_inner(self) -> OperandPrimitive<B> {
        match self {
            Self::Dense(weight) => OperandPrimitive::Dense(weight.into_primitive()),
            Self::Packed(weight, scheme) => OperandPrimitive::Packed(inner(weight), scheme),
        }
    }
}
