//! Run-time choice of the instruction set for the hot loops.
//!
//! The loops are plain Rust that the compiler vectorizes. They are compiled twice on x86-64: for
//! the baseline (SSE2) and for AVX2; loops of float arithmetic once more, for AVX-512. Rust never
//! contracts `a * b + c`, so all give equal bits.

/// A hot loop. `run` must be `#[inline(always)]`, and so must what it calls, to be compiled for
/// the instruction set that [`dispatch`] chose.
pub trait Kernel {
    /// What the loop returns.
    type Output;

    /// Whether to compile the loop for AVX-512, too. Float arithmetic is worth it; the formats, which move bytes and
    /// compare integers, gain a few percent in some cases and lose a quarter in others.
    const WIDE: bool = false;

    /// Runs the loop.
    fn run(self) -> Self::Output;
}

/// Runs `kernel` with the widest instruction set that this processor has and the kernel gains from.
#[allow(unsafe_code)]
pub fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    if K::WIDE
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
    {
        // SAFETY: the processor was just asked for all four features.
        return unsafe { run_avx512(kernel) };
    }
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

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Asks for the cache line of an element ahead of its use, if there is such an element.
#[inline(always)]
#[allow(unsafe_code)]
pub(crate) fn prefetch<T>(values: &[T], index: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(value) = values.get(index) {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the address is that of an element; the instruction changes no memory.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, index);
}

/// [`prefetch`] for `len` elements from `start`.
///
/// A loop that alternates between reading memory and computing on what it read waits for the memory
/// otherwise: hardware prefetchers run ahead of reads alone.
#[inline(always)]
pub(crate) fn prefetch_run<T>(values: &[T], start: usize, len: usize) {
    for line in 0..(len * size_of::<T>()).div_ceil(LINE) {
        prefetch(values, start + line * (LINE / size_of::<T>()));
    }
}

/// Partial sums: eight registers of eight.
const LANES: usize = 64;

/// Sum of partial sums: registers in a tree, then halves of the one that is left. Flex adds in this
/// order where registers hold eight floats, so a sum keeps the bits it has from plain tensors.
#[inline(always)]
fn sum(mut lanes: [f32; LANES]) -> f32 {
    for distance in [8, 16, 32, 4, 2, 1] {
        for lane in 0..LANES - distance {
            lanes[lane] += lanes[lane + distance];
        }
    }
    lanes[0]
}

/// The sum of `a[i] * b[i]`, in an order that depends on the length alone.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (mut a, mut b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for (a, b) in (&mut a).zip(&mut b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    let rest = a.remainder().iter().zip(b.remainder());
    sum(lanes) + rest.map(|(a, b)| a * b).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What float loops are made of, for any width.
    struct Arithmetic<'a, const WIDE: bool> {
        x: &'a [f32],
        out: &'a mut [f32],
    }

    impl<const WIDE: bool> Kernel for Arithmetic<'_, WIDE> {
        type Output = f32;
        const WIDE: bool = WIDE;

        #[inline(always)]
        fn run(self) -> f32 {
            for (out, x) in self.out.iter_mut().zip(self.x) {
                *out = (x * 1.7 + 0.3) / (x.abs() + 1.1).sqrt() - x * x;
            }
            dot(self.x, self.out)
        }
    }

    #[test]
    fn all_instruction_sets_give_equal_bits() {
        let x: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
        let run = |kernel: &dyn Fn(&mut [f32]) -> f32| {
            let mut out = vec![0.0; x.len()];
            let sum = kernel(&mut out);
            let bits = out.iter().map(|value| value.to_bits());
            (sum.to_bits(), bits.collect::<Vec<_>>())
        };
        let baseline = run(&|out| Arithmetic::<false> { x: &x, out }.run());
        let narrow = run(&|out| dispatch(Arithmetic::<false> { x: &x, out }));
        let wide = run(&|out| dispatch(Arithmetic::<true> { x: &x, out }));
        assert!(narrow == baseline && wide == baseline);
    }
}
