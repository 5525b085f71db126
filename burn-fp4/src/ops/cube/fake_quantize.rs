//! Launches of fake quantization.

use burn::backend::TensorMetadata;
use burn_cubecl::tensor::CubeTensor;

use super::amax::global_scales;
use super::buffer::{Strided, words};
use super::geometry::{ColumnGeometry, RowGeometry};
use super::memory_layout::BlockLayout;
use crate::ops::kernels::fake_quantize::{fake_quantize_columns, fake_quantize_rows};
use crate::ops::kernels::format::KernelFormat;
use crate::scheme::Fp4Scheme;

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
    let input = Strided::new(tensor, axis, scheme);
    let scales = global_scales(amax, &input.tensor.shape(), scheme, format.arithmetic);
    let output = input.empty_like();
    let client = &input.tensor.client;
    let n_scales = scales.meta.num_elements();
    match input.layout.blocks {
        // SAFETY: positions come from the geometry of the tensor, which both buffers have; units
        // beyond the last block read that one and write nothing.
        BlockLayout::Rows { .. } => unsafe {
            let geometry = RowGeometry::new(&input, format.block_size);
            fake_quantize_rows::launch_unchecked(
                client,
                geometry.count.clone(),
                geometry.dim,
                input.address_type(),
                geometry.vector,
                words(input.tensor.handle.clone()),
                words(scales.handle),
                words(output.handle.clone()),
                geometry.rows(),
                geometry.n_blocks / n_scales,
                geometry.split,
                format,
                input.floats,
            );
        },
        // SAFETY: as above; units beyond the last block end at once.
        BlockLayout::Columns { outer, .. } => unsafe {
            let geometry = ColumnGeometry::new(&input, format.block_size);
            fake_quantize_columns::launch_unchecked(
                client,
                geometry.count.clone(),
                geometry.dim,
                input.address_type(),
                geometry.vector,
                words(input.tensor.handle.clone()),
                words(scales.handle),
                words(output.handle.clone()),
                geometry.columns(),
                outer / n_scales,
                format,
                input.floats,
            );
        },
    }
    output
}
