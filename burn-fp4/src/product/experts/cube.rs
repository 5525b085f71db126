//! CubeCL, Burn's backend for GPUs.
//!
//! Nothing is read on the host: cubes find from the offsets on the device which expert they work for, and
//! those that are too many end at once. Sums of the products of a token are in a second pass, so that their
//! order does not depend on timing; in between, products have the dtype of the rows.
// The language of kernels has neither iterators nor all methods of integers.
#![allow(clippy::needless_range_loop, clippy::manual_is_multiple_of)]
#![allow(unsafe_code)]

pub(crate) mod merge;
mod routing;
mod scores;
mod token_sum;

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::Shape;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::{CombineGradients, ExpertBackend, ExpertRoutes};
use crate::ops::Fp4Primitive;
use crate::ops::cube::buffer::format;
use crate::product::cube::column_sums::column_sums;
use crate::product::cube::gemm::product::RouteTensors;
use crate::product::cube::rows::{Rows, backward, forward, weight_gradient};
use crate::product::low_rank::LowRankPrimitive;
use crate::product::operand::OperandPrimitive;
use crate::scheme::Fp4Scheme;
use routing::tensors;
use token_sum::token_sum;

impl ExpertBackend for CubeBackend {
    fn expert_routing(indices: IntTensor<Self>, n_experts: usize) -> ExpertRoutes<Self> {
        routing::sort(indices, n_experts)
    }

    fn expert_merge(
        base: OperandPrimitive<Self>,
        delta: LowRankPrimitive<Self>,
        global_scales: FloatTensor<Self>,
        routes: ExpertRoutes<Self>,
        scheme: Fp4Scheme,
    ) -> Fp4Primitive<Self> {
        match format(&delta.a, &scheme) {
            Some(format) => merge::merge(
                base,
                delta,
                global_scales,
                &tensors(routes),
                &scheme,
                format,
            ),
            None => merge::on_host(base, delta, global_scales, routes, scheme),
        }
    }

    fn expert_linear(
        x: FloatTensor<Self>,
        weight: OperandPrimitive<Self>,
        bias: FloatTensor<Self>,
        routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self> {
        let routes = tensors(routes);
        forward(of_tokens(x, &routes), weight, Some(bias))
    }

    fn expert_linear_backward(
        grad: FloatTensor<Self>,
        weight: OperandPrimitive<Self>,
        routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self> {
        let routes = tensors(routes);
        let products = backward(of_choices(grad, &routes), weight);
        token_sum(products, None, &routes)
    }

    fn expert_linear_weight_gradient(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self> {
        weight_gradient(x, true, grad, false, None, &tensors(routes))
    }

    fn expert_linear_bias_gradient(
        grad: FloatTensor<Self>,
        routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self> {
        bias_gradient(grad, None, &tensors(routes))
    }

    fn expert_combine(
        rows: FloatTensor<Self>,
        weight: OperandPrimitive<Self>,
        bias: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self> {
        let routes = tensors(routes);
        let products = forward(of_choices(rows, &routes), weight, Some(bias));
        token_sum(products, Some(scores), &routes)
    }

    fn expert_combine_gradients(
        rows: FloatTensor<Self>,
        _weight: OperandPrimitive<Self>,
        bias: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        _routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self> {
        let shape = Shape::new([scores.shape()[0], bias.shape()[1]]);
        Self::float_zeros(shape, &rows.device(), rows.dtype().into())
    }

    fn expert_combine_backward(
        grad: FloatTensor<Self>,
        rows: FloatTensor<Self>,
        weight: OperandPrimitive<Self>,
        bias: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        routes: ExpertRoutes<Self>,
    ) -> CombineGradients<Self> {
        let routes = tensors(routes);
        let products = backward(of_tokens(grad.clone(), &routes), weight);
        debug_assert_eq!(products.shape(), rows.shape(), "rows and their gradient");
        scores::gradients(products, rows, grad, bias, scores, &routes)
    }

    fn expert_combine_weight_gradient(
        grad: FloatTensor<Self>,
        rows: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self> {
        weight_gradient(rows, false, grad, true, Some(scores), &tensors(routes))
    }

    fn expert_combine_bias_gradient(
        grad: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self> {
        bias_gradient(grad, Some(scores), &tensors(routes))
    }
}

fn of_tokens(rows: CubeTensor, routes: &RouteTensors) -> Rows<'_> {
    Rows {
        tensor: rows,
        routes: Some(routes),
        gathered: true,
    }
}

fn of_choices(rows: CubeTensor, routes: &RouteTensors) -> Rows<'_> {
    Rows {
        gathered: false,
        ..of_tokens(rows, routes)
    }
}

/// `[experts, width]`; with scores `grad` has a row per token, which they are the factors of.
fn bias_gradient(
    grad: CubeTensor,
    scores: Option<CubeTensor>,
    routes: &RouteTensors,
) -> CubeTensor {
    let shape = [routes.n_experts, grad.shape()[1]];
    column_sums(grad, Some(routes), scores, shape)
}
