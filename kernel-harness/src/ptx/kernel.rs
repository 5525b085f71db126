//! A list of kernels, and what they must do with memory.

use cubecl::prelude::*;

use super::assembly::{Traffic, has_local_memory, instructions};
use super::compile;

/// A100, H100 and H200, RTX 50.
const ARCHITECTURES: [u32; 3] = [80, 90, 120];

/// A kernel as it is launched on large tensors.
pub struct Kernel {
    /// A name of its own.
    pub name: &'static str,
    /// Expands the kernel.
    pub definition: fn() -> KernelDefinition,
    /// What it does with global memory.
    pub traffic: Traffic,
}

impl Kernel {
    /// One line of a list. `loads`: all, those of 16 bytes, those ahead of the first store; `stores`:
    /// all, those of 16 bytes.
    pub const fn new(
        name: &'static str,
        definition: fn() -> KernelDefinition,
        [loads, wide_loads, ahead]: [usize; 3],
        [stores, wide_stores]: [usize; 2],
        divisions: usize,
    ) -> Self {
        let traffic = Traffic {
            loads,
            wide_loads,
            ahead,
            stores,
            wide_stores,
            divisions,
        };
        Self {
            name,
            definition,
            traffic,
        }
    }
}

/// Compiles kernels for every architecture, and prints a table.
///
/// # Panics
/// If one has arrays in local memory or does something else with global memory than it says.
pub fn check(kernels: &[Kernel]) {
    let mut wrong = Vec::new();
    println!("{:<40} arch lines {}", "kernel", Traffic::HEADER);
    for kernel in kernels {
        let name = kernel.name;
        for arch in ARCHITECTURES {
            let ptx = compile(name, (kernel.definition)(), arch);
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
