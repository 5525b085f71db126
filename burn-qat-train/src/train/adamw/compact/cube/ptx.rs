//! The step compiled for NVIDIA GPUs.

use cubecl::CubeKernel;
use cubecl::prelude::*;
use kernel_harness::ptx::{BUFFER, Kernel, check, device, settings, target};

use super::kernel::{FactorsCompilationArg, compact_update};
use crate::train::adamw::compact::{Masters, Moments};

#[rustfmt::skip] // A kernel, a line.
const KERNELS: [Kernel; 3] = [
    Kernel::new("compact_adamw-split24", split24, [20, 18, 20], [12, 10], 226),
    Kernel::new("compact_adamw-f32", f32, [22, 20, 22], [14, 12], 226),
    Kernel::new("compact_adamw-bf16", bf16, [18, 16, 18], [10, 8], 226),
];

#[test]
fn steps_compile_to_wide_loads() {
    check(&KERNELS);
}

fn split24() -> KernelDefinition {
    definition(Masters::Split24)
}

fn f32() -> KernelDefinition {
    definition(Masters::F32)
}

fn bf16() -> KernelDefinition {
    definition(Masters::Bf16)
}

fn definition(masters: Masters) -> KernelDefinition {
    let factors = FactorsCompilationArg {
        beta_1: (),
        beta_2: (),
        bias_1: (),
        bias_2: (),
        epsilon: (),
        learning_rate: (),
        kept: (),
        coefficient: (),
    };
    compact_update::CompactUpdate::new(
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
        factors,
        (),
        (),
        super::VECTOR,
        masters,
        Moments::Companded8,
    )
    .define()
}
