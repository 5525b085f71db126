//! The backend trait.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};

use crate::Fp4Scheme;

/// A Burn backend with FP4 operations.
///
/// Call [`fake_quantize`](crate::fake_quantize) instead of the methods. A further backend takes a
/// selector in the attribute below (`Cube`, and `Fusion` for its lazy form, each behind the Cargo
/// feature of the backend) and a file next to this one with its implementation.
#[backend_extension(Autodiff, Flex: cfg(feature = "flex"))]
pub trait Fp4Backend: Backend {
    /// Quantizes and dequantizes in blocks along `axis`.
    ///
    /// # Shapes
    ///
    /// - tensor, output: `[..., len, ...]` with `len` at position `axis`
    ///
    /// # Panics
    ///
    /// If `axis` does not exist, `len` is not a multiple of the block size, or the dtype is not
    /// `f32`, `bf16` or `f16`.
    #[fusion(dtype = tensor, shape = tensor)]
    fn fp4_fake_quantize(
        tensor: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self>;

    /// [`fp4_fake_quantize`](Self::fp4_fake_quantize) with given largest magnitudes for the global
    /// scales.
    ///
    /// # Shapes
    ///
    /// - tensor, output: `[..., len, ...]` with `len` at position `axis`
    /// - amax: `[1]`, or one for every index of the leading axis; ignored for MXFP4
    ///
    /// # Panics
    ///
    /// As `fp4_fake_quantize`, and if a magnitude is missing, negative or not finite.
    #[fusion(dtype = tensor, shape = tensor)]
    fn fp4_fake_quantize_with_amax(
        tensor: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self>;
}
