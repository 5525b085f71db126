//! Codes of a weight with a low-rank delta.

use cubecl::CubeKernel;
use cubecl::prelude::*;
use kernel_harness::ptx::{BUFFER, Kernel, check, device, settings, target};

use crate::ops::kernels::arithmetic::Arithmetic;
use crate::ops::kernels::float_words::FloatWords;
use crate::ops::kernels::format::KernelFormat;
use crate::product::experts::cube::merge::kernel::merge::Merge;
use crate::product::experts::cube::merge::kernel::{Base, MergeShapeCompilationArg};
use crate::scheme::Fp4Scheme;

/// In a loop over four blocks, for each its words of codes, each with its scale byte, or its floats; two offsets; and
/// in a loop over the rank a factor of `b` and the inputs of `a`. NVFP4 adds global scales.
#[rustfmt::skip] // A kernel, a line.
const KERNELS: [Kernel; 3] = [
    Kernel::new("merge-mxfp4", || definition(packed(), &Fp4Scheme::mxfp4()), [43, 0, 0], [5, 0], 0),
    Kernel::new("merge-nvfp4", || definition(packed(), &Fp4Scheme::nvfp4()), [24, 0, 0], [3, 0], 2),
    Kernel::new("merge-mxfp4-dense-bf16", || definition(Base::Dense(FloatWords::BF16), &Fp4Scheme::mxfp4()), [67, 0, 0], [5, 0], 0),
];

#[test]
fn merging_compiles_without_local_memory() {
    check(&KERNELS);
}

fn packed() -> Base {
    Base::Packed(KernelFormat::decoding(
        &Fp4Scheme::mxfp4(),
        Arithmetic::Float,
    ))
}

fn definition(base: Base, scheme: &Fp4Scheme) -> KernelDefinition {
    let Some(format) = KernelFormat::quantizing(scheme, Arithmetic::Float) else {
        unreachable!("a rule with a kernel")
    };
    let shape = MergeShapeCompilationArg {
        n_blocks: (),
        d_input: (),
        d_output: (),
        rank: (),
        base_global_scales: (),
        global_scales: (),
    };
    Merge::new(
        settings(256),
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
        BUFFER,
        shape,
        (),
        (),
        base,
        format,
    )
    .define()
}
