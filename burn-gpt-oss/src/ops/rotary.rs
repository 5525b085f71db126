//! Rotary position embedding in one pass.

mod autodiff;
#[cfg(feature = "_cube")]
pub(super) mod cube;
mod extension;
#[cfg(feature = "flex")]
mod flex;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

pub use extension::RotaryBackend;

/// Rotates the pairs `(j, j + head_dim / 2)` of every head by the angle of its position:
/// `(a cos - b sin, b cos + a sin)` (Su et al. 2021, eq. 34, in halves), computed in float32 and
/// rounded once. The tables are constants.
///
/// # Shapes
/// - x, output: `[batch, positions, heads, head_dim]`
/// - cos, sin: `[batch or 1, positions, 1, head_dim / 2]`, dtype of `x`
///
/// # Panics
/// If `head_dim` is odd, or shapes or dtypes disagree.
pub fn rotary_embedding(x: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    let [batch, positions, _, dim] = x.dims();
    assert_eq!(dim % 2, 0, "channels come in pairs");
    for table in [&cos, &sin] {
        let dims = table.dims();
        assert!(
            [1, batch].contains(&dims[0]),
            "tables of one or all sequences"
        );
        assert_eq!(dims[1..], [positions, 1, dim / 2], "tables of a rotation");
    }
    Tensor::from_dispatch(<Dispatch as RotaryBackend>::rotary_embedding(
        x.into_dispatch(),
        cos.into_dispatch(),
        sin.into_dispatch(),
    ))
}
