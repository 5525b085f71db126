//! Kernels compiled for NVIDIA GPUs, without one: what only shows in the assembly.
//!
//! `PTX_DIR=DIR` keeps the assembly, `NAME.sm_ARCH.ptx`; `scripts/ptxas-table` needs it.

mod assembly;
mod kernel;

use std::path::PathBuf;
use std::sync::Arc;

use cubecl::Compiler;
use cubecl::ir::features::Features;
use cubecl::ir::nvidia::SmArch;
use cubecl::ir::types::matrix::MatrixLayout;
use cubecl::ir::{
    ContiguousElements, DeviceIdentity, HardwareProperties, MemoryDeviceProperties, MmaProperties,
};
use cubecl::prelude::*;
use cubecl_llvm::nvptx::ptx_version::PtxVersion;
use cubecl_llvm::{LlvmTarget, PlironArtifact, PlironCompiler, PlironOptions};

pub use assembly::{Traffic, has_local_memory};
pub use kernel::{Kernel, check};

/// The oldest driver that loads code for all architectures here, CUDA 12.8.
const DRIVER: i32 = 12080;

/// A buffer among the arguments of a kernel.
pub const BUFFER: BufferCompilationArg = BufferCompilationArg { inplace: None };

/// The assembly of a kernel for an architecture (90 is `sm_90`), compiled as CubeCL's CUDA runtime does.
///
/// # Panics
/// If the kernel does not compile.
pub fn compile(name: &str, definition: KernelDefinition, arch: u32) -> String {
    let mut compiler = PlironCompiler {
        target: LlvmTarget::Nvptx,
    };
    let options = PlironOptions {
        sm_arch: Some(SmArch::new(arch, true)),
        ptx_version: PtxVersion::for_driver(DRIVER),
        grid_constants: true,
        ..Default::default()
    };
    let ptx = match compiler.compile(definition, &options) {
        Ok(PlironArtifact::NvptxCode(module)) => {
            let bytes: Vec<u8> = module.ptx.iter().map(|&c| c as u8).collect();
            let text = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
            String::from_utf8(text.to_vec()).expect("PTX is ASCII")
        }
        Ok(_) => unreachable!("the target is NVPTX"),
        Err(error) => panic!("{name}, sm_{arch}: {error:?}"),
    };
    if let Some(directory) = std::env::var_os("PTX_DIR").map(PathBuf::from) {
        let file = directory.join(format!("{name}.sm_{arch}.ptx"));
        std::fs::write(file, &ptx).expect("PTX_DIR is a directory");
    }
    ptx
}

/// Cubes of so many units.
pub fn settings(units: usize) -> KernelSettings {
    KernelSettings::new(
        *CubeDim::new_1d(units as u32),
        ExecutionMode::Unchecked,
        AddressType::U32,
    )
}

/// What CubeCL's CUDA runtime says about its registers.
pub fn target() -> Arc<TargetProperties> {
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

/// An NVIDIA GPU as far as a kernel can ask when it is expanded.
pub fn device() -> Arc<DeviceProperties> {
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
