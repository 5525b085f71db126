//! Kernels compiled for NVIDIA GPUs, without one.
//!
//! `PTX_DIR=DIR` keeps the assembly, `NAME.sm_ARCH.ptx`; `scripts/ptxas-table` needs it.

mod fused;
mod gemm;
mod gemv;

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

/// A100, H100 and H200, RTX 50.
const ARCHITECTURES: [u32; 3] = [80, 90, 120];
/// The oldest driver that loads code for all of them, CUDA 12.8.
const DRIVER: i32 = 12080;

pub(super) const BUFFER: BufferCompilationArg = BufferCompilationArg { inplace: None };

/// A kernel, and its loads and stores of 16 bytes.
struct Kernel {
    name: &'static str,
    definition: fn() -> KernelDefinition,
    wide: [usize; 2],
}

/// Compiles kernels; panics if one has arrays in local memory or other loads and stores than it says.
fn check(kernels: &[Kernel]) {
    let mut wrong = Vec::new();
    for kernel in kernels {
        for arch in ARCHITECTURES {
            let ptx = compile(kernel.name, (kernel.definition)(), arch);
            let wide = ["ld.global", "st.global"].map(|name| count_wide(&ptx, name));
            println!("{:<32} sm_{arch} {wide:?}", kernel.name);
            if wide != kernel.wide {
                wrong.push(format!("{}, sm_{arch}: {wide:?}", kernel.name));
            }
            if ptx.contains(".local") {
                wrong.push(format!("{}, sm_{arch}: local memory", kernel.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn count_wide(ptx: &str, name: &str) -> usize {
    let is_wide = |line: &&str| {
        [".v4.b32", ".v2.b64", ".b128"]
            .iter()
            .any(|w| line.contains(w))
    };
    ptx.lines()
        .filter(|line| line.contains(name))
        .filter(is_wide)
        .count()
}

/// The assembly of a kernel, compiled as CubeCL's CUDA runtime does.
pub(super) fn compile(name: &str, definition: KernelDefinition, arch: u32) -> String {
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
pub(super) fn settings(units: usize) -> KernelSettings {
    KernelSettings::new(
        *CubeDim::new_1d(units as u32),
        ExecutionMode::Unchecked,
        AddressType::U32,
    )
}

/// What CubeCL's CUDA runtime says about its registers.
pub(super) fn target() -> Arc<TargetProperties> {
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
pub(super) fn device() -> Arc<DeviceProperties> {
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
