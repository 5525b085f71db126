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
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor was just asked for both features.
        return unsafe { run_avx2(kernel) };
    }
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

/// Asks for the cache lines of `values` ahead of their use.
///
/// A loop that alternates between reading memory and computing on what it read waits for the memory
/// otherwise: hardware prefetchers run ahead of reads alone.
#[inline(always)]
#[allow(unsafe_code)]
pub(crate) fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        const LINE: usize = 64;
        for first in values.iter().step_by(LINE / size_of::<T>()) {
            // SAFETY: the address is that of an element; the instruction changes no memory.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(first).cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

/// As much of `len` elements from `start` as there is.
#[inline(always)]
pub(crate) fn window<T>(values: &[T], start: usize, len: usize) -> &[T] {
    let end = values.len().min(start + len);
    values.get(start..end).unwrap_or_default()
}
