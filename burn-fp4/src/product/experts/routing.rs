use burn::backend::Dispatch;
use burn::tensor::{DType, Device, Int, Tensor};

use super::{ExpertBackend, ExpertRoutes};

/// The choices of all tokens, sorted by expert.
///
/// A choice is a pair of a token and one of its `top_k` experts; its number is
/// `token * top_k + position`.
#[derive(Clone, Debug)]
pub struct ExpertRouting {
    order: Tensor<1, Int>,
    offsets: Tensor<1, Int>,
    top_k: usize,
}

/// Sorts the choices of all tokens by expert, stably and by counting, on the device.
///
/// # Shapes
/// - indices: `[tokens, top_k]`, experts
///
/// # Panics
/// If `top_k` is zero, or an index is not below `n_experts` and the backend can tell.
pub fn expert_routing(indices: Tensor<2, Int>, n_experts: usize) -> ExpertRouting {
    let [_, top_k] = indices.dims();
    assert!(top_k > 0, "every token needs an expert");
    let routes = <Dispatch as ExpertBackend>::expert_routing(indices.into_dispatch(), n_experts);
    ExpertRouting {
        order: Tensor::from_dispatch(routes.order),
        offsets: Tensor::from_dispatch(routes.offsets),
        top_k,
    }
}

impl ExpertRouting {
    /// A token for every expert.
    pub(crate) fn one_row_each(n_experts: usize, device: &Device) -> Self {
        let experts = Tensor::<1, Int>::arange(0..n_experts as i64, device);
        expert_routing(experts.reshape([n_experts, 1]), n_experts)
    }

    /// The routing of rows that are sorted by expert already: every row is a token with one choice.
    pub(super) fn in_order(&self) -> Self {
        let order = Tensor::<1, Int>::arange(0..self.n_rows() as i64, &self.order.device());
        Self {
            order: order.cast(DType::I32),
            offsets: self.offsets.clone(),
            top_k: 1,
        }
    }

    /// Number of the choice in every row, `[tokens * top_k]`.
    pub fn order(&self) -> Tensor<1, Int> {
        self.order.clone()
    }

    /// Where the rows of every expert begin, and their total at the end, `[experts + 1]`.
    pub fn offsets(&self) -> Tensor<1, Int> {
        self.offsets.clone()
    }

    /// Experts of every token.
    pub fn top_k(&self) -> usize {
        self.top_k
    }

    pub(super) fn n_rows(&self) -> usize {
        self.order.dims()[0]
    }

    pub(super) fn n_experts(&self) -> usize {
        self.offsets.dims()[0] - 1
    }

    pub(in crate::product) fn primitive(&self) -> ExpertRoutes<Dispatch> {
        ExpertRoutes {
            order: self.order().into_dispatch(),
            offsets: self.offsets().into_dispatch(),
            top_k: self.top_k,
        }
    }
}
