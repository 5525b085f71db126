//! Kernels on the device that `BURN_DEVICE` names, each beside what it cannot be faster than.
//!
//! `cargo bench --bench kernels [--features cuda] [-- FILTER]`; the filter selects rows of the tables that
//! contain it.

#[path = "../support/device.rs"]
mod device;
#[path = "../support/device_table.rs"]
mod device_table;
#[path = "../support/training.rs"]
mod training_model;

mod fake_quantize;
mod generation;
mod pack;
mod products;
mod steps;
mod training;

use device::Target;

/// Keeps the memory of large tensors, which glibc gives back to the system in every step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let target = Target::open("Kernels on a device");
    for (title, run) in [
        ("Fake quantization", fake_quantize::run as fn(&Target)),
        ("Packing", pack::run),
        ("Products with packed weights", products::run),
        ("Products of generation", generation::run),
        ("Operations of a training step", training::run),
        ("Training steps of four layers", steps::run),
    ] {
        println!("\n## {title}\n");
        run(&target);
    }
}
