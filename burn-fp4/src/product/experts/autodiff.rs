//! Gradients, for every backend that has the forward operations.

mod combine;
mod delta;
mod linear;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend};

use super::{CombineGradients, ExpertBackend, ExpertRoutes};
use crate::ops::Fp4Primitive;
use crate::product::low_rank::LowRankPrimitive;
use crate::product::operand::OperandPrimitive;
use crate::scheme::Fp4Scheme;

impl<B: ExpertBackend, C: CheckpointStrategy> ExpertBackend for Autodiff<B, C> {
    fn expert_routing(indices: IntTensor<Self>, n_experts: usize) -> ExpertRoutes<Self> {
        let routes = B::expert_routing(indices, n_experts);
        ExpertRoutes {
            order: routes.order,
            offsets: routes.offsets,
            top_k: routes.top_k,
        }
    }

    fn expert_merge(
        base: OperandPrimitive<Self>,
        delta: LowRankPrimitive<Self>,
        global_scales: FloatTensor<Self>,
        routes: ExpertRoutes<Self>,
        scheme: Fp4Scheme,
    ) -> Fp4Primitive<Self> {
        let merged = B::expert_merge(
            base.into_inner(),
            delta.into_inner(),
            global_scales.into_primitive(),
            inner_routes::<B, C>(routes),
            scheme,
        );
        Fp4Primitive {
            codes: merged.codes,
            scales: merged.scales,
            global_scales: <FloatTensor<Self>>::new(merged.global_scales),
        }
    }

    fn expert_linear(
        x: FloatTensor<Self>,
        weight: OperandPrimitive<Self>,
        bias: FloatTensor<Self>,
        routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self> {
        linear::linear::<B, C>(x, weight, bias, inner_routes::<B, C>(routes))
    }

    fn expert_linear_backward(
        grad: FloatTensor<Self>,
        weight: OperandPrimitive<Self>,
        routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self> {
        let (weight, routes) = (weight.into_inner(), inner_routes::<B, C>(routes));
        let gradient = B::expert_linear_backward(grad.into_primitive(), weight, routes);
        <FloatTensor<Self>>::new(gradient)
    }

    fn expert_linear_weight_gradient(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self> {
        let (x, grad) = (x.into_primitive(), grad.into_primitive());
        let routes = inner_routes::<B, C>(routes);
        <FloatTensor<Self>>::new(B::expert_linear_weight_gradient(x, grad, routes))
    }

    fn expert_linear_bias_gradient(
        grad: FloatTensor<Self>,
        routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self> {
        let (grad, routes) = (grad.into_primitive(), inner_routes::<B, C>(routes));
        <FloatTensor<Self>>::new(B::expert_linear_bias_gradient(grad, routes))
    }

    fn expert_combine(
        rows: FloatTensor<Self>,
        weight: OperandPrimitive<Self>,
        bias: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self> {
        let routes = inner_routes::<B, C>(routes);
        combine::combine::<B, C>(rows, weight, bias, scores, routes, B::expert_combine)
    }

    fn expert_combine_gradients(
        rows: FloatTensor<Self>,
        weight: OperandPrimitive<Self>,
        bias: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self> {
        let routes = inner_routes::<B, C>(routes);
        combine::combine::<B, C>(
            rows,
            weight,
            bias,
            scores,
            routes,
            B::expert_combine_gradients,
        )
    }

    fn expert_combine_backward(
        grad: FloatTensor<Self>,
        rows: FloatTensor<Self>,
        weight: OperandPrimitive<Self>,
        bias: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        routes: ExpertRoutes<Self>,
    ) -> CombineGradients<Self> {
        let gradients = B::expert_combine_backward(
            grad.into_primitive(),
            rows.into_primitive(),
            weight.into_inner(),
            bias.into_primitive(),
            scores.into_primitive(),
            inner_routes::<B, C>(routes),
        );
        CombineGradients {
            rows: <FloatTensor<Self>>::new(gradients.rows),
            scores: <FloatTensor<Self>>::new(gradients.scores),
        }
    }

    fn expert_combine_weight_gradient(
        grad: FloatTensor<Self>,
        rows: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self> {
        let (grad, rows) = (grad.into_primitive(), rows.into_primitive());
        let (scores, routes) = (scores.into_primitive(), inner_routes::<B, C>(routes));
        <FloatTensor<Self>>::new(B::expert_combine_weight_gradient(
            grad, rows, scores, routes,
        ))
    }

    fn expert_combine_bias_gradient(
        grad: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self> {
        let (grad, scores) = (grad.into_primitive(), scores.into_primitive());
        let routes = inner_routes::<B, C>(routes);
        <FloatTensor<Self>>::new(B::expert_combine_bias_gradient(grad, scores, routes))
    }
}

fn inner_routes<B: Backend, C: CheckpointStrategy>(
    routes: ExpertRoutes<Autodiff<B, C>>,
) -> ExpertRoutes<B> {
    ExpertRoutes {
        order: routes.order,
        offsets: routes.offsets,
        top_k: routes.top_k,
    }
}
