//! Flex, Burn's pure Rust CPU backend.
//!
//! Activations are read and summed as `f32`; of other dtypes they are widened as a whole, matrices
//! tile by tile. Work is split at fixed places, so that results do not depend on the threads.

mod gradients;
mod merge;
mod products;
mod routes;
mod written;

use burn::backend::Flex;
use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, Shape};

use super::{CombineGradients, ExpertBackend, ExpertRoutes};
use crate::ops::Fp4Primitive;
use crate::product::flex::matrices::Matrices;
use crate::product::flex::{elements, floats, narrowed, with_float};
use crate::product::low_rank::LowRankPrimitive;
use crate::product::operand::OperandPrimitive;
use crate::scheme::Fp4Scheme;
use routes::{Routes, Rows};

impl ExpertBackend for Flex {
    fn expert_routing(indices: IntTensor<Self>, n_experts: usize) -> ExpertRoutes<Self> {
        routes::sort(&indices, n_experts)
    }

    fn expert_merge(
        base: OperandPrimitive<Self>,
        delta: LowRankPrimitive<Self>,
        global_scales: FloatTensor<Self>,
        routes: ExpertRoutes<Self>,
        scheme: Fp4Scheme,
    ) -> Fp4Primitive<Self> {
        let global_scales = elements(&global_scales);
        merge::merge(&base, &delta, &global_scales, &routes, scheme)
    }

    fn expert_linear(
        x: FloatTensor<Self>,
        weight: OperandPrimitive<Self>,
        bias: FloatTensor<Self>,
        routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self> {
        let (values, bias, routes) = (floats(&x), floats(&bias), Routes::new(&routes));
        let weight = Matrices::new(&weight);
        let rows = Rows::gathered(&values, x.shape()[1]);
        let out = products::linear(rows, &weight, Some(&bias), &routes);
        narrowed(out, [routes.n_rows(), weight.width()], x.dtype())
    }

    fn expert_linear_backward(
        grad: FloatTensor<Self>,
        weight: OperandPrimitive<Self>,
        routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self> {
        let (values, routes) = (floats(&grad), Routes::new(&routes));
        let weight = Matrices::new(&weight).transposed();
        let out = products::combine(&values, &weight, None, None, &routes);
        narrowed(out, [routes.n_tokens(), weight.width()], grad.dtype())
    }

    fn expert_linear_weight_gradient(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self> {
        let (values, grads) = (floats(&x), floats(&grad));
        let x_rows = Rows::gathered(&values, x.shape()[1]);
        let grad_rows = Rows::sorted(&grads, grad.shape()[1]);
        weight_gradient(x.dtype(), x_rows, grad_rows, &Routes::new(&routes))
    }

    fn expert_linear_bias_gradient(
        grad: FloatTensor<Self>,
        routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self> {
        let (values, routes) = (floats(&grad), Routes::new(&routes));
        let width = grad.shape()[1];
        let sums = gradients::bias(Rows::sorted(&values, width), &routes);
        narrowed(sums, [routes.n_experts(), width], grad.dtype())
    }

    fn expert_combine(
        rows: FloatTensor<Self>,
        weight: OperandPrimitive<Self>,
        bias: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self> {
        let (values, bias) = (floats(&rows), floats(&bias));
        let (scores, routes) = (floats(&scores), Routes::new(&routes));
        let weight = Matrices::new(&weight);
        let out = products::combine(&values, &weight, Some(&bias), Some(&scores), &routes);
        narrowed(out, [routes.n_tokens(), weight.width()], rows.dtype())
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
        let (grads, bias) = (floats(&grad), floats(&bias));
        let (values, factors) = (floats(&rows), floats(&scores));
        let routes = Routes::new(&routes);
        let weight = Matrices::new(&weight).transposed();
        let grad_rows = Rows::gathered(&grads, grad.shape()[1]);
        let mut row_grads = products::linear(grad_rows, &weight, None, &routes);
        let score_grads =
            gradients::scores(&mut row_grads, &values, grad_rows, &bias, &factors, &routes);
        CombineGradients {
            rows: narrowed(row_grads, rows.shape(), rows.dtype()),
            scores: narrowed(score_grads, scores.shape(), scores.dtype()),
        }
    }

    fn expert_combine_weight_gradient(
        grad: FloatTensor<Self>,
        rows: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self> {
        let (values, grads, scores) = (floats(&rows), floats(&grad), floats(&scores));
        let input = Rows::sorted(&values, rows.shape()[1]);
        let grad_rows = Rows::gathered(&grads, grad.shape()[1]).scaled(&scores);
        weight_gradient(rows.dtype(), input, grad_rows, &Routes::new(&routes))
    }

    fn expert_combine_bias_gradient(
        grad: FloatTensor<Self>,
        scores: FloatTensor<Self>,
        routes: ExpertRoutes<Self>,
    ) -> FloatTensor<Self> {
        let (values, scores, routes) = (floats(&grad), floats(&scores), Routes::new(&routes));
        let width = grad.shape()[1];
        let sums = gradients::bias(Rows::gathered(&values, width).scaled(&scores), &routes);
        narrowed(sums, [routes.n_experts(), width], grad.dtype())
    }
}

fn weight_gradient(
    dtype: DType,
    input: Rows<'_>,
    grad: Rows<'_>,
    routes: &Routes<'_>,
) -> FloatTensor<Flex> {
    with_float!(dtype, T => gradients::weight::<T>(input, grad, routes))
}
