//! Every kernel compiled for NVIDIA GPUs, without one.

mod catalog;

use kernel_harness::ptx::check;

#[test]
fn kernels_compile_to_what_gpus_need() {
    check(catalog::KERNELS);
}
