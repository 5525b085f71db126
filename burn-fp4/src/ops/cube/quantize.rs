//! Launches of packing.

use burn::backend::TensorMetadata;
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::ops::numeric::zeros_client;
use burn_cubecl::tensor::CubeTensor;
use cubecl::server::Handle;

use super::amax::global_scales;
use super::buffer::{Strided, contiguous, words};
use super::geometry::{ColumnGeometry, RowGeometry};
use super::memory_layout::BlockLayout;
use crate::codec::block_axis::BlockAxis;
use crate::ops::Fp4Primitive;
use crate::ops::kernels::format::KernelFormat;
use crate::ops::kernels::quantize::{
    BYTES_PER_WORD, CODES_PER_WORD, quantize_columns, quantize_rows,
};
use crate::scheme::Fp4Scheme;

pub(super) fn quantize(
    tensor: CubeTensor,
    amax: CubeTensor,
    axis: usize,
    scheme: &Fp4Scheme,
    format: KernelFormat,
) -> Fp4Primitive<CubeBackend> {
    let shape = tensor.shape();
    if let Err(error) = BlockAxis::new(&shape, axis, scheme) {
        panic!("FP4: {error}");
    }
    let (client, device) = (tensor.client.clone(), tensor.device.clone());
    let global_scales = global_scales(amax, &shape, scheme, format.arithmetic);
    let (codes, scales) = if shape.num_elements() == 0 {
        (client.empty(BYTES_PER_WORD), client.empty(BYTES_PER_WORD))
    } else {
        pack(&in_order(tensor, axis, scheme), &global_scales, format)
    };
    let bytes = |memory: Handle, elements_per_byte: usize| {
        let mut dims = shape.to_vec();
        let len = dims.remove(axis);
        dims.push(len / elements_per_byte);
        let (client, device) = (client.clone(), device.clone());
        CubeTensor::new_contiguous(client, device, Shape::from(dims), memory, DType::U8)
    };
    Fp4Primitive {
        codes: bytes(codes, 2),
        scales: bytes(scales, format.block_size),
        global_scales,
    }
}

/// A tensor whose rows are in memory in the order in which their blocks are packed.
fn in_order(tensor: CubeTensor, axis: usize, scheme: &Fp4Scheme) -> Strided {
    let input = Strided::new(tensor, axis, scheme);
    if input.layout.in_order {
        return input;
    }
    Strided::new(contiguous(input.tensor), axis, scheme)
}

/// Codes and scale bytes in whole words.
fn pack(input: &Strided, global_scales: &CubeTensor, format: KernelFormat) -> (Handle, Handle) {
    let client = &input.tensor.client;
    let n_blocks = input.tensor.meta.num_elements() / format.block_size;
    let n_scales = global_scales.meta.num_elements();
    let codes = client.empty(n_blocks * format.block_size / 2);
    let scale_words = n_blocks.div_ceil(BYTES_PER_WORD);
    match input.layout.blocks {
        BlockLayout::Rows { .. } => {
            let geometry = RowGeometry::packing(input, format.block_size);
            let scales = client.empty(scale_words * BYTES_PER_WORD);
            // SAFETY: positions come from the geometry of the tensor and the number of its blocks;
            // units beyond the last block read that one and write nothing.
            unsafe {
                quantize_rows::launch_unchecked(
                    client,
                    geometry.count.clone(),
                    geometry.dim,
                    input.address_type(),
                    geometry.vector,
                    words(input.tensor.handle.clone()),
                    words(global_scales.handle.clone()),
                    words(codes.clone()),
                    words(scales.clone()),
                    geometry.rows(),
                    n_blocks / n_scales,
                    geometry.split,
                    format,
                    input.floats,
                );
            }
            (codes, scales)
        }
        BlockLayout::Columns { outer, width, .. } => {
            let geometry = ColumnGeometry::new(input, format.block_size);
            let device = input.tensor.device.clone();
            let shape = Shape::new([scale_words]);
            let scales = zeros_client(client.clone(), device, shape, DType::U32).handle;
            // SAFETY: as above; units beyond the last block end at once.
            unsafe {
                quantize_columns::launch_unchecked(
                    client,
                    geometry.count.clone(),
                    geometry.dim,
                    input.address_type(),
                    geometry.vector,
                    format.block_size / CODES_PER_WORD,
                    words(input.tensor.handle.clone()),
                    words(global_scales.handle.clone()),
                    words(codes.clone()),
                    words(scales.clone()),
                    geometry.columns(),
                    width,
                    outer / n_scales,
                    format,
                    input.floats,
                );
            }
            (codes, scales)
        }
    }
}
