//! Every kernel compiled for an H100, without one: what only shows in the assembly.
//!
//! `PTX_DIR=DIR` keeps the assembly, `NAME.sm_90.ptx`; `scripts/ptxas-table DIR` reads it.

mod definitions;

use std::path::PathBuf;

use cubecl::Compiler;
use cubecl::ir::FloatKind;
use cubecl::ir::nvidia::SmArch;
use cubecl::prelude::*;
use cubecl_llvm::nvptx::ptx_version::PtxVersion;
use cubecl_llvm::{LlvmTarget, PlironArtifact, PlironCompiler, PlironOptions};

use super::backward::{KEY_CUT, QUERY_CUT};
use super::forward::CUT;
use super::mma::MmaSplit;
use super::rows::{RowSplit, Side};
use definitions::{
    attend_mma, attend_rows, key_gradient_mma, key_gradient_rows, query_gradient_mma,
    query_gradient_rows, sums,
};

/// The oldest driver that loads code for an H100 and later ones, CUDA 12.8.
const DRIVER: i32 = 12080;
const ARCH: u32 = 90;

const F32: ElemType = ElemType::Float(FloatKind::F32);
const BF16: ElemType = ElemType::Float(FloatKind::BF16);
const F16: ElemType = ElemType::Float(FloatKind::F16);

type Definition = fn(ElemType, MmaSplit) -> KernelDefinition;

/// Kernels on tensor cores, how they are launched, and products of 16 x 8 x 16 for a band and 16 rows
/// of a tile.
const MMA: [(&str, Definition, [usize; 3], usize); 3] = [
    // One is for the sums of weights.
    ("attend", attend_mma, CUT, 17),
    ("query_gradient", query_gradient_mma, QUERY_CUT, 24),
    ("key_gradient", key_gradient_mma, KEY_CUT, 32),
];

#[test]
fn tensor_cores_do_the_products() {
    for (what, kernel, [planes, bands, tile], products) in MMA {
        for (float, dtype) in [(BF16, "bf16"), (F16, "f16")] {
            for segmented in [false, true] {
                let split = MmaSplit {
                    planes,
                    bands,
                    group: 8,
                    tile,
                    segmented,
                };
                let name = format!("{what}_mma-{dtype}-{segmented}");
                let ptx = compile(&name, kernel(float, split));
                let count = |what: &str| ptx.matches(what).count();
                let expected = products * bands * tile / 16;
                assert_eq!(count("mma.sync.aligned.m16n8k16"), expected, "{name}");
                assert!(count("ldmatrix.sync.aligned.m8n8.x4") > 0, "{name}");
                // Both tiles at the start, and again while the first is worked on.
                let loads = count("ld.global.nc.v4.b32") + count("ld.global.v4.b32");
                assert_eq!(
                    loads,
                    4 * tile * 8 / split.units(),
                    "{name}: loads of 16 bytes"
                );
                assert!(!ptx.contains(".local"), "{name}: local memory");
            }
        }
    }
}

#[test]
fn rows_are_in_registers() {
    for (float, dtype) in [(F32, "f32"), (BF16, "bf16")] {
        for segmented in [false, true] {
            let split = RowSplit {
                vectors: 16,
                units: 64,
                tile: 32,
                segmented,
                native: false,
            };
            let kernels = [
                ("attend", attend_rows(float, split)),
                ("query_gradient", query_gradient_rows(float, split)),
                ("key_gradient", key_gradient_rows(float, split, Side::Key)),
                (
                    "value_gradient",
                    key_gradient_rows(float, split, Side::Value),
                ),
            ];
            for (what, kernel) in kernels {
                let name = format!("{what}_rows-{dtype}-{segmented}");
                let ptx = compile(&name, kernel);
                assert!(!ptx.contains(".local"), "{name}: local memory");
            }
        }
        for (what, kernel) in sums(float) {
            let ptx = compile(&format!("{what}-{dtype}"), kernel);
            assert!(!ptx.contains(".local"), "{what}: local memory");
        }
    }
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
