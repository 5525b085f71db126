//! Every kernel compiled for NVIDIA GPUs, without one: what only shows in the assembly.
//!
//! `PTX_DIR=DIR` keeps the assembly, `NAME.sm_ARCH.ptx`; `scripts/ptxas-table` needs it.

mod assembly;
mod catalog;

use std::path::PathBuf;
use std::sync::Arc;

use cubecl::Compiler;
use cubecl::ir::features::Features;
use cubecl::ir::nvidia::SmArch;
use cubecl::ir::{DeviceIdentity, HardwareProperties, MemoryDeviceProperties};
use cubecl::prelude::*;
use cubecl_llvm::nvptx::ptx_version::PtxVersion;
use cubecl_llvm::{LlvmTarget, PlironArtifact, PlironCompiler, PlironOptions};

use assembly::{Traffic, has_local_memory, instructions};
use catalog::KERNELS;

/// A100, H100 and H200, RTX 50.
const ARCHITECTURES: [u32; 3] = [80, 90, 120];
/// The oldest driver that loads code for all of them, CUDA 12.8.
const DRIVER: i32 = 12080;

#[test]
fn kernels_compile_to_what_gpus_need() {
    let directory = std::env::var_os("PTX_DIR").map(PathBuf::from);
    let mut wrong = Vec::new();
    println!("{:<40} arch lines {}", "kernel", Traffic::HEADER);
    for kernel in KERNELS {
        let name = kernel.name;
        for arch in ARCHITECTURES {
            let ptx = compile((kernel.definition)(), arch);
            if let Some(directory) = &directory {
                let file = directory.join(format!("{name}.sm_{arch}.ptx"));
                std::fs::write(file, &ptx).expect("PTX_DIR is a directory");
            }
            let (traffic, lines) = (Traffic::of(&ptx), instructions(&ptx).count());
            println!("{name:<40} {arch:>4} {lines:>5} {traffic}");
            if traffic != kernel.traffic {
                wrong.push(format!("{name}, sm_{arch}: not {:?}", kernel.traffic));
            }
            if has_local_memory(&ptx) {
                wrong.push(format!("{name}, sm_{arch}: local memory"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The assembly of a kernel, compiled as CubeCL's CUDA runtime does.
fn compile(definition: KernelDefinition, arch: u32) -> String {
    let mut compiler = PlironCompiler {
        target: LlvmTarget::Nvptx,
    };
    let options = PlironOptions {
        sm_arch: Some(SmArch::new(arch, true)),
        ptx_version: PtxVersion::for_driver(DRIVER),
        grid_constants: true,
        ..Default::default()
    };
    match compiler.compile(definition, &options) {
        Ok(PlironArtifact::NvptxCode(module)) => {
            let bytes: Vec<u8> = module.ptx.iter().map(|&c| c as u8).collect();
            let text = bytes.strip_suffix(&[0]).unwrap_or(&bytes);
            String::from_utf8(text.to_vec()).expect("PTX is ASCII")
        }
        Ok(_) => unreachable!("the target is NVPTX"),
        Err(error) => panic!("sm_{arch}: {error:?}"),
    }
}

/// An NVIDIA GPU as far as a kernel can ask when it is expanded.
fn device() -> Arc<DeviceProperties> {
    let hardware = HardwareProperties {
        load_width: 128,
        vector_register_count: None,
        plane_size_min: 32,
        plane_size_max: 32,
        max_bindings: 32,
        max_shared_memory_size: 48 << 10,
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
