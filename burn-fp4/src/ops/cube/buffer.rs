//! Tensors as arguments of kernels.

use burn::backend::TensorMetadata;
use burn::backend::cubecl::dtype_to_elem_type;
use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::features::TypeUsage;
use cubecl::prelude::*;
use cubecl::server::Handle;
use cubecl::std::tensor::copy_into;
use cubecl::zspace::metadata::Metadata;

use super::memory_layout::MemoryLayout;
use crate::ops::kernels::arithmetic::Arithmetic;
use crate::ops::kernels::float_words::FloatWords;
use crate::ops::kernels::format::KernelFormat;
use crate::scheme::Fp4Scheme;

/// Units of a cube on a GPU.
pub(super) const CUBE_UNITS: u32 = 256;

/// The format of kernels that quantize a tensor; none if its scale rule has no kernel.
pub(crate) fn format(tensor: &CubeTensor, scheme: &Fp4Scheme) -> Option<KernelFormat> {
    KernelFormat::quantizing(scheme, Arithmetic::of(&tensor.client))
}

/// The type of the floats of a tensor.
pub(crate) fn float_words(dtype: DType) -> FloatWords {
    match FloatWords::of(dtype) {
        Some(floats) => floats,
        None => panic!("FP4: dtype {dtype:?} is not one of F32, BF16, F16"),
    }
}

/// A buffer as 32-bit words.
pub(crate) fn words(handle: Handle) -> BufferArg {
    let n_words = handle.size_in_used().div_ceil(4) as usize;
    // SAFETY: the length is that of the memory; allocations are whole words.
    unsafe { BufferArg::from_raw_parts(handle, n_words) }
}

/// A tensor whose blocks kernels read where they lie.
pub(super) struct Strided {
    pub tensor: CubeTensor,
    pub layout: MemoryLayout,
    pub floats: FloatWords,
}

impl Strided {
    /// Takes a tensor as it lies if a kernel can read it so, and copies it else.
    ///
    /// # Panics
    ///
    /// If the dtype is not one of the three or `axis` does not exist.
    pub fn new(tensor: CubeTensor, axis: usize, scheme: &Fp4Scheme) -> Self {
        let floats = float_words(tensor.dtype);
        let copies = [|tensor| tensor, contiguous, with_even_rows];
        let mut tensor = tensor;
        for copy in copies {
            tensor = copy(tensor);
            if let Some(layout) = readable(&tensor, axis, scheme, floats) {
                return Self {
                    tensor,
                    layout,
                    floats,
                };
            }
        }
        unreachable!("rows of even length and no gaps can be read")
    }

    /// Uninitialized memory with the same layout, gaps included.
    pub fn empty_like(&self) -> CubeTensor {
        empty_like(&self.tensor, self.layout.span)
    }

    /// Another tensor of the same shape and dtype with the layout of this one.
    pub fn align(&self, other: CubeTensor) -> CubeTensor {
        let same_strides = other.meta.strides() == self.tensor.meta.strides();
        if same_strides && other.handle.offset_start.unwrap_or(0) == 0 {
            return other;
        }
        let out = self.empty_like();
        copy(other, &out);
        out
    }

    /// Words of the widest vectors, four at most, that its lines can be divided into.
    pub fn vector_words(&self) -> usize {
        let offset = self.tensor.handle.offset_start.unwrap_or(0) as usize;
        let fits = |&words: &usize| {
            let elements = words * self.floats.per_word();
            offset.is_multiple_of(words * 4) && self.layout.blocks.fits(elements)
        };
        [4, 2].into_iter().find(fits).unwrap_or(1)
    }

    /// Wide enough for every index.
    pub fn address_type(&self) -> AddressType {
        AddressType::from_len(self.layout.span)
    }
}

/// Uninitialized memory for a tensor with the layout of another one, which spans `span` elements.
pub(super) fn empty_like(tensor: &CubeTensor, span: usize) -> CubeTensor {
    let memory = tensor.client.empty(span * tensor.dtype.size());
    let (client, device) = (tensor.client.clone(), tensor.device.clone());
    CubeTensor::new(client, memory, (*tensor.meta).clone(), device, tensor.dtype)
}

/// Copies between layouts.
fn copy(from: CubeTensor, to: &CubeTensor) {
    let client = from.client.clone();
    let elem = dtype_to_elem_type(bits_type(&from));
    copy_into(&client, from.binding(), to.clone().binding(), elem);
}

/// A tensor without gaps, its axes in order.
pub(super) fn contiguous(mut tensor: CubeTensor) -> CubeTensor {
    let dtype = tensor.dtype;
    tensor.dtype = bits_type(&tensor);
    let mut tensor = into_contiguous(tensor);
    tensor.dtype = dtype;
    tensor
}

/// The type to copy a tensor as: some runtimes can hold `bf16` but not even move it.
fn bits_type(tensor: &CubeTensor) -> DType {
    let has_u16 = || u16::supported_uses(&tensor.client).contains(TypeUsage::Buffer);
    match tensor.dtype {
        DType::BF16 if has_u16() => DType::U16,
        other => other,
    }
}

/// The layout of a tensor if kernels can read it where it lies.
fn readable(
    tensor: &CubeTensor,
    axis: usize,
    scheme: &Fp4Scheme,
    floats: FloatWords,
) -> Option<MemoryLayout> {
    if tensor.meta.is_tiled() {
        return None;
    }
    let strides = tensor.meta.strides();
    let layout = MemoryLayout::new(&tensor.shape(), strides, axis)?;
    // Experts must follow one another, for a scale to be found by the position of a block.
    let experts = !scheme.has_expert_scales()
        || layout.in_order && (tensor.shape()[0] == 1 || strides[0] > strides[axis]);
    let offset = tensor.handle.offset_start.unwrap_or(0);
    let whole_words = offset.is_multiple_of(4) && layout.blocks.fits(floats.per_word());
    (experts && whole_words).then_some(layout)
}

/// A copy whose rows start at words.
pub(super) fn with_even_rows(tensor: CubeTensor) -> CubeTensor {
    let shape = tensor.shape();
    let mut strides = tensor.meta.strides().clone();
    let mut stride = 1;
    for (i, &len) in shape.iter().enumerate().rev() {
        strides[i] = stride;
        // The innermost axis that is one at all.
        stride *= if stride == 1 && len > 1 {
            len.next_multiple_of(2)
        } else {
            len
        };
    }
    let memory = tensor.client.empty(stride * tensor.dtype.size());
    let (client, device) = (tensor.client.clone(), tensor.device.clone());
    let meta = Metadata::new(shape, strides);
    let out = CubeTensor::new(client, memory, meta, device, tensor.dtype);
    copy(without_unit_axes(tensor), &without_unit_axes(out.clone()));
    out
}

/// The same elements without the last axes as long as they have length one: with them, an H100 got
/// copies of odd rows in which elements were missing.
fn without_unit_axes(mut tensor: CubeTensor) -> CubeTensor {
    let shape = tensor.shape();
    let kept = shape.iter().rposition(|&len| len != 1).map_or(1, |i| i + 1);
    let strides = tensor.meta.strides()[..kept].to_vec();
    *tensor.meta = Metadata::new(shape[..kept].to_vec(), strides);
    tensor
}
