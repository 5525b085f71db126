//! The clamped SwiGLU of gpt-oss.

mod autodiff;
#[cfg(feature = "_cube")]
pub(super) mod cube;
mod extension;
#[cfg(feature = "flex")]
mod flex;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

pub use extension::SwigluBackend;

/// `gate * sigmoid(alpha * gate) * (up + 1)`, the gate clamped to at most `limit` and `up` to at most
/// its magnitude; even columns are gates, odd ones `up`.
///
/// As of Burn's `clamp`, the gradient at a bound is that of the inside. The backward pass keeps `x`
/// alone.
///
/// # Shapes
/// - x: `[rows, 2 * width]`
/// - output: `[rows, width]`
///
/// # Panics
/// If `x` has an odd number of columns or its dtype is not `f32`, `bf16` or `f16`.
pub fn clamped_swiglu(x: Tensor<2>, limit: f32, alpha: f32) -> Tensor<2> {
    let [_, columns] = x.dims();
    assert!(columns.is_multiple_of(2), "{columns} columns are no pairs");
    let x = x.into_dispatch();
    Tensor::from_dispatch(<Dispatch as SwigluBackend>::clamped_swiglu(x, limit, alpha))
}
