//! Few rows times a matrix as checkpoints store it.

use burn::backend::cubecl::dtype_to_elem_type;
use burn::tensor::DType;
use cubecl::CubeKernel;
use cubecl::prelude::*;

use super::{BUFFER, Kernel, check, device, settings, target};
use crate::ops::cube::Team;
use crate::ops::cube::gemv::kernel::gemv::Gemv;
use crate::ops::cube::gemv::kernel::{GemvShapeCompilationArg, GemvSplit};

/// A load per output and row and turn; rows in `f32` take two.
const KERNELS: [Kernel; 4] = [
    Kernel {
        name: "gemv-bf16",
        definition: || definition(1, 4, DType::BF16),
        wide: [5, 0],
    },
    Kernel {
        name: "gemv-2-bf16",
        definition: || definition(2, 4, DType::BF16),
        wide: [6, 0],
    },
    Kernel {
        name: "gemv-4-bf16",
        definition: || definition(4, 2, DType::BF16),
        wide: [6, 0],
    },
    Kernel {
        name: "gemv-f32-bf16",
        definition: || definition(1, 4, DType::F32),
        wide: [6, 0],
    },
];

#[test]
fn few_rows_compile_to_wide_loads() {
    check(&KERNELS);
}

fn definition(rows: usize, outputs: usize, row_type: DType) -> KernelDefinition {
    let shape = GemvShapeCompilationArg {
        n_rows: (),
        n_outputs: (),
        n_vectors: (),
        row_pitch: (),
        column_pitch: (),
    };
    let split = GemvSplit {
        rows,
        outputs,
        team: Team::of_planes(128),
    };
    Gemv::new(
        settings(128),
        device(),
        target(),
        BUFFER,
        BUFFER,
        ComptimeOptionCompilationArg::Some(BUFFER),
        BUFFER,
        shape,
        8,
        split,
        dtype_to_elem_type(row_type),
        dtype_to_elem_type(DType::BF16),
        dtype_to_elem_type(row_type),
    )
    .define()
}
