//! Launches fake quantization.

use burn::backend::TensorMetadata;
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;

use super::amax::global_scales;
use super::buffer::{Strided, strided, words};
use super::walk::Walk;
use crate::Fp4Scheme;
use crate::kernels::columns::ColumnsLaunch;
use crate::kernels::fake_quantize::{fake_quantize_columns, fake_quantize_rows};
use crate::kernels::format::KernelFormat;

pub(super) fn fake_quantize(
    tensor: CubeTensor,
    amax: CubeTensor,
    axis: usize,
    scheme: &Fp4Scheme,
    format: KernelFormat,
) -> CubeTensor {
    if tensor.meta.num_elements() == 0 {
        return tensor;
    }
    let input = strided(tensor, axis, scheme);
    let scales = global_scales(amax, scheme, format.arithmetic);
    let output = input.empty_like();
    match input.layout.walk {
        Walk::Rows { .. } => rows(&input, &scales, &output, format),
        Walk::Columns { .. } => columns(&input, &scales, &output, format),
    }
    output
}
