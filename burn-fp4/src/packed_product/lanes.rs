//! What the loops need of a vector register.
//!
//! A *chunk* is what one register of codes holds: eight codes in each of its `u32` lanes, so `8 * LANES`
//! elements.

use super::matrix::ScaleFormat;

/// A register of `f32` or `u32` lanes, and the instructions for it. A value of such a type is the
/// proof that the processor has them.
///
/// All methods must be inlined into a function that is compiled for these instructions.
pub(super) trait Lanes: Copy {
    /// Number of lanes.
    const LANES: usize;
    /// Outputs with registers enough to be computed together with four rows.
    const OUTPUTS: usize;
    /// `f32` lanes.
    type Floats: Copy;
    /// Bytes, which are also `u32` lanes.
    type Words: Copy;

    /// All lanes zero.
    fn zero(self) -> Self::Floats;
    /// The first values of a slice.
    fn load(self, values: &[f32]) -> Self::Floats;
    /// The first `4 * LANES` bytes of a slice; zeros where it is shorter.
    fn bytes(self, bytes: &[u8]) -> Self::Words;
    /// Asks for the cache line `ahead` bytes behind the start of a slice.
    fn prefetch(self, bytes: &[u8], ahead: usize);
    /// The E2M1 values of the low nibbles of the lanes.
    fn values(self, codes: Self::Words) -> Self::Floats;
    /// The lanes shifted down to the next nibble.
    fn next(self, codes: Self::Words) -> Self::Words;
    /// What the scale bytes of a chunk, lowest first, mean for each lane. The E8M0 byte for NaN may give
    /// infinity.
    fn scales(self, format: ScaleFormat, bytes: u64) -> Self::Floats;
    /// `a * b`.
    fn multiply(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b + c`.
    fn multiply_add(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// `a + b`.
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// The sum of all lanes.
    fn sum(self, values: Self::Floats) -> f32;
}

/// The registers of a chunk in the domain of integers.
pub(super) trait IntegerLanes: Lanes {
    /// Doubled E2M1 values plus [`OFFSET`], a byte for each low nibble, and the same for the high nibbles.
    fn doubled(self, codes: Self::Words) -> [Self::Words; 2];
    /// `start` plus the sums of products of the bytes of each lane: those of the first factors, unsigned,
    /// with the first `4 * LANES` integers of `row`, those of the second with as many after them.
    fn dot(self, factors: [Self::Words; 2], row: &[i8], start: &[i32]) -> Self::Floats;
}

/// What makes all doubled E2M1 values unsigned, as the instructions want one factor.
pub(super) const OFFSET: i32 = 12;

/// Scale bytes as one number, the first one lowest. At most eight.
#[inline(always)]
pub(super) fn scale_word(bytes: &[u8]) -> u64 {
    match *bytes {
        [a, b] => u64::from(u16::from_le_bytes([a, b])),
        [a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => {
            let bytes = bytes.iter().rev();
            bytes.fold(0, |word, &byte| word << 8 | u64::from(byte))
        }
    }
}

/// E2M1 values by code.
pub(super) const VALUES: [f32; 16] = crate::e2m1::VALUES;

/// Doubled E2M1 values plus [`OFFSET`] by code.
pub(super) const DOUBLED: [u8; 16] = {
    let mut doubled = [0; 16];
    let mut code = 0;
    while code < 16 {
        doubled[code] = (VALUES[code] * 2.0) as i32 as u8;
        doubled[code] = doubled[code].wrapping_add(OFFSET as u8);
        code += 1;
    }
    doubled
};
