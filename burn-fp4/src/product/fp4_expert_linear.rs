//! The product with one packed weight per expert.

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};

use crate::ops::Fp4Backend;
use crate::packed::fp4_tensor::Fp4Tensor;

/// `x[i] @ weight[experts[i]]^T` for every row `i`, accumulated in `f32`.
///
/// Rows may come in any order, and an expert may have none. Only `x` has a gradient. The error of an
/// element is bounded as in [`fp4_linear`](crate::fp4_linear): by `n * u / (1 - n * u)` times the sum
/// of the magnitudes of its `n = in` terms, `u = 2^-24`, before it is rounded to the dtype of `x`.
///
/// # Shapes
///
/// - x: `[n, in]`
/// - experts: `[n]`, any integer dtype; what is no index of an expert counts as the last one
/// - weight: `[experts, out, in]`
/// - output: `[n, out]`, dtype of `x`
///
/// # Panics
///
/// If the shapes do not fit together, there are rows but no experts, the dtype of `x` is not `f32`,
/// `bf16` or `f16`, or the backend does not implement [`Fp4Backend`].
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
    if n_rows * d_input * d_output == 0 {
        return Tensor::zeros([n_rows, d_output], (&x.device(), x.dtype()));
    }
    let (rows, experts) = (x.into_dispatch(), experts.into_dispatch());
    let (packed, scheme) = (weight.primitive(), weight.scheme());
    Tensor::from_dispatch(Dispatch::fp4_expert_linear(rows, experts, packed, scheme))
}

#[cfg(all(test, feature = "flex"))]
mod tests;
