//! What the backward passes keep of an operand.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

use super::low_rank::LowRankPrimitive;
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

/// Both factors as checkpoints.
#[derive(Clone, Debug)]
pub(super) struct SavedDelta {
    a: NodeId,
    b: NodeId,
    scaling: f32,
}

impl SavedDelta {
    pub(super) fn retrieve<B: Backend>(
        self,
        checkpointer: &mut Checkpointer,
    ) -> LowRankPrimitive<B> {
        LowRankPrimitive {
            a: checkpointer.retrieve_node_output(self.a),
            b: checkpointer.retrieve_node_output(self.b),
            scaling: self.scaling,
        }
    }
}

impl<B: Backend, C: CheckpointStrategy> OperandPrimitive<Autodiff<B, C>> {
    /// What gradients of the weight go to: the matrices, those behind codes, or both factors of a delta.
    pub(super) fn floats(&self) -> [&FloatTensor<Autodiff<B, C>>; 2] {
        match self {
            Self::Dense(weight) => [weight, weight],
            // One that nothing trains, so that the place of the weight has nodes in every form.
            Self::Packed(weight, _) => [&weight.global_scales, &weight.global_scales],
            Self::Merged(_, _, delta) => [&delta.a, &delta.b],
            Self::Rounded(_, _, master) => [master, master],
        }
    }

    /// Whether the weight needs a gradient.
    pub(super) fn is_tracked(&self) -> bool {
        match self {
            Self::Dense(weight) => weight.is_tracked(),
            Self::Packed(..) => false,
            Self::Merged(_, _, delta) => delta.a.is_tracked() || delta.b.is_tracked(),
            Self::Rounded(_, _, master) => master.is_tracked(),
        }
    }

    pub(super) fn save(
        &self,
        checkpoint: impl FnOnce(&FloatTensor<Autodiff<B, C>>) -> NodeId,
    ) -> Saved<B> {
        match self {
            Self::Dense(weight) => Saved::Dense(checkpoint(weight)),
            Self::Packed(weight, scheme)
            | Self::Merged(weight, scheme, _)
            | Self::Rounded(weight, scheme, _) => Saved::Packed(inner(weight.clone()), *scheme),
        }
    }

    /// The factors of a delta, if they need a gradient.
    pub(super) fn save_delta(
        &self,
        mut checkpoint: impl FnMut(&FloatTensor<Autodiff<B, C>>) -> NodeId,
    ) -> Option<SavedDelta> {
        match self {
            Self::Merged(_, _, delta) if self.is_tracked() => Some(SavedDelta {
                a: checkpoint(&delta.a),
                b: checkpoint(&delta.b),
                scaling: delta.scaling,
            }),
            _ => None,
        }
    }

    /// What the inner backend multiplies with, which has no use for a delta or for masters.
    pub(super) fn into_inner(self) -> OperandPrimitive<B> {
        match self {
            Self::Dense(weight) => OperandPrimitive::Dense(weight.into_primitive()),
            Self::Packed(weight, scheme)
            | Self::Merged(weight, scheme, _)
            | Self::Rounded(weight, scheme, _) => OperandPrimitive::Packed(inner(weight), scheme),
        }
    }
}

impl<B: Backend, C: CheckpointStrategy> LowRankPrimitive<Autodiff<B, C>> {
    pub(super) fn into_inner(self) -> LowRankPrimitive<B> {
        LowRankPrimitive {
            a: self.a.into_primitive(),
            b: self.b.into_primitive(),
            scaling: self.scaling,
        }
    }
}
