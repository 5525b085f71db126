//! What the loops need of a vector register.

use half::bf16;

use crate::ops::flex::simd::Kernel;

/// A register of `L` `f32` lanes, and the instructions for it. A value of such a type is the proof that
/// the processor has them.
///
/// All methods but [`run`](Self::run) must be inlined into a function that is compiled for these
/// instructions. Closures are not always: loops that call them do without.
pub(super) trait Register<const L: usize>: Copy {
    /// `f32` lanes.
    type Floats: Copy;

    /// Runs a loop compiled for these instructions.
    fn run<K: Kernel>(self, kernel: K) -> K::Output;
    /// All lanes zero.
    fn zero(self) -> Self::Floats;
    /// A register from memory.
    fn load(self, values: &[f32; L]) -> Self::Floats;
    /// A register from half as much memory.
    fn widen(self, values: &[bf16; L]) -> Self::Floats;
    /// Asks for the cache line `ahead` elements behind, which is read once: caches beyond the first do
    /// without it.
    fn prefetch(self, values: &[bf16; L], ahead: usize);
    /// `a * b + c`.
    fn multiply_add(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// `a + b`.
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// The sum of all lanes.
    fn sum(self, values: Self::Floats) -> f32;
}
