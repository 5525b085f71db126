//! Every kernel compiled for an H100, without one: what only shows in the assembly.

mod definitions;

use cubecl::ir::FloatKind;
use cubecl::prelude::*;
use kernel_harness::ptx::{compile, has_local_memory};

use super::backward::{KEY_CUT, QUERY_CUT};
use super::forward::CUT;
use super::mma::MmaSplit;
use super::rows::{RowSplit, Side};
use definitions::{
    attend_mma, attend_rows, key_gradient_mma, key_gradient_rows, query_gradient_mma,
    query_gradient_rows, sums,
};

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
                let ptx = compile(&name, kernel(float, split), ARCH);
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
                assert!(!has_local_memory(&ptx), "{name}: local memory");
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
                let ptx = compile(&name, kernel, ARCH);
                assert!(!has_local_memory(&ptx), "{name}: local memory");
            }
        }
        for (what, kernel) in sums(float) {
            let ptx = compile(&format!("{what}-{dtype}"), kernel, ARCH);
            assert!(!has_local_memory(&ptx), "{what}: local memory");
        }
    }
}
