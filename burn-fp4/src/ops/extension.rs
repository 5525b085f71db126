//! The backend trait.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, ExtensionType, backend_extension};
use burn::tensor::FloatDType;
#[cfg(feature = "_cube")]
use burn::tensor::Shape;

use super::GradientRule;
#[cfg(all(feature = "_cube", feature = "fusion"))]
use super::fusion;
use crate::scheme::Fp4Scheme;

/// A packed tensor of a backend, block axis last; the layout is that of
/// [`PackedFp4`](crate::PackedFp4).
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(all(feature = "_cube", feature = "fusion")))]
pub struct Fp4Primitive<B: Backend> {
    /// Codes, U8 `[..., len / 2]`, low nibble first.
    pub codes: IntTensor<B>,
    /// Scale bytes, U8 `[..., len / block_size]`.
    pub scales: IntTensor<B>,
    /// Global scales, f32 `[n]` as in [`Fp4Backend::fp4_amax`].
    pub global_scales: FloatTensor<B>,
}

/// Gradients of both inputs of [`Fp4Backend::fp4_learned_quantize`].
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(all(feature = "_cube", feature = "fusion")))]
pub struct LearnedGradients<B: Backend> {
    /// That of the tensor, with its shape and dtype.
    pub tensor: FloatTensor<B>,
    /// That of the parameter, f32 with its shape.
    pub parameter: FloatTensor<B>,
}

/// A Burn backend with FP4 operations.
///
/// Call the functions of this crate that take a [`Tensor`](burn::tensor::Tensor) instead of the
/// methods. To add a backend, add its selector to the attribute below and its implementation in a file
/// next to this one. `Fusion` is the lazy form of `Cube`. It needs the shape and dtype of every result in
/// advance; the `fusion` attribute of each method gives them.
///
/// No method needs values on the host: largest magnitudes and global scales are tensors, too. MXFP4 has
/// no global scales. These tensors then have one element, which is never read, because backends do not
/// agree on empty tensors.
///
/// Every method panics if an axis does not exist, its length is not a multiple of the block size, or
/// a dtype is not one of `f32`, `bf16` and `f16`.
#[backend_extension(
    Autodiff,
    Flex: cfg(feature = "flex"),
    Cube: cfg(feature = "_cube"),
    Fusion: cfg(all(feature = "_cube", feature = "fusion"))
)]
pub trait Fp4Backend: Backend {
    /// Largest finite magnitude for each global scale; no gradient.
    ///
    /// # Shapes
    ///
    /// - tensor: any
    /// - output: f32 `[n]`, `n` one, or the length of the leading axis where every index of it has a
    ///   global scale; MXFP4: `[1]`, a 1
    #[fusion(dtype = burn::tensor::DType::F32, shape = amax_shape(tensor, scheme))]
    fn fp4_amax(tensor: FloatTensor<Self>, scheme: Fp4Scheme) -> FloatTensor<Self>;

    /// Quantizes and dequantizes in blocks along `axis`.
    ///
    /// # Shapes
    ///
    /// - tensor, output: `[..., len, ...]` with `len` at position `axis`
    /// - amax: f32 `[n]` as in [`fp4_amax`](Self::fp4_amax), finite, not negative
    #[fusion(dtype = tensor, shape = tensor)]
    fn fp4_fake_quantize(
        tensor: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
        gradient: GradientRule,
    ) -> FloatTensor<Self>;

    /// `grad` where `tensor` does not saturate, zero elsewhere; not differentiable itself.
    ///
    /// # Shapes
    ///
    /// - grad, tensor, output: `[..., len, ...]` with `len` at position `axis`
    /// - amax: f32 `[n]`
    #[fusion(dtype = grad, shape = grad)]
    fn fp4_clip_gradient(
        grad: FloatTensor<Self>,
        tensor: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self>;

    /// Packs in blocks along `axis`; no gradient. NaN and infinity saturate.
    ///
    /// # Shapes
    ///
    /// - tensor: `[..., len, ...]` with `len` at position `axis`
    /// - amax: f32 `[n]`
    /// - output: as the fields of [`Fp4Primitive`] say, `axis` moved last
    #[fusion(meta = fusion::quantize)]
    fn fp4_quantize(
        tensor: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> Fp4Primitive<Self>;

    /// Decodes with the block axis moved from the end to `axis`; no gradient.
    ///
    /// # Shapes
    ///
    /// - output: `[..., len, ...]` with `len` at position `axis`
    #[fusion(meta = fusion::dequantize)]
    fn fp4_dequantize(
        #[extension_type] packed: Fp4Primitive<Self>,
        axis: usize,
        dtype: FloatDType,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self>;

    /// Quantizes and dequantizes with a learned parameter for every block scale, see
    /// [`LearnedQuantizer`](crate::LearnedQuantizer).
    ///
    /// # Shapes
    ///
    /// - tensor, output: `[..., len, ...]` with `len` at position `axis`
    /// - parameter: f32 `[..., len / block_size, ...]`
    /// - amax: f32 `[n]`
    #[fusion(dtype = tensor, shape = tensor)]
    fn fp4_learned_quantize(
        tensor: FloatTensor<Self>,
        parameter: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> FloatTensor<Self>;

    /// Gradients of [`fp4_learned_quantize`](Self::fp4_learned_quantize); not differentiable itself.
    ///
    /// # Shapes
    ///
    /// - grad, tensor: `[..., len, ...]` with `len` at position `axis`
    /// - parameter: f32 `[..., len / block_size, ...]`
    /// - amax: f32 `[n]`
    #[fusion(meta = fusion::learned_gradients)]
    fn fp4_learned_gradients(
        grad: FloatTensor<Self>,
        tensor: FloatTensor<Self>,
        parameter: FloatTensor<Self>,
        amax: FloatTensor<Self>,
        axis: usize,
        scheme: Fp4Scheme,
    ) -> LearnedGradients<Self>;

    /// Rounds to E4M3 with one scale for the whole tensor, see
    /// [`fp8_fake_quantize`](crate::fp8_fake_quantize).
    ///
    /// # Shapes
    ///
    /// - tensor, output: any
    /// - amax: f32 `[1]`
    #[fusion(dtype = tensor, shape = tensor)]
    fn fp8_fake_quantize(tensor: FloatTensor<Self>, amax: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// Shape of [`Fp4Backend::fp4_amax`].
#[cfg(feature = "_cube")]
pub(super) fn amax_shape(tensor: &Shape, scheme: &Fp4Scheme) -> Shape {
    Shape::new([scheme.n_global_scales(tensor).max(1)])
}
