//! Rows times a matrix, with a bias.

mod autodiff;
#[cfg(feature = "_cube")]
mod cube;
mod extension;
#[cfg(feature = "flex")]
mod flex;
#[cfg(all(feature = "_cube", feature = "fusion"))]
mod fusion;

use burn::backend::Dispatch;
use burn::tensor::{DType, Tensor};

pub use extension::LinearBackend;

use super::experts::{expert_linear, expert_routing};
use super::low_rank::Adapted;
use super::operand::Operand;
use crate::packed::fp4_tensor::Fp4Tensor;

/// `x weight + bias`, sums in `f32`.
///
/// Burn's own operation of this name writes its output three times where this one does once. A packed
/// weight is decoded tile by tile, never as a whole, and has no gradient. With `u = 2^-24` and `n = in`,
/// an element of the product differs from the exact one by at most `n * u / (1 - n * u)` times the sum of
/// the magnitudes of its `n` terms, before it is rounded to the dtype of `x`. For NVFP4, whose global scale
/// is multiplied to the sum, take `n = in + 2`.
///
/// # Shapes
/// - x: `[..., in]`, `f32`, `bf16` or `f16`
/// - weight: from `in` to `out`; a dense one has the dtype of `x`, or `bf16` or `f16` beside `x` in `f32`,
///   and its gradient has that of `x`
/// - bias: `[out]`, dtype of `x`
/// - output: `[..., out]`
///
/// # Panics
/// If the shapes do not fit together, or dtypes differ.
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: impl Into<Operand<2>>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let weight = weight.into();
    let mut shape = x.dims();
    let [d_input, d_output] = weight.shape();
    assert_eq!(
        shape.last(),
        Some(&d_input),
        "linear: x of shape {shape:?} does not fit a weight from {d_input} to {d_output}"
    );
    if let Operand::Dense(weight) = &weight {
        check_dtypes(x.dtype(), weight.dtype());
    }
    if let Some(bias) = &bias {
        assert_eq!(bias.dims(), [d_output], "shape of the bias");
        assert_eq!(bias.dtype(), x.dtype(), "dtype of the bias");
    }
    let n_rows = shape[..D - 1].iter().product::<usize>();
    shape[D - 1] = d_output;
    // Burn's `reshape` takes a zero for an axis to keep.
    if d_input == 0 || shape.contains(&0) {
        let zeros = Tensor::zeros(shape, (&x.device(), x.dtype()));
        return match bias {
            Some(bias) if !shape.contains(&0) => zeros + bias.unsqueeze(),
            _ => zeros,
        };
    }
    let rows = x.reshape([n_rows, d_input]);
    let weight = match weight {
        Operand::Adapted(weight) => return adapted(rows, *weight, bias).reshape(shape),
        weight => weight,
    };
    if let Operand::Packed(weight) = &weight
        && let Some((codes, scales)) = weight.row_scales()
    {
        return scaled(rows, codes, scales, bias).reshape(shape);
    }
    let (rows, weight) = (rows.into_dispatch(), weight.primitive());
    let output = match bias {
        Some(bias) => Dispatch::linear_with_bias(rows, weight, bias.into_dispatch()),
        None => Dispatch::linear_plain(rows, weight),
    };
    Tensor::<2>::from_dispatch(output).reshape(shape)
}

/// The product with a matrix and its delta.
fn adapted(rows: Tensor<2>, weight: Adapted<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    if weight.scheme().is_none() {
        let ([a, b], scaling) = (weight.factors(rows.dtype()), weight.delta().scaling);
        let delta = linear(linear(rows.clone(), a, None) * scaling, b, None);
        return linear(rows, weight.into_base(), bias) + delta;
    }
    let device = rows.device();
    let [_, d_output] = weight.shape();
    let bias = match bias {
        Some(bias) => bias.unsqueeze(),
        None => Tensor::zeros([1, d_output], (&device, rows.dtype())),
    };
    let only = Tensor::zeros([rows.dims()[0], 1], (&device, DType::I32));
    expert_linear(rows, weight.as_experts(), bias, &expert_routing(only, 1))
}

/// The product with a matrix whose outputs have a factor each.
fn scaled(
    rows: Tensor<2>,
    codes: Fp4Tensor<2>,
    scales: Tensor<1>,
    bias: Option<Tensor<1>>,
) -> Tensor<2> {
    let (device, dtype) = (rows.device(), rows.dtype());
    let product = linear(rows.cast(DType::F32), codes, None);
    let product = product * scales.to_device(&device).unsqueeze();
    let sum = match bias {
        Some(bias) => product + bias.cast(DType::F32).unsqueeze(),
        None => product,
    };
    sum.cast(dtype)
}

fn check_dtypes(x: DType, weight: DType) {
    let frozen = matches!(weight, DType::BF16 | DType::F16) && x == DType::F32;
    assert!(
        frozen || weight == x,
        "a weight in {weight:?} for rows in {x:?}"
    );
}
