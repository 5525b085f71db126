//! Kernels with their arguments, and what they can ask about an H100.

use std::sync::Arc;

use cubecl::CubeKernel;
use cubecl::ir::features::Features;
use cubecl::ir::types::matrix::MatrixLayout;
use cubecl::ir::{
    ContiguousElements, DeviceIdentity, HardwareProperties, MemoryDeviceProperties, MmaProperties,
};
use cubecl::prelude::*;

use super::super::geometry::GeometryCompilationArg;
use super::super::mma::{self, MmaSplit};
use super::super::rows::{self, RowSplit, Side};
use super::super::statistics::{SumSplit, sink_parts, sink_sums, statistics};

const BUFFER: BufferCompilationArg = BufferCompilationArg { inplace: None };
const GEOMETRY: GeometryCompilationArg = GeometryCompilationArg {
    len: (),
    keys: (),
    kv_heads: (),
    group: (),
    first_query: (),
    window: (),
    scale: (),
};

fn settings(units: usize) -> KernelSettings {
    KernelSettings::new(
        *CubeDim::new_1d(units as u32),
        ExecutionMode::Unchecked,
        AddressType::U32,
    )
}

pub(super) fn attend_mma(float: ElemType, split: MmaSplit) -> KernelDefinition {
    mma::attend_mma::AttendMma::new(
        settings(split.units()),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        GEOMETRY,
        split,
        float,
    )
    .define()
}

pub(super) fn query_gradient_mma(float: ElemType, split: MmaSplit) -> KernelDefinition {
    mma::query_gradient_mma::QueryGradientMma::new(
        settings(split.units()),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        GEOMETRY,
        split,
        float,
    )
    .define()
}

pub(super) fn key_gradient_mma(float: ElemType, split: MmaSplit) -> KernelDefinition {
    mma::key_gradient_mma::KeyGradientMma::new(
        settings(split.units()),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        GEOMETRY,
        split,
        float,
    )
    .define()
}

pub(super) fn attend_rows(float: ElemType, split: RowSplit) -> KernelDefinition {
    rows::attend_rows::AttendRows::new(
        settings(split.units),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        GEOMETRY,
        split,
        float,
    )
    .define()
}

pub(super) fn query_gradient_rows(float: ElemType, split: RowSplit) -> KernelDefinition {
    rows::query_gradient_rows::QueryGradientRows::new(
        settings(split.units),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        GEOMETRY,
        split,
        float,
    )
    .define()
}

pub(super) fn key_gradient_rows(float: ElemType, split: RowSplit, side: Side) -> KernelDefinition {
    rows::key_gradient_rows::KeyGradientRows::new(
        settings(split.units),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        GEOMETRY,
        side,
        split,
        float,
    )
    .define()
}

pub(super) fn sums(float: ElemType) -> [(&'static str, KernelDefinition); 3] {
    let split = |terms, lanes| SumSplit {
        terms,
        lanes,
        units: 128,
        native: false,
    };
    let settings = || settings(128);
    let rows = statistics::Statistics::new(
        settings(),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        BUFFER,
        (),
        split(16, 16),
        float,
    );
    let parts = sink_parts::SinkParts::new(
        settings(),
        device(),
        target(),
        BUFFER,
        BUFFER,
        BUFFER,
        (),
        (),
        split(32, 1),
    );
    let sums = sink_sums::SinkSums::new(
        settings(),
        device(),
        target(),
        BUFFER,
        BUFFER,
        (),
        (),
        split(1, 32),
    );
    [
        ("statistics", rows.define()),
        ("sink_parts", parts.define()),
        ("sink_sums", sums.define()),
    ]
}

/// What CubeCL's CUDA runtime says about its registers.
fn target() -> Arc<TargetProperties> {
    Arc::new(TargetProperties {
        mma: MmaProperties {
            register_size_bits: 32,
            const_plane_size: 32,
            register_layout_a: MatrixLayout::RowMajor,
            register_layout_b: MatrixLayout::ColMajor,
            register_layout_acc: MatrixLayout::RowMajor,
            register_duplication_a: 1,
            register_duplication_b: 1,
            register_duplication_acc: 1,
            // Two 16-bit operands to a register, and two neighbours of a result.
            contiguous_elements: ContiguousElements::new(|_, _, _| 2),
        },
    })
}

/// An H100 as far as a kernel can ask when it is expanded.
fn device() -> Arc<DeviceProperties> {
    let hardware = HardwareProperties {
        load_width: 128,
        vector_register_count: None,
        plane_size_min: 32,
        plane_size_max: 32,
        max_bindings: 32,
        max_shared_memory_size: 227 << 10,
        max_cube_count: (i32::MAX as u32, u16::MAX as u32, u16::MAX as u32),
        max_units_per_cube: 1024,
        max_cube_dim: (1024, 1024, 64),
        num_streaming_multiprocessors: Some(132),
        num_tensor_cores: None,
        min_tensor_cores_dim: None,
        num_cpu_cores: None,
        last_level_cache_size: None,
        max_vector_size: VectorSize::MAX,
        cube_mma_reserved_shared_memory: 0,
    };
    let identity = DeviceIdentity {
        name: "offline".into(),
        fingerprint: "offline".into(),
        physical: None,
    };
    Arc::new(DeviceProperties::new(
        Features::default(),
        MemoryDeviceProperties::new(u64::MAX, 256),
        hardware,
        cubecl::profile::TimingMethod::Device,
        identity,
    ))
}
