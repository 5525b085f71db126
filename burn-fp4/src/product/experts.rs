//! Products of tokens with the matrices of the experts they are routed to.

mod autodiff;
#[cfg(feature = "_cube")]
mod cube;
mod extension;
#[cfg(feature = "flex")]
mod flex;
#[cfg(all(feature = "_cube", feature = "fusion"))]
mod fusion;
mod routing;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

pub use extension::{CombineGradients, ExpertBackend, ExpertRoutes};
pub use routing::{ExpertRouting, expert_routing};

use super::operand::Operand;

/// Every token times the matrices of its experts: `x[token] @ weight[expert] + bias[expert]`, one
/// row per choice, rows of one expert together as in [`ExpertRouting::order`].
///
/// Products are accumulated in `f32`. Packed matrices are decoded tile by tile and have no gradient;
/// that of dense ones is written once, with zeros for experts without rows. Such experts cost nothing
/// else.
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
    Tensor::from_dispatch(Dispatch::expert_linear(
        x.into_dispatch(),
        weight.primitive(),
        bias.into_dispatch(),
        routing.primitive(),
    ))
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
    let weight = weight.into();
    check(&weight, &rows, &bias, routing);
    let [n_rows, _] = rows.dims();
    assert_eq!(n_rows, routing.n_rows(), "a routing of other rows");
    let [tokens, top_k] = scores.dims();
    assert_eq!([tokens * top_k, top_k], [n_rows, routing.top_k()], "scores");
    assert_eq!(scores.dtype(), rows.dtype(), "dtype of the scores");
    Tensor::from_dispatch(Dispatch::expert_combine(
        rows.into_dispatch(),
        weight.primitive(),
        bias.into_dispatch(),
        scores.into_dispatch(),
        routing.primitive(),
    ))
}

fn check(weight: &Operand<3>, rows: &Tensor<2>, bias: &Tensor<2>, routing: &ExpertRouting) {
    let [experts, d_input, d_output] = weight.shape();
    assert_eq!(rows.dims()[1], d_input, "width of the rows");
    assert_eq!(bias.dims(), [experts, d_output], "shape of the bias");
    assert_eq!(routing.n_experts(), experts, "a routing to other experts");
    assert_eq!(bias.dtype(), rows.dtype(), "dtype of the bias");
    if let Operand::Dense(weight) = weight {
        assert_eq!(weight.dtype(), rows.dtype(), "dtype of the matrices");
    }
}
