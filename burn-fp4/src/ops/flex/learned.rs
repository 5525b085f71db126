//! Learned block scales.

use burn::backend::{Flex, TensorMetadata};
use burn_flex::FlexTensor;

use super::{FlexElement, elements, expect, new_tensor};
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::ops::LearnedGradients;

pub(super) fn quantize<T: FlexElement>(
    tensor: &FlexTensor,
    parameter: &FlexTensor,
    axis: usize,
    quantizer: &SliceQuantizer,
) -> FlexTensor {
    let shape = tensor.shape();
    let (values, parameter) = (elements::<T>(tensor), elements(parameter));
    let out = quantizer.fake_quantize_learned(&values, &parameter, &shape, axis);
    new_tensor(expect(out), shape)
}

pub(super) fn gradients<T: FlexElement>(
    grad: &FlexTensor,
    tensor: &FlexTensor,
    parameter: &FlexTensor,
    axis: usize,
    quantizer: &SliceQuantizer,
) -> LearnedGradients<Flex> {
    let shape = tensor.shape();
    let (values, grad) = (elements::<T>(tensor), elements::<T>(grad));
    let parameters = elements(parameter);
    let out = quantizer.learned_gradients(&values, &parameters, &grad, &shape, axis);
    let (grad_tensor, grad_parameter) = expect(out);
    LearnedGradients {
        tensor: new_tensor(grad_tensor, shape),
        parameter: new_tensor(grad_parameter, parameter.shape()),
    }
}
