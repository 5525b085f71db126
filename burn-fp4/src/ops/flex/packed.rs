//! Packing and decoding.

use burn::backend::{Flex, TensorMetadata};
use burn::tensor::Shape;
use burn_flex::FlexTensor;

use super::{FlexElement, elements, expect, new_tensor};
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::ops::Fp4Primitive;
use crate::packed::PackedFp4;
use crate::scheme::Fp4Scheme;

pub(super) fn quantize<T: FlexElement>(
    tensor: &FlexTensor,
    axis: usize,
    quantizer: &SliceQuantizer,
) -> Fp4Primitive<Flex> {
    let packed = quantizer.quantize(&elements::<T>(tensor), &tensor.shape(), axis);
    let packed = expect(packed);
    let block_size = packed.scheme().block_size();
    let codes = with_last(packed.shape(), |len| len / 2);
    let scales = with_last(packed.shape(), |len| len / block_size);
    // Something to read where there are none, see `Fp4Backend`.
    let global_scales = match packed.global_scales() {
        [] => vec![1.0],
        scales => scales.to_vec(),
    };
    let n_scales = global_scales.len();
    let (code_bytes, scale_bytes) = packed.into_parts();
    Fp4Primitive {
        codes: new_tensor(code_bytes, codes),
        scales: new_tensor(scale_bytes, scales),
        global_scales: new_tensor(global_scales, [n_scales]),
    }
}

pub(super) fn dequantize<T: FlexElement>(
    packed: &Fp4Primitive<Flex>,
    axis: usize,
    scheme: Fp4Scheme,
) -> FlexTensor {
    let (codes, scales) = (elements(&packed.codes), elements(&packed.scales));
    let shape = with_last(&packed.codes.shape(), |len| len * 2).to_vec();
    let global_scales = match scheme.n_global_scales(&shape) {
        0 => Vec::new(),
        _ => elements(&packed.global_scales).into_owned(),
    };
    let mut turned = shape.clone();
    if let Some(len) = turned.pop() {
        turned.insert(axis.min(turned.len()), len);
    }
    let view = PackedFp4::from_parts_with_global(scheme, shape, &*codes, &*scales, global_scales);
    let mut out = T::zeros(codes.len() * 2);
    expect(expect(view).dequantize_along(axis, &mut out));
    new_tensor(out, turned)
}

fn with_last(shape: &[usize], len: impl Fn(usize) -> usize) -> Shape {
    let mut dims = shape.to_vec();
    if let Some(last) = dims.last_mut() {
        *last = len(*last);
    }
    Shape::from(dims)
}
