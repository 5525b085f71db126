//! Root mean square norm in one pass over the rows, and one back.

mod autodiff;
#[cfg(feature = "_cube")]
pub(super) mod cube;
mod extension;
#[cfg(feature = "flex")]
mod flex;
#[cfg(all(feature = "_cube", feature = "fusion"))]
mod fusion;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

pub use extension::RmsNormBackend;

/// `input / sqrt(mean(input^2) + epsilon) * weight` along the last axis, computed in float32 and
/// rounded once at the end (Zhang and Sennrich 2019, eq. 4, with the epsilon of Llama).
///
/// # Shapes
/// - input, output: `[..., size]`, any float dtype
/// - weight: `[size]`, float32
///
/// # Panics
/// If the last axis of the input does not have the size of the weight.
pub fn rms_norm<const D: usize>(input: Tensor<D>, weight: Tensor<1>, epsilon: f64) -> Tensor<D> {
    assert_eq!(input.dims()[D - 1], weight.dims()[0], "channels of a norm");
    let (input, weight) = (input.into_dispatch(), weight.into_dispatch());
    let (output, _) = <Dispatch as RmsNormBackend>::rms_norm(input, weight, epsilon);
    Tensor::from_dispatch(output)
}
