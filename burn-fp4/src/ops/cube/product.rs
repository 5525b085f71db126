//! What a product with a packed weight is made of, and how a device works on it.

#[cfg(feature = "wgpu")]
use core::any::TypeId;

use burn::backend::TensorMetadata;
use burn::backend::ops::IntTensorOps;
use burn::tensor::IntDType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::client::Client;
use cubecl::features::Plane;
use cubecl::prelude::*;
use cubecl::zspace::metadata::Metadata;

use super::buffer::{float_words, with_even_rows, words};
use super::memory_layout::{BlockLayout, MemoryLayout};
use crate::ops::Fp4Primitive;
use crate::ops::kernels::arithmetic::Arithmetic;
use crate::ops::kernels::float_words::FloatWords;
use crate::ops::kernels::format::KernelFormat;
use crate::ops::kernels::gemm::GemmTile;
use crate::ops::kernels::packed_weight::PackedWeightLaunch;
use crate::scheme::Fp4Scheme;

/// Operands and output, in memory as kernels read them.
pub(super) struct Product {
    pub rows: CubeTensor,
    pub n_rows: usize,
    /// Elements from one row to the next.
    pub row_pitch: usize,
    pub floats: FloatWords,
    /// U32, one index per row.
    pub experts: Option<CubeTensor>,
    pub codes: CubeTensor,
    pub scales: CubeTensor,
    pub global_scales: CubeTensor,
    pub n_experts: usize,
    pub d_output: usize,
    pub d_input: usize,
    /// Bytes from one row to the next.
    code_pitch: usize,
    scale_pitch: usize,
    pub output: CubeTensor,
    /// Elements from one row to the next, whole words.
    pub output_pitch: usize,
    pub format: KernelFormat,
    pub device: Device,
}

impl Product {
    pub fn new(
        rows: CubeTensor,
        experts: Option<CubeTensor>,
        weight: Fp4Primitive<CubeBackend>,
        scheme: &Fp4Scheme,
        backward: bool,
    ) -> Self {
        let shape = weight.codes.shape();
        let (n_experts, d_output, bytes) = match *shape.as_slice() {
            [d_output, bytes] => (1, d_output, bytes),
            [n_experts, d_output, bytes] => (n_experts, d_output, bytes),
            _ => panic!("FP4: a product with a weight of shape {shape:?}"),
        };
        let d_input = 2 * bytes;
        let (codes, code_pitch) = byte_rows(weight.codes, 4);
        let (scales, scale_pitch) = byte_rows(weight.scales, 1);
        let (rows, row_pitch) = float_rows(rows, !backward);
        let columns = if backward { d_input } else { d_output };
        let (output, output_pitch) = empty_rows(&rows, columns);
        let experts = experts.map(|experts| {
            let experts = CubeBackend::int_cast(experts, IntDType::U32);
            into_contiguous(experts)
        });
        Self {
            n_rows: rows.shape()[0],
            row_pitch,
            floats: float_words(rows.dtype),
            experts,
            codes,
            scales,
            global_scales: into_contiguous(weight.global_scales),
            n_experts,
            d_output,
            d_input,
            code_pitch,
            scale_pitch,
            output,
            output_pitch,
            format: KernelFormat::decoding(scheme, Arithmetic::of(&rows.client)),
            device: Device::of(&rows.client),
            rows,
        }
    }

    /// The geometry of the weight for vectors of `words` words of codes.
    pub fn weight(&self, words: usize) -> PackedWeightLaunch {
        let n_scales = self.global_scales.meta.num_elements();
        PackedWeightLaunch::new(
            self.n_experts,
            self.d_output,
            self.d_input,
            self.code_pitch / (4 * words),
            self.scale_pitch,
            self.n_experts * self.d_output / n_scales,
        )
    }

    /// The argument for the experts; without them something that nothing reads.
    pub fn experts(&self) -> BufferArg {
        words(match &self.experts {
            Some(experts) => experts.handle.clone(),
            None => self.global_scales.handle.clone(),
        })
    }

    /// Words of the widest vectors of codes.
    pub fn code_vector(&self) -> usize {
        widest(offset(&self.codes), self.code_pitch, self.d_input / 2)
    }

    /// Words of the widest vectors of the rows.
    pub fn row_vector(&self) -> usize {
        let size = 4 / self.floats.per_word();
        let (pitch, len) = (self.row_pitch * size, self.d_input * size);
        widest(offset(&self.rows), pitch, len)
    }

    /// Wide enough for every index.
    pub fn address_type(&self) -> AddressType {
        let rows = self.n_rows * self.row_pitch.max(self.output_pitch);
        let codes = self.n_experts * self.d_output * self.code_pitch;
        AddressType::from_len(rows.max(codes))
    }
}

/// How kernels for products use a device.
#[derive(Clone, Copy)]
pub(super) struct Device {
    /// Units of a cube.
    pub units: usize,
    /// Neighbouring units that can add up what they have.
    pub lanes: usize,
    /// Whether those are of one plane, which can.
    pub planes: bool,
    /// Whether units of a cube have memory in common.
    pub shares: bool,
    shared_bytes: usize,
}

impl Device {
    fn of(client: &Client) -> Self {
        let properties = client.properties();
        let hardware = &properties.hardware;
        let planes = properties.features.plane.contains(Plane::Ops);
        let shares = match client.name() {
            // Shared memory gains nothing there.
            "cpu" => false,
            // SPIR-V needs VK_KHR_workgroup_memory_explicit_layout, which nobody can be asked for;
            // drivers without it are too old for plane operations, too.
            "wgpu<spirv>" => planes || is_wgsl(client),
            _ => true,
        };
        let units = 128.min(hardware.max_units_per_cube as usize);
        let plane = (hardware.plane_size_min as usize).clamp(1, 32);
        let lanes = if planes || shares {
            1 << plane.ilog2()
        } else {
            1
        };
        Self {
            units,
            lanes: lanes.min(units),
            planes,
            shares,
            shared_bytes: hardware.max_shared_memory_size,
        }
    }

    /// The tile of a cube for so many rows.
    pub fn tile(&self, n_rows: usize) -> GemmTile {
        let tile = |high: usize, wide: usize, depth: usize| GemmTile {
            units: (16, 16),
            vectors: (high, wide),
            depth,
        };
        let high = if n_rows > 64 { 2 } else { 1 };
        let tiles = [tile(high, 2, 32), tile(high, 2, 16), tile(1, 2, 16)];
        let fits = |tile: &GemmTile| tile.shared_bytes() <= self.shared_bytes;
        tiles.into_iter().find(fits).unwrap_or(tile(1, 1, 16))
    }
}

/// Whether kernels of a client are compiled to WGSL although it is named after SPIR-V, as all are where
/// that is compiled in.
#[cfg(feature = "wgpu")]
fn is_wgsl(client: &Client) -> bool {
    use cubecl::wgpu::{WgpuServer, WgslCompiler};
    client.service_id().service == TypeId::of::<WgpuServer<WgslCompiler>>()
}

#[cfg(not(feature = "wgpu"))]
fn is_wgsl(_: &Client) -> bool {
    false
}

fn offset(tensor: &CubeTensor) -> usize {
    tensor.handle.offset_start.unwrap_or(0) as usize
}

/// Words of the widest vectors, four at most, that rows of `len` bytes can be divided into.
fn widest(offset: usize, pitch: usize, len: usize) -> usize {
    let fits = |&words: &usize| {
        [offset, pitch, len]
            .iter()
            .all(|n| n.is_multiple_of(4 * words))
    };
    [4, 2].into_iter().find(fits).unwrap_or(1)
}

/// Rows of bytes and their pitch, a multiple of `alignment`; copied if they lie otherwise.
fn byte_rows(tensor: CubeTensor, alignment: usize) -> (CubeTensor, usize) {
    let pitch = |tensor: &CubeTensor| {
        let shape = tensor.shape();
        let layout = MemoryLayout::new(&shape, tensor.meta.strides(), shape.len() - 1)?;
        match layout.blocks {
            BlockLayout::Rows { pitch, .. } if layout.in_order => Some(pitch),
            _ => None,
        }
    };
    match pitch(&tensor) {
        Some(pitch) if pitch.is_multiple_of(alignment) && offset(&tensor).is_multiple_of(4) => {
            (tensor, pitch)
        }
        _ => {
            let tensor = into_contiguous(tensor);
            let len = tensor.shape()[tensor.shape().len() - 1];
            (tensor, len)
        }
    }
}

/// Rows of floats and their pitch; copied if they lie otherwise, or if `whole_words` and not all of
/// them start at words.
fn float_rows(tensor: CubeTensor, whole_words: bool) -> (CubeTensor, usize) {
    let per_word = if whole_words {
        float_words(tensor.dtype).per_word()
    } else {
        1
    };
    let fits = |tensor: &CubeTensor| {
        let strides = tensor.meta.strides();
        let [n_rows, len] = tensor.shape().dims();
        let dense = strides[1] == 1 || len == 1;
        let apart = n_rows == 1 || strides[0] >= len && strides[0].is_multiple_of(per_word);
        dense && apart && !tensor.meta.is_tiled() && offset(tensor).is_multiple_of(4)
    };
    let tensor = if fits(&tensor) {
        tensor
    } else {
        with_even_rows(tensor)
    };
    let [n_rows, len] = tensor.shape().dims();
    let pitch = if n_rows == 1 {
        len.next_multiple_of(per_word)
    } else {
        tensor.meta.strides()[0]
    };
    (tensor, pitch)
}

/// Memory for as many rows of `columns` elements, and their pitch: they start at words.
fn empty_rows(rows: &CubeTensor, columns: usize) -> (CubeTensor, usize) {
    let [n_rows, _] = rows.shape().dims();
    let pitch = columns.next_multiple_of(float_words(rows.dtype).per_word());
    let memory = rows.client.empty(n_rows * pitch * rows.dtype.size());
    let meta = Metadata::new([n_rows, columns], [pitch, 1]);
    let (client, device) = (rows.client.clone(), rows.device.clone());
    let output = CubeTensor::new(client, memory, meta, device, rows.dtype);
    (output, pitch)
}
