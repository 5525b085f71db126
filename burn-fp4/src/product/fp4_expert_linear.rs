//! The product with one packed weight per expert, for rows in any order.

use burn::tensor::{IndexingUpdateOp, Int, Tensor};

use super::experts::{expert_linear, expert_routing};
use crate::packed::fp4_tensor::Fp4Tensor;

/// `x[i] @ weight[experts[i]]^T` for every row `i`: [`expert_linear`] with one choice for each row, and the
/// rows in their own order.
///
/// Rows may come in any order, and an expert may have none. Only `x` has a gradient. The error of an
/// element is bounded as in [`linear`](crate::linear).
///
/// # Shapes
///
/// - x: `[n, in]`
/// - experts: `[n]`, any integer dtype
/// - weight: `[experts, out, in]`
/// - output: `[n, out]`, dtype of `x`
///
/// # Panics
///
/// If the shapes do not fit together, the dtype of `x` is not `f32`, `bf16` or `f16`, or an index is that of
/// no expert and the backend can tell; on others it counts as the last one.
pub fn fp4_expert_linear(
    x: Tensor<2>,
    experts: Tensor<1, Int>,
    weight: &Fp4Tensor<3>,
) -> Tensor<2> {
    let [n_rows, d_input] = x.dims();
    let [n_experts, d_output, expected] = weight.shape();
    assert_eq!(
        d_input, expected,
        "fp4_expert_linear: x [{n_rows}, {d_input}] does not fit a weight \
         [{n_experts}, {d_output}, {expected}]"
    );
    let n_indices = experts.dims()[0];
    assert_eq!(
        n_indices, n_rows,
        "fp4_expert_linear: {n_indices} expert indices for {n_rows} rows"
    );
    assert!(
        n_experts > 0 || n_rows == 0,
        "fp4_expert_linear: {n_rows} rows, but no experts"
    );
    let options = (&x.device(), x.dtype());
    let zeros = Tensor::zeros([n_rows, d_output], options);
    if n_rows * d_input * d_output == 0 {
        return zeros;
    }
    let bias = Tensor::zeros([n_experts, d_output], options);
    let routing = expert_routing(experts.reshape([n_rows, 1]), n_experts);
    let sorted = expert_linear(x, weight.clone(), bias, &routing);
    zeros.select_assign(0, routing.order(), sorted, IndexingUpdateOp::Add)
}

#[cfg(all(test, feature = "flex"))]
mod tests;
