//! Few rows times a weight as checkpoints store it.

use burn::backend::cubecl::dtype_to_elem_type;
use burn::tensor::DType;
use burn::tensor::DType::{BF16, F32};
use cubecl::CubeKernel;
use cubecl::prelude::*;
use kernel_harness::ptx::{BUFFER, Kernel, check, device, settings, target};

use super::{SHAPE, when};
use crate::ops::kernels::arithmetic::Arithmetic;
use crate::ops::kernels::format::{BlockScales, KernelFormat};
use crate::product::cube::few_rows::kernel::FewRowsSplit;
use crate::product::cube::few_rows::kernel::few_rows::FewRows;
use crate::product::cube::team::Team;
use crate::scheme::Fp4Scheme;

/// Dense: a load per output and row and turn; rows in `f32` take two. Packed: a load of codes and one of a
/// scale byte, or two, per output, and four of every row.
#[rustfmt::skip] // A kernel, a line.
const KERNELS: [Kernel; 8] = [
    Kernel::new("few_rows-bf16", || dense(1, 4, BF16), [9, 5, 6], [4, 0], 0),
    Kernel::new("few_rows-2-bf16", || dense(2, 4, BF16), [14, 6, 7], [8, 0], 0),
    Kernel::new("few_rows-4-bf16", || dense(4, 2, BF16), [14, 6, 7], [8, 0], 0),
    Kernel::new("few_rows-f32-bf16", || dense(1, 4, F32), [10, 6, 7], [4, 0], 0),
    Kernel::new("few_rows-mxfp4-bf16", || packed(&Fp4Scheme::mxfp4(), 1, 4, false), [16, 8, 13], [4, 0], 0),
    Kernel::new("few_rows-mxfp4-4-bf16", || packed(&Fp4Scheme::mxfp4(), 4, 2, false), [28, 18, 21], [8, 0], 0),
    Kernel::new("few_rows-mxfp4-experts-bf16", || packed(&Fp4Scheme::mxfp4(), 1, 4, true), [26, 8, 23], [4, 0], 0),
    Kernel::new("few_rows-nvfp4-bf16", || packed(&Fp4Scheme::nvfp4(), 1, 4, false), [20, 8, 17], [4, 0], 0),
];

#[test]
fn few_rows_compile_to_wide_loads() {
    check(&KERNELS);
}

fn dense(rows: usize, outputs: usize, row_type: DType) -> KernelDefinition {
    definition(None, rows, outputs, row_type, false)
}

fn packed(scheme: &Fp4Scheme, rows: usize, outputs: usize, experts: bool) -> KernelDefinition {
    let format = KernelFormat::decoding(scheme, Arithmetic::Float);
    definition(Some(format), rows, outputs, BF16, experts)
}

fn definition(
    format: Option<KernelFormat>,
    rows: usize,
    outputs: usize,
    row_type: DType,
    experts: bool,
) -> KernelDefinition {
    let split = FewRowsSplit {
        rows,
        outputs,
        team: Team::of_planes(128),
        top_k: experts.then_some(4),
    };
    FewRows::new(
        settings(128),
        device(),
        target(),
        BUFFER,
        when(format.is_none()),
        when(format.is_some()),
        when(format.is_some()),
        when(format.is_some_and(|format| format.scales == BlockScales::Nv)),
        when(experts),
        when(experts),
        when(true),
        BUFFER,
        SHAPE,
        8,
        4,
        split,
        format,
        dtype_to_elem_type(row_type),
        dtype_to_elem_type(BF16),
        dtype_to_elem_type(row_type),
    )
    .define()
}
