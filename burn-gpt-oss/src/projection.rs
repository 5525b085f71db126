use burn::module::Param;
use burn::nn::{DropoutConfig, Linear};
use burn::tensor::{DType, Tensor};
use burn_fp4::{LowRankAdapter, Rounded, WeightQuantizer, linear};

/// [`linear`] with the effective weight of a layer, that of a quantizer or an adapter.
///
/// # Shapes
/// - x: `[..., in]`
/// - output: `[..., out]`
pub(crate) fn project<const D: usize>(layer: &Linear, x: Tensor<D>) -> Tensor<D> {
    let bias = layer.bias.as_ref().map(Param::val);
    if let Some(rounded) = rounded(layer) {
        return linear(x, rounded, bias);
    }
    let Some(adapter) = layer.weight.reparameterization::<LowRankAdapter<2>>() else {
        return linear(x, layer.weight.val(), bias);
    };
    let product = linear(x.clone(), adapter.adapted(layer.weight.base()), bias);
    if adapter.dropout() == 0.0 || !x.device().is_autodiff() {
        return product;
    }
    // What the factors see less than the weight; outside of a quantizer, which rounds the whole sum.
    let dropped = DropoutConfig::new(adapter.dropout())
        .init()
        .forward(x.clone())
        - x;
    let (delta, dtype) = (adapter.delta(), product.dtype());
    let inner = linear(dropped, delta.a.cast(dtype), None) * delta.scaling;
    product + linear(inner, delta.b.cast(dtype), None)
}

/// A weight in 16 bits with a quantizer, as codes: NVFP4 has values that 16 bits do not hold.
fn rounded(layer: &Linear) -> Option<Rounded<2>> {
    let quantizer = layer.weight.reparameterization::<WeightQuantizer>()?;
    let weight = layer.weight.base();
    if weight.dtype() == DType::F32 {
        return None;
    }
    let codes = quantizer.codes(weight.clone())?;
    Some(Rounded::new(weight, codes))
}
