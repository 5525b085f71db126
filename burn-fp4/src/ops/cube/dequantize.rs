//! Launch of decoding.

use burn::backend::TensorMetadata;
use burn::tensor::{FloatDType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::prelude::*;
use cubecl::zspace::metadata::Metadata;

use super::buffer::{CUBE_UNITS, contiguous, float_words, words};
use super::memory_layout::{BlockLayout, MemoryLayout};
use crate::ops::Fp4Primitive;
use crate::ops::kernels::arithmetic::Arithmetic;
use crate::ops::kernels::dequantize::{Decoding, PackedRowsLaunch, dequantize as kernel};
use crate::ops::kernels::format::KernelFormat;
use crate::ops::kernels::quantize::{BYTES_PER_WORD, CODES_PER_WORD};
use crate::scheme::Fp4Scheme;

/// Words that a unit loads at once.
const IN_FLIGHT: usize = 4;
/// Words of the vectors that a unit writes.
const OUT_VECTOR: usize = 4;

pub(super) fn dequantize(
    packed: Fp4Primitive<CubeBackend>,
    axis: usize,
    dtype: FloatDType,
    scheme: &Fp4Scheme,
) -> CubeTensor {
    let mut shape = packed.codes.shape().to_vec();
    let last = shape.len() - 1;
    shape[last] *= 2;
    assert!(axis <= last, "FP4: axis {axis} of shape {shape:?}");
    let floats = float_words(dtype.into());
    let (client, device) = (packed.codes.client.clone(), packed.codes.device.clone());
    let n_elements: usize = shape.iter().product();
    let words = n_elements.div_ceil(floats.per_word());
    let memory = client.empty(words.max(1) * BYTES_PER_WORD);
    let shape = Shape::from(shape);
    let out = CubeTensor::new_contiguous(client, device, shape, memory, dtype.into());
    if n_elements > 0 {
        decode(packed, &out, scheme);
    }
    with_last_axis_at(axis, out)
}

/// A view with the last axis moved to `axis`.
fn with_last_axis_at(axis: usize, tensor: CubeTensor) -> CubeTensor {
    let mut shape = tensor.shape().to_vec();
    let mut strides = tensor.meta.strides().to_vec();
    shape[axis..].rotate_right(1);
    strides[axis..].rotate_right(1);
    let meta = Metadata::new(shape, strides);
    CubeTensor::new(
        tensor.client,
        tensor.handle,
        meta,
        tensor.device,
        tensor.dtype,
    )
}

fn decode(packed: Fp4Primitive<CubeBackend>, out: &CubeTensor, scheme: &Fp4Scheme) {
    let client = &out.client;
    let format = KernelFormat::decoding(scheme, Arithmetic::of(client));
    let floats = float_words(out.dtype);
    let codes = Bytes::new(packed.codes, BYTES_PER_WORD);
    let scales = Bytes::new(packed.scales, 1);
    let global_scales = contiguous(packed.global_scales);

    // Where planes are wide, neighbouring units write neighbouring vectors. Where values are chosen,
    // they should serve a whole block.
    let block_words = format.block_size / CODES_PER_WORD;
    let wide = client.properties().hardware.plane_size_max >= 16;
    let alone = wide && format.arithmetic == Arithmetic::Float;
    let vector = if alone || !codes.fits(block_words * BYTES_PER_WORD) {
        1
    } else {
        block_words
    };
    let n_words = out.meta.num_elements() / CODES_PER_WORD;
    let n_vectors = n_words / vector;
    let n_blocks = n_words / block_words;
    let decoding = Decoding {
        in_flight: IN_FLIGHT / vector,
        pitched: codes.pitched() || scales.pitched(),
    };
    let dim = CubeDim::new_1d(CUBE_UNITS);
    let units = n_vectors.div_ceil(decoding.in_flight);
    let code_words = |bytes: usize| bytes / BYTES_PER_WORD / vector;
    // SAFETY: positions come from the geometry of both tensors, which have the same rows; units beyond
    // the last vector read that one and write nothing.
    unsafe {
        kernel::launch_unchecked(
            client,
            calculate_cube_count_elemwise(client, units, dim),
            dim,
            AddressType::from_len(out.meta.num_elements()),
            vector,
            OUT_VECTOR,
            words(codes.tensor.handle.clone()),
            words(scales.tensor.handle.clone()),
            words(global_scales.handle.clone()),
            words(out.handle.clone()),
            PackedRowsLaunch::new(
                n_vectors,
                code_words(codes.len),
                code_words(codes.pitch),
                scales.pitch,
            ),
            n_blocks / scheme.n_global_scales(&out.shape()).max(1),
            decoding,
            format,
            floats,
        );
    }
}

/// Rows of bytes that start at words of memory.
struct Bytes {
    tensor: CubeTensor,
    len: usize,
    pitch: usize,
}

impl Bytes {
    /// Takes a tensor as it lies if its rows are in order and `align` bytes divide the distance between
    /// them, and copies it else.
    fn new(tensor: CubeTensor, align: usize) -> Self {
        Self::in_place(&tensor, align).unwrap_or_else(|| {
            let tensor = contiguous(tensor);
            let len = last(&tensor);
            Self {
                tensor,
                len,
                pitch: len,
            }
        })
    }

    fn in_place(tensor: &CubeTensor, align: usize) -> Option<Self> {
        let axis = tensor.shape().num_dims() - 1;
        let layout = MemoryLayout::new(&tensor.shape(), tensor.meta.strides(), axis)?;
        let BlockLayout::Rows { len, pitch, .. } = layout.blocks else {
            return None;
        };
        let offset = tensor.handle.offset_start.unwrap_or(0);
        let aligned = offset.is_multiple_of(BYTES_PER_WORD as u64) && pitch.is_multiple_of(align);
        (aligned && layout.in_order && !tensor.meta.is_tiled()).then(|| Self {
            tensor: tensor.clone(),
            len,
            pitch,
        })
    }

    fn pitched(&self) -> bool {
        self.pitch != self.len
    }

    /// Whether vectors of so many bytes start where rows do.
    fn fits(&self, bytes: usize) -> bool {
        let offset = self.tensor.handle.offset_start.unwrap_or(0) as usize;
        [offset, self.len, self.pitch]
            .iter()
            .all(|n| n.is_multiple_of(bytes))
    }
}

fn last(tensor: &CubeTensor) -> usize {
    tensor.shape().to_vec().last().copied().unwrap_or(1)
}
