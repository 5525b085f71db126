//! Every kernel compiled for an H100, without one: what only shows in the assembly.
//!
//! `PTX_DIR=DIR` keeps the assembly, `NAME.sm_90.ptx`; `scripts/ptxas-table DIR` reads it.

use std::path::PathBuf;
use std::sync::Arc;

use cubecl::ir::features::Features;
use cubecl::ir::nvidia::SmArch;

use cubecl::ir::types::matrix::MatrixLayout;
use cubecl::ir::{
    ContiguousElements, DeviceIdentity, FloatKind, HardwareProperties, MemoryDeviceProperties,
    MmaProperties,
};
use cubecl::prelude::*;
use cubecl::{Compiler, CubeKernel};
use cubecl_llvm::nvptx::ptx_version::PtxVersion;
use cubecl_llvm::{LlvmTarget, PlironArtifact, PlironCompiler, PlironOptions};

use super::geometry::GeometryCompilationArg;
use super::mma::{self, MmaSplit};
use super::rows::{self, RowSplit, Side};
use super::statistics::{SumSplit, sink_parts, sink_sums, statistics};

/// The oldest driver that loads code for an H100 and later ones, CUDA 12.8.
const DRIVER: i32 = 12080;
const ARCH: u32 = 90;

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

fn tile() -> usize {
    std::env::var("PTX_TILE").map_or(64, |n| n.parse().expect("number"))
}

fn group() -> usize {
    std::env::var("PTX_GROUP").map_or(8, |n| n.parse().expect("number"))
}

const F32: ElemType = ElemType::Float(FloatKind::F32);
const BF16: ElemType = ElemType::Float(FloatKind::BF16);
const F16: ElemType = ElemType::Float(FloatKind::F16);

#[test]
fn tensor_cores_do_the_products() {
    for (float, name) in [(BF16, "bf16"), (F16, "f16")] {
        for segmented in [false, true] {
            for (planes, bands) in [(8, 1), (4, 1), (4, 2)] {
                let kernel = forward_mma(float, planes, bands, segmented);
                let name = format!("attention_mma-{name}-{planes}x{bands}-{segmented}");
                check_mma(&name, kernel, bands * 68 * tile() / 64);
            }
            for planes in [4, 8] {
                let what = format!("attention_mma_query-{name}-{planes}-{segmented}");
                check_mma(&what, query_mma(float, planes, segmented), 96 * tile() / 64);
                let what = format!("attention_mma_key-{name}-{planes}-{segmented}");
                check_mma(&what, key_mma(float, planes, segmented), 128 * tile() / 64);
            }
        }
    }
}

/// Products of 16 x 8 x 16 in a tile; all operands and results are registers.
fn check_mma(name: &str, kernel: KernelDefinition, products: usize) {
    let ptx = compile(name, kernel);
    let count = |what: &str| ptx.matches(what).count();
    assert_eq!(count("mma.sync.aligned.m16n8k16"), products, "{name}");
    assert!(count("ldmatrix.sync.aligned.m8n8.x4") > 0, "{name}");
    assert!(
        count("ld.global.v4.b32") + count("ld.global.nc.v4.b32") > 0
            || count("ld.global.v2.b64") > 0,
        "{name}"
    );
    assert!(!ptx.contains(".local"), "{name}: local memory");
}

#[test]
fn rows_are_in_registers() {
    let split = |segmented| RowSplit {
        vectors: 16,
        units: 64,
        tile: 32,
        segmented,
        native: false,
    };
    for (float, name) in [(F32, "f32"), (BF16, "bf16")] {
        for segmented in [false, true] {
            let split = split(segmented);
            let kernels = [
                ("forward", forward_rows(float, split)),
                ("query", query_rows(float, split)),
                ("key", key_rows(float, split, Side::Key)),
                ("value", key_rows(float, split, Side::Value)),
            ];
            for (what, kernel) in kernels {
                let name = format!("attention_rows_{what}-{name}-{segmented}");
                let ptx = compile(&name, kernel);
                assert!(!ptx.contains(".local"), "{name}: local memory");
            }
        }
        for (what, kernel) in sums(float) {
            let ptx = compile(&format!("attention_{what}-{name}"), kernel);
            assert!(!ptx.contains(".local"), "{what}: local memory");
        }
    }
}

fn settings(units: usize) -> KernelSettings {
    KernelSettings::new(
        *CubeDim::new_1d(units as u32),
        ExecutionMode::Unchecked,
        AddressType::U32,
    )
}

fn forward_mma(float: ElemType, planes: usize, bands: usize, segmented: bool) -> KernelDefinition {
    let split = MmaSplit {
        planes,
        bands,
        group: group(),
        tile: tile(),
        segmented,
    };
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

fn query_mma(float: ElemType, planes: usize, segmented: bool) -> KernelDefinition {
    let split = MmaSplit {
        planes,
        bands: 1,
        group: group(),
        tile: tile(),
        segmented,
    };
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

fn key_mma(float: ElemType, planes: usize, segmented: bool) -> KernelDefinition {
    let split = MmaSplit {
        planes,
        bands: 1,
        group: group(),
        tile: tile(),
        segmented,
    };
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

fn forward_rows(float: ElemType, split: RowSplit) -> KernelDefinition {
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

fn query_rows(float: ElemType, split: RowSplit) -> KernelDefinition {
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

fn key_rows(float: ElemType, split: RowSplit, side: Side) -> KernelDefinition {
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

fn sums(float: ElemType) -> [(&'static str, KernelDefinition); 3] {
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

/// The assembly of a kernel, compiled as CubeCL's CUDA runtime does.
fn compile(name: &str, definition: KernelDefinition) -> String {
    let mut compiler = PlironCompiler {
        target: LlvmTarget::Nvptx,
    };
    let options = PlironOptions {
        sm_arch: Some(SmArch::new(ARCH, true)),
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
        Err(error) => panic!("{name}: {error:?}"),
    };
    if let Some(directory) = std::env::var_os("PTX_DIR").map(PathBuf::from) {
        let file = directory.join(format!("{name}.sm_{ARCH}.ptx"));
        std::fs::write(file, &ptx).expect("PTX_DIR is a directory");
    }
    ptx
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
