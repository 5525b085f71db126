//! Gradients of a low-rank delta: skinny products, with the operations that dense matrices have.
//!
//! With `W' = W + s a b` the gradient by `W'` would be `x^T g`. Straight through rounding, that of `a` is
//! `s x^T (g b^T)` and that of `b` is `s (x a)^T g`.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{DType, FloatDType, IntDType, Shape};

use super::super::{ExpertBackend, ExpertRoutes};
use crate::product::low_rank::LowRankPrimitive;
use crate::product::operand::OperandPrimitive;

/// Those of `a` and `b` for rows of tokens: `x: [tokens, in]`, `grad: [rows, out]`.
pub(super) fn of_linear<B: ExpertBackend>(
    x: FloatTensor<B>,
    grad: FloatTensor<B>,
    delta: LowRankPrimitive<B>,
    routes: ExpertRoutes<B>,
) -> [FloatTensor<B>; 2] {
    let (scaling, sorted) = (delta.scaling, in_order::<B>(&routes));
    let [a, b] = in_dtype::<B>(delta, x.dtype());
    let back = B::expert_linear_backward(grad.clone(), b, sorted.clone());
    let back = scaled::<B>(back, scaling);
    let inner = scaled::<B>(project::<B>(x.clone(), a, routes.clone()), scaling);
    [
        B::expert_linear_weight_gradient(x, back, routes),
        B::expert_linear_weight_gradient(inner, grad, sorted),
    ]
    .map(in_f32::<B>)
}

/// Those of `a` and `b` for rows of choices: `rows: [rows, in]`, `grad: [tokens, out]`.
pub(super) fn of_combine<B: ExpertBackend>(
    grad: FloatTensor<B>,
    rows: FloatTensor<B>,
    bias: FloatTensor<B>,
    scores: FloatTensor<B>,
    delta: LowRankPrimitive<B>,
    routes: ExpertRoutes<B>,
) -> [FloatTensor<B>; 2] {
    let (scaling, sorted) = (delta.scaling, in_order::<B>(&routes));
    let [a, b] = in_dtype::<B>(delta, rows.dtype());
    let inner = project::<B>(rows.clone(), a, sorted.clone());
    let back = B::expert_combine_backward(
        grad.clone(),
        inner.clone(),
        b,
        bias,
        scores.clone(),
        routes.clone(),
    );
    let back = scaled::<B>(back.rows, scaling);
    let inner = scaled::<B>(inner, scaling);
    [
        B::expert_linear_weight_gradient(rows, back, sorted),
        B::expert_combine_weight_gradient(grad, inner, scores, routes),
    ]
    .map(in_f32::<B>)
}

/// `x a`, a row per choice.
fn project<B: ExpertBackend>(
    x: FloatTensor<B>,
    a: OperandPrimitive<B>,
    routes: ExpertRoutes<B>,
) -> FloatTensor<B> {
    let OperandPrimitive::Dense(factor) = &a else {
        unreachable!("a factor is dense")
    };
    let [n_experts, _, rank] = factor.shape().dims();
    let (device, dtype) = (x.device(), float_dtype(x.dtype()));
    let bias = B::float_zeros(Shape::new([n_experts, rank]), &device, dtype);
    B::expert_linear(x, a, bias, routes)
}

/// The routing of rows that are sorted by expert already: every row is a token with one choice.
fn in_order<B: Backend>(routes: &ExpertRoutes<B>) -> ExpertRoutes<B> {
    let n_rows = routes.order.shape().num_elements() as i64;
    let device = routes.order.device();
    ExpertRoutes {
        order: B::int_arange(0..n_rows, &device, IntDType::I32),
        offsets: routes.offsets.clone(),
        top_k: 1,
    }
}

fn in_dtype<B: Backend>(delta: LowRankPrimitive<B>, dtype: DType) -> [OperandPrimitive<B>; 2] {
    [delta.a, delta.b].map(|factor| {
        OperandPrimitive::Dense(match dtype {
            DType::F32 => factor,
            other => B::float_cast(factor, float_dtype(other)),
        })
    })
}

fn in_f32<B: Backend>(gradient: FloatTensor<B>) -> FloatTensor<B> {
    match gradient.dtype() {
        DType::F32 => gradient,
        _ => B::float_cast(gradient, FloatDType::F32),
    }
}

fn scaled<B: Backend>(tensor: FloatTensor<B>, scaling: f32) -> FloatTensor<B> {
    B::float_mul_scalar(tensor, scaling.into())
}

fn float_dtype(dtype: DType) -> FloatDType {
    dtype.into()
}
