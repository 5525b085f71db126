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
use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::{DType, Tensor};

pub use extension::LinearBackend;

/// `x weight + bias`, sums in float32. Burn's own operation of this name writes its output three times
/// where this one does once.
///
/// # Shapes
/// - x: `[..., in]`, `f32`, `bf16` or `f16`
/// - weight: `[in, out]`, dtype of `x`; or `bf16` or `f16` beside `x` in `f32`, for a frozen weight
/// - bias: `[out]`, dtype of `x`
/// - output: `[..., out]`
///
/// # Panics
/// If the shapes do not fit together, or dtypes differ.
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let mut shape = x.dims();
    let [d_input, d_output] = weight.dims();
    let n_rows = shape[..D - 1].iter().product::<usize>();
    assert_eq!(shape[D - 1], d_input, "width of the rows");
    let narrow = matches!(weight.dtype(), DType::BF16 | DType::F16) && x.dtype() == DType::F32;
    assert!(
        narrow || weight.dtype() == x.dtype(),
        "a weight in {:?} for rows in {:?}",
        weight.dtype(),
        x.dtype()
    );
    let dtype = x.dtype();
    let x = x.reshape([n_rows, d_input]).into_dispatch();
    let weight = weight.into_dispatch();
    let output = match bias {
        Some(bias) => {
            assert_eq!(bias.dims(), [d_output], "shape of the bias");
            assert_eq!(bias.dtype(), dtype, "dtype of the bias");
            let bias = bias.into_dispatch();
            <Dispatch as LinearBackend>::linear_with_bias(x, weight, bias)
        }
        None => <Dispatch as LinearBackend>::linear_plain(x, weight),
    };
    shape[D - 1] = d_output;
    Tensor::<2>::from_dispatch(output).reshape(shape)
}

/// [`linear`] with the effective weight of a module.
pub(crate) fn project<const D: usize>(layer: &Linear, x: Tensor<D>) -> Tensor<D> {
    let bias = layer.bias.as_ref().map(Param::val);
    linear(x, layer.weight.val(), bias)
}
