//! The factors of a product as kernels read them.

use super::packed::PackedFormat;
use crate::ops::cube::contiguous;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_fp4::Fp4Scheme;
use burn_fp4::backend::Fp4Primitive;

/// Rows of contiguous elements, those of all experts one after another.
pub(in crate::ops) struct Dense {
    pub tensor: CubeTensor,
    /// Elements of a row.
    pub width: usize,
    /// From one row to the next.
    pub pitch: usize,
}

impl Dense {
    /// A matrix where it lies, and whether its rows are those of the memory; else its columns are.
    pub fn matrix(tensor: CubeTensor) -> (Self, bool) {
        let [height, width] = tensor.meta.shape().dims();
        let [down, right] = [tensor.meta.strides()[0], tensor.meta.strides()[1]];
        let plain = !tensor.meta.is_tiled();
        if plain && (right == 1 || width <= 1) && (down >= width || height <= 1) {
            let pitch = if height <= 1 { width } else { down };
            let dense = Self {
                tensor,
                width,
                pitch,
            };
            return (dense, true);
        }
        if plain && (down == 1 || height <= 1) && (right >= height || width <= 1) {
            let pitch = if width <= 1 { height } else { right };
            let dense = Self {
                tensor,
                width: height,
                pitch,
            };
            return (dense, false);
        }
        let dense = Self {
            tensor: contiguous(tensor),
            width,
            pitch: width,
        };
        (dense, true)
    }

    /// The rows of a tensor of any rank, copied if they lie otherwise.
    pub fn rows(tensor: CubeTensor) -> Self {
        let rank = tensor.meta.shape().num_dims();
        let width = tensor.meta.shape()[rank - 1];
        if rank == 2
            && let (dense, true) = Self::matrix(tensor.clone())
        {
            return dense;
        }
        Self {
            tensor: contiguous(tensor),
            width,
            pitch: width,
        }
    }

    /// Whether rows are whole vectors of `len` elements.
    pub(super) fn has_vectors(&self, len: usize) -> bool {
        let offset = self.tensor.handle.offset_start.unwrap_or(0) as usize;
        let lengths = [offset / self.tensor.dtype.size(), self.width, self.pitch];
        lengths.iter().all(|n| n.is_multiple_of(len))
    }
}

/// Packed FP4 matrices `[experts, out, in]`.
pub(in crate::ops) struct Packed {
    pub codes: CubeTensor,
    pub scales: CubeTensor,
    pub global_scales: CubeTensor,
    pub d_output: usize,
    pub d_input: usize,
    /// Elements from one row to the next.
    pub(super) pitch: usize,
    /// Scale bytes from one row to the next.
    pub(super) scale_pitch: usize,
    pub(super) format: PackedFormat,
}

impl Packed {
    pub fn new(weight: Fp4Primitive<CubeBackend>, scheme: &Fp4Scheme) -> Self {
        let [_, d_output, bytes] = weight.codes.meta.shape().dims();
        let (codes, code_pitch) = byte_rows(weight.codes, 4);
        let (scales, scale_pitch) = byte_rows(weight.scales, 1);
        Self {
            codes,
            scales,
            global_scales: contiguous(weight.global_scales),
            d_output,
            d_input: 2 * bytes,
            pitch: 2 * code_pitch,
            scale_pitch,
            format: PackedFormat::of(scheme),
        }
    }
}

/// Rows of bytes and their pitch, a multiple of `alignment`; copied if they lie otherwise.
fn byte_rows(tensor: CubeTensor, alignment: usize) -> (CubeTensor, usize) {
    let [n_experts, height, width] = tensor.meta.shape().dims();
    let strides = tensor.meta.strides();
    let pitch = if height == 1 { strides[0] } else { strides[1] };
    let in_order = n_experts == 1 || strides[0] == height * pitch;
    let words = tensor.handle.offset_start.unwrap_or(0).is_multiple_of(4);
    let fits = strides[2] == 1 && pitch >= width && pitch.is_multiple_of(alignment);
    if in_order && words && fits && !tensor.meta.is_tiled() {
        return (tensor, pitch);
    }
    (into_contiguous(tensor), width)
}

/// The right factor of a product.
#[allow(clippy::large_enum_variant)] // There is one at a time, on the stack.
pub(in crate::ops) enum Right {
    Dense(Dense),
    Packed(Packed),
}

impl Right {
    pub(super) fn pitch(&self) -> usize {
        match self {
            Self::Dense(dense) => dense.pitch,
            Self::Packed(packed) => packed.pitch,
        }
    }

    pub(super) fn format(&self) -> Option<PackedFormat> {
        match self {
            Self::Dense(_) => None,
            Self::Packed(packed) => Some(packed.format),
        }
    }
}
