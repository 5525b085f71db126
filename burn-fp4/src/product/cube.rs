//! What the implementations for CubeCL, Burn's backend for GPUs, share.
// The language of kernels has neither iterators nor all methods of integers.
#![allow(clippy::needless_range_loop, clippy::manual_is_multiple_of)]

pub(crate) mod column_sums;
pub(crate) mod few_rows;
pub(crate) mod gemm;
pub(crate) mod launch;
pub(crate) mod product;
#[cfg(all(test, feature = "cuda"))]
mod ptx;
pub(crate) mod rows;
pub(crate) mod team;

#[cfg(feature = "wgpu")]
use core::any::TypeId;

use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::{empty_device_contiguous_dtype, zeros_client};
use burn_cubecl::tensor::CubeTensor;
use cubecl::client::Client;
use cubecl::features::Plane;

/// A tensor without gaps, its axes in order, that begins where its memory does.
pub fn contiguous(tensor: CubeTensor) -> CubeTensor {
    let tensor = into_contiguous(tensor);
    debug_assert!(tensor.is_contiguous(), "gaps");
    tensor
}

/// Uninitialized memory on the device of another tensor.
pub fn empty(beside: &CubeTensor, shape: impl Into<Shape>, dtype: DType) -> CubeTensor {
    let (client, device) = (beside.client.clone(), beside.device.clone());
    empty_device_contiguous_dtype(client, device, shape.into(), dtype)
}

/// Zeros on the device of another tensor.
pub fn zeros(beside: &CubeTensor, shape: impl Into<Shape>, dtype: DType) -> CubeTensor {
    let (client, device) = (beside.client.clone(), beside.device.clone());
    zeros_client(client, device, shape.into(), dtype)
}

/// Elements of the widest vectors, 16 bytes at most, that rows of several widths can be divided into.
pub fn row_vector_size(tensor: &CubeTensor, widths: &[usize]) -> usize {
    let widest = 16 / tensor.dtype.size();
    let fits = |size: &usize| widths.iter().all(|width| width.is_multiple_of(*size));
    [widest, 4, 2].into_iter().find(fits).unwrap_or(1)
}

/// What decides how kernels divide their work.
#[derive(Clone, Copy, Debug)]
pub struct Hardware {
    /// Whether the units of a cube have memory in common that is worth using.
    pub shared_memory: bool,
    /// Bytes of it.
    pub shared_bytes: usize,
    /// Units that can exchange values, a power of two; 1 where none can.
    pub plane: usize,
    /// Most units of a cube.
    pub max_units: usize,
}

impl Hardware {
    /// That of a client.
    pub fn of(client: &Client) -> Self {
        let properties = client.properties();
        let hardware = &properties.hardware;
        let planes = properties.features.plane.contains(Plane::Ops);
        let fixed = hardware.plane_size_min == hardware.plane_size_max;
        Self {
            shared_memory: match client.name() {
                // Units of a cube run one after another there.
                "cpu" => false,
                // SPIR-V needs VK_KHR_workgroup_memory_explicit_layout, which nobody can be asked for;
                // drivers without it are too old for plane operations, too.
                "wgpu<spirv>" => planes || is_wgsl(client),
                _ => true,
            },
            shared_bytes: hardware.max_shared_memory_size,
            plane: match planes && fixed {
                true => hardware.plane_size_min as usize,
                false => 1,
            },
            max_units: hardware.max_units_per_cube as usize,
        }
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
