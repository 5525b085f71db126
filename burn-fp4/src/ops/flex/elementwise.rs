//! Operations whose result has the shape of the tensor, and the magnitudes they need.

use burn::backend::TensorMetadata;
use burn_flex::FlexTensor;

use super::{FlexElement, elements, expect, new_tensor};
use crate::codec::fp8::fp8_fake_quantize_slice;
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::scheme::Fp4Scheme;

pub(super) fn amax<T: FlexElement>(tensor: &FlexTensor, scheme: Fp4Scheme) -> FlexTensor {
    let shape = tensor.shape();
    if matches!(scheme, Fp4Scheme::Mxfp4 { .. }) {
        return new_tensor(vec![1f32], [1]);
    }
    let amax = SliceQuantizer::new(scheme).amax(&elements::<T>(tensor), &shape);
    let amax = expect(amax);
    let n_scales = amax.len();
    new_tensor(amax, [n_scales])
}

pub(super) fn fake_quantize<T: FlexElement>(
    tensor: &FlexTensor,
    axis: usize,
    quantizer: &SliceQuantizer,
) -> FlexTensor {
    let shape = tensor.shape();
    let out = quantizer.fake_quantize(&elements::<T>(tensor), &shape, axis);
    new_tensor(expect(out), shape)
}

pub(super) fn clip_gradient<T: FlexElement>(
    grad: &FlexTensor,
    tensor: &FlexTensor,
    axis: usize,
    quantizer: &SliceQuantizer,
) -> FlexTensor {
    let shape = tensor.shape();
    let (values, grad) = (elements::<T>(tensor), elements::<T>(grad));
    let out = quantizer.clip_gradient(&values, &grad, &shape, axis);
    new_tensor(expect(out), shape)
}

pub(super) fn fp8_fake_quantize<T: FlexElement>(
    tensor: &FlexTensor,
    amax: &FlexTensor,
) -> FlexTensor {
    let &[amax] = &*elements::<f32>(amax) else {
        panic!(
            "fp8_fake_quantize: amax has shape {:?}, not [1]",
            amax.shape()
        );
    };
    let mut out = T::zeros(tensor.shape().num_elements());
    expect(fp8_fake_quantize_slice(
        &elements::<T>(tensor),
        amax,
        &mut out,
    ));
    new_tensor(out, tensor.shape())
}
