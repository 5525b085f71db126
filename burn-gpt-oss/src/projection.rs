use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::Tensor;
use burn_fp4::linear;

/// [`linear`] with the effective weight of a layer, a quantizer's included.
///
/// # Shapes
/// - x: `[..., in]`
/// - output: `[..., out]`
pub(crate) fn project<const D: usize>(layer: &Linear, x: Tensor<D>) -> Tensor<D> {
    let bias = layer.bias.as_ref().map(Param::val);
    linear(x, layer.weight.val(), bias)
}
