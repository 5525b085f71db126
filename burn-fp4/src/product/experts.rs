//! Products of tokens with the matrices of the experts they are routed to.

mod autodiff;
#[cfg(feature = "_cube")]
pub(crate) mod cube;
mod extension;
#[cfg(feature = "flex")]
mod flex;
#[cfg(all(feature = "_cube", feature = "fusion"))]
mod fusion;
mod routing;

use burn::backend::Dispatch;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, Tensor};

pub use extension::{CombineGradients, ExpertBackend, ExpertRoutes};
pub use routing::{ExpertRouting, expert_routing};

use super::low_rank::Adapted;
use super::operand::{Operand, OperandPrimitive};

/// Every token times the matrices of its experts: `x[token] @ weight[expert] + bias[expert]`, one
/// row per choice, rows of one expert together as in [`ExpertRouting::order`].
///
/// Products are accumulated in `f32`. Packed matrices are decoded tile by tile and have no gradient;
/// that of dense ones is written once, with zeros for experts without rows. Such experts cost nothing
/// else. Of [`Adapted`] matrices the factors have a gradient, in two skinny products.
///
/// # Shapes
/// - x: `[tokens, in]`
/// - weight: `experts` matrices from `in` to `out`, dtype of `x` where they are dense
/// - bias: `[experts, out]`, dtype of `x`
/// - output: `[tokens * top_k, out]`, dtype of `x`
///
/// # Panics
/// If the shapes do not fit together, dtypes differ or are not `f32`, `bf16` or `f16`.
pub fn expert_linear(
    x: Tensor<2>,
    weight: impl Into<Operand<3>>,
    bias: Tensor<2>,
    routing: &ExpertRouting,
) -> Tensor<2> {
    let weight = weight.into();
    check(&weight, &x, &bias, routing);
    let [tokens, _] = x.dims();
    let n_rows = tokens * routing.top_k();
    assert_eq!(n_rows, routing.n_rows(), "a routing of other tokens");
    let weight = match weight {
        Operand::Adapted(weight) => match weight.merged_for(routing) {
            Some(merged) => merged,
            None => return adapted_linear(x, *weight, bias, routing),
        },
        weight => weight.primitive(),
    };
    linear_primitive(x, weight, bias, routing)
}

fn linear_primitive(
    x: Tensor<2>,
    weight: OperandPrimitive<Dispatch>,
    bias: Tensor<2>,
    routing: &ExpertRouting,
) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::expert_linear(
        x.into_dispatch(),
        weight,
        bias.into_dispatch(),
        routing.primitive(),
    ))
}

/// `x W + scaling * (x a) b`
fn adapted_linear(
    x: Tensor<2>,
    weight: Adapted<3>,
    bias: Tensor<2>,
    routing: &ExpertRouting,
) -> Tensor<2> {
    let no_bias = bias.zeros_like();
    let inner = inner_rows(&x, &weight, routing);
    let [_, b] = weight.factors(x.dtype());
    let delta = expert_linear(inner, b, no_bias, &routing.in_order());
    expert_linear(x, weight.into_base(), bias, routing) + delta
}

/// `scaling * (x a)`, a row per choice.
fn inner_rows(x: &Tensor<2>, weight: &Adapted<3>, routing: &ExpertRouting) -> Tensor<2> {
    let ([a, _], scaling) = (weight.factors(x.dtype()), weight.delta().scaling);
    let [n_experts, _, rank] = a.dims();
    let no_bias = Tensor::zeros([n_experts, rank], (&x.device(), x.dtype()));
    expert_linear(x.clone(), a, no_bias, routing) * scaling
}

/// Rows times the matrix of their expert, summed per token with the weights of the router:
/// `sum(scores[token, choice] * (rows[row] @ weight[expert] + bias[expert]))`.
///
/// The sum runs over the experts of a token in ascending order, so that results do not depend on
/// timing. Otherwise as [`expert_linear`], whose rows these are.
///
/// # Shapes
/// - rows: `[tokens * top_k, in]`
/// - weight: `experts` matrices from `in` to `out`
/// - bias: `[experts, out]`
/// - scores: `[tokens, top_k]`
/// - output: `[tokens, out]`
///
/// # Panics
/// As [`expert_linear`].
pub fn expert_combine(
    rows: Tensor<2>,
    weight: impl Into<Operand<3>>,
    bias: Tensor<2>,
    scores: Tensor<2>,
    routing: &ExpertRouting,
) -> Tensor<2> {
    combined(
        rows,
        weight.into(),
        bias,
        scores,
        routing,
        Dispatch::expert_combine,
    )
}

/// Zeros that have the gradients of [`expert_combine`]: for a second pass whose values nobody needs. The products of
/// rows with the weight are left out; no gradient depends on them.
///
/// Shapes are those of [`expert_combine`].
///
/// # Panics
/// If the shapes do not fit together; in the backward pass as [`expert_combine`].
pub fn expert_combine_gradients(
    rows: Tensor<2>,
    weight: impl Into<Operand<3>>,
    bias: Tensor<2>,
    scores: Tensor<2>,
    routing: &ExpertRouting,
) -> Tensor<2> {
    combined(
        rows,
        weight.into(),
        bias,
        scores,
        routing,
        Dispatch::expert_combine_gradients,
    )
}

type Combine = fn(
    FloatTensor<Dispatch>,
    OperandPrimitive<Dispatch>,
    FloatTensor<Dispatch>,
    FloatTensor<Dispatch>,
    ExpertRoutes<Dispatch>,
) -> FloatTensor<Dispatch>;

fn combined(
    rows: Tensor<2>,
    weight: Operand<3>,
    bias: Tensor<2>,
    scores: Tensor<2>,
    routing: &ExpertRouting,
    combine: Combine,
) -> Tensor<2> {
    check(&weight, &rows, &bias, routing);
    let [n_rows, _] = rows.dims();
    assert_eq!(n_rows, routing.n_rows(), "a routing of other rows");
    let [tokens, top_k] = scores.dims();
    assert_eq!([tokens * top_k, top_k], [n_rows, routing.top_k()], "scores");
    assert_eq!(scores.dtype(), rows.dtype(), "dtype of the scores");
    let weight = match weight {
        Operand::Adapted(weight) => match weight.merged_for(routing) {
            Some(merged) => merged,
            None => return adapted_combine(rows, *weight, bias, scores, routing, combine),
        },
        weight => weight.primitive(),
    };
    Tensor::from_dispatch(combine(
        rows.into_dispatch(),
        weight,
        bias.into_dispatch(),
        scores.into_dispatch(),
        routing.primitive(),
    ))
}

/// The sum of products with `W` and with `scaling * a b`.
fn adapted_combine(
    rows: Tensor<2>,
    weight: Adapted<3>,
    bias: Tensor<2>,
    scores: Tensor<2>,
    routing: &ExpertRouting,
    combine: Combine,
) -> Tensor<2> {
    let no_bias = bias.zeros_like();
    let inner = inner_rows(&rows, &weight, &routing.in_order());
    let [_, b] = weight.factors(rows.dtype());
    let delta = combined(inner, b.into(), no_bias, scores.clone(), routing, combine);
    combined(rows, weight.into_base(), bias, scores, routing, combine) + delta
}

fn check(weight: &Operand<3>, rows: &Tensor<2>, bias: &Tensor<2>, routing: &ExpertRouting) {
    let [experts, d_input, d_output] = weight.shape();
    assert_eq!(rows.dims()[1], d_input, "width of the rows");
    assert_eq!(bias.dims(), [experts, d_output], "shape of the bias");
    assert_eq!(routing.n_experts(), experts, "a routing to other experts");
    assert_eq!(bias.dtype(), rows.dtype(), "dtype of the bias");
    // A frozen one may be narrower than the rows.
    if let Operand::Dense(weight) = weight
        && !(rows.dtype() == DType::F32 && matches!(weight.dtype(), DType::BF16 | DType::F16))
    {
        assert_eq!(weight.dtype(), rows.dtype(), "dtype of the matrices");
    }
}
