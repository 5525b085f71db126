//! Run-time choice of the instruction set for the hot loops.
//!
//! The loops are plain Rust that the compiler vectorizes. They are compiled twice on x86-64: for
//! the baseline (SSE2) and for AVX2. Rust never contracts `a * b + c`, so both give equal bits.

/// A hot loop. `run` must be `#[inline(always)]`, and so must what it calls, to be compiled for
/// the instruction set that [`dispatch`] chose.
pub(crate) trait Kernel {
    /// What the loop returns.
    type Output;

    /// Runs the loop.
    fn run(self) -> Self::Output;
}

/// Runs `kernel` with the widest instruction set this processor has.
#[allow(unsafe_code)]
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor was just asked for the feature.
        return unsafe { run_avx2(kernel) };
    }
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

/// Partial results of a loop that reduces: four registers of eight, which hide the latency of an
/// addition, in an order that does not depend on the processor.
pub(crate) const LANES: usize = 32;

/// Sum of partial results, in a tree.
#[inline(always)]
pub(crate) fn sum(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}
