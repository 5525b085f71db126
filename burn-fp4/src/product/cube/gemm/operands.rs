//! The factors of a product as kernels read them.

use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use crate::ops::Fp4Primitive;
use crate::ops::kernels::arithmetic::Arithmetic;
use crate::ops::kernels::format::KernelFormat;
use crate::product::cube::contiguous;
use crate::scheme::Fp4Scheme;

/// Rows of contiguous elements, those of all experts one after another.
pub(crate) struct Dense {
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

/// Packed FP4 matrices `[experts, out, in]`, or one alone.
pub(crate) struct Packed {
    pub codes: CubeTensor,
    pub scales: CubeTensor,
    pub global_scales: CubeTensor,
    pub d_output: usize,
    pub d_input: usize,
    /// Elements from one row to the next.
    pub(super) pitch: usize,
    /// Scale bytes from one row to the next.
    pub(super) scale_pitch: usize,
    pub(super) format: KernelFormat,
}

impl Packed {
    pub fn new(weight: Fp4Primitive<CubeBackend>, scheme: &Fp4Scheme) -> Self {
        let shape = weight.codes.meta.shape();
        let (d_output, bytes) = (shape[shape.num_dims() - 2], shape[shape.num_dims() - 1]);
        let n_scales = weight.global_scales.meta.num_elements();
        assert!(
            n_scales == 1 || shape.num_dims() > 2,
            "one matrix has one global scale"
        );
        let arithmetic = Arithmetic::of(&weight.codes.client);
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
            format: KernelFormat::decoding(scheme, arithmetic),
        }
    }

    /// Words of the widest vectors of codes, four at most, that rows can be divided into.
    pub(crate) fn code_vector(&self) -> usize {
        let offset = self.codes.handle.offset_start.unwrap_or(0) as usize;
        let lengths = [offset, self.pitch / 2, self.d_input / 2];
        let fits = |&words: &usize| lengths.iter().all(|n| n.is_multiple_of(4 * words));
        [4, 2].into_iter().find(fits).unwrap_or(1)
    }
}

/// Rows of bytes and their pitch, a multiple of `alignment`; copied if they lie otherwise.
fn byte_rows(tensor: CubeTensor, alignment: usize) -> (CubeTensor, usize) {
    let (shape, strides) = (tensor.meta.shape(), tensor.meta.strides());
    let rank = shape.num_dims();
    let (height, width) = (shape[rank - 2], shape[rank - 1]);
    let pitch = match height {
        1 => strides[0],
        _ => strides[rank - 2],
    };
    let in_order = rank == 2 || shape[0] == 1 || strides[0] == height * pitch;
    let words = tensor.handle.offset_start.unwrap_or(0).is_multiple_of(4);
    let fits = strides[rank - 1] == 1 && pitch >= width && pitch.is_multiple_of(alignment);
    if in_order && words && fits && !tensor.meta.is_tiled() {
        return (tensor, pitch);
    }
    (into_contiguous(tensor), width)
}

/// The right factor of a product.
#[allow(clippy::large_enum_variant)] // There is one at a time, on the stack.
pub(crate) enum Right {
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

    pub(super) fn format(&self) -> Option<KernelFormat> {
        match self {
            Self::Dense(_) => None,
            Self::Packed(packed) => Some(packed.format),
        }
    }
}
