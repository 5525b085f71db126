//! What the loops need of a vector register.

use half::bf16;

/// A register of `f32` lanes, and the instructions for it. A value of such a type is the proof that the
/// processor has them.
///
/// All methods must be inlined into a function that is compiled for these instructions.
pub(super) trait Register: Copy {
    /// Number of lanes.
    const LANES: usize;
    /// `f32` lanes.
    type Floats: Copy;

    /// All lanes zero.
    fn zero(self) -> Self::Floats;
    /// The first values of a slice.
    fn load(self, values: &[f32]) -> Self::Floats;
    /// The first values of a slice.
    fn widen(self, values: &[bf16]) -> Self::Floats;
    /// Asks for the cache lines of as many elements as a slice has, `ahead` elements behind it.
    fn prefetch(self, values: &[bf16], ahead: usize);
    /// `a * b + c`.
    fn multiply_add(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// `a + b`.
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// The sum of all lanes.
    fn sum(self, values: Self::Floats) -> f32;
}

/// Elements of a cache line.
pub(super) const LINE: usize = 32;

/// The largest number of lanes.
pub(super) const MAX_LANES: usize = 16;
