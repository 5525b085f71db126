//! What differs between two packings of a tensor.

use core::fmt;
use core::mem::discriminant;

use serde::Serialize;

use crate::codec::e2m1;
use crate::codec::format::{Format, FormatTask, with_format};
use crate::error::Fp4Error;
use crate::packed::PackedFp4;
use crate::parallel::map;
use crate::scheme::Fp4Scheme;
use crate::simd::{Kernel, dispatch};

/// Blocks per task.
const CHUNK: usize = 1 << 10;

/// The differences between two packings of a tensor, for instance before and after a training step.
///
/// The three counts measure different changes. If the scale of a block is halved, its scale byte and most
/// of its codes change, and all of its values may stay the same. A new global scale changes every value
/// except zeros, but no code and no scale byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CodeChanges {
    /// Number of elements of either packing.
    pub n_elements: u64,
    /// Elements with another code. `+0` and `-0` are two codes.
    pub codes: u64,
    /// Blocks with another scale byte.
    pub scales: u64,
    /// Elements that decode to another number in `f32`. `+0` and `-0` are one number here, and so
    /// are all NaN, which a scale byte can mean.
    pub values: u64,
}

impl CodeChanges {
    /// Share of the elements that decode to another number; 0 without elements.
    pub fn values_fraction(&self) -> f64 {
        self.values as f64 / self.n_elements.max(1) as f64
    }

    fn plus(self, other: Self) -> Self {
        Self {
            n_elements: self.n_elements + other.n_elements,
            codes: self.codes + other.codes,
            scales: self.scales + other.scales,
            values: self.values + other.values,
        }
    }
}

impl fmt::Display for CodeChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} values changed ({:.3} %), {} codes, {} scales",
            self.values,
            self.n_elements,
            100.0 * self.values_fraction(),
            self.codes,
            self.scales,
        )
    }
}

/// Counts what differs between two packings of the same shape.
///
/// The rules that chose the scales may differ: bytes decode alike under every rule. Equal blocks
/// cost one comparison of their bytes.
///
/// # Shapes
///
/// - before, after: `[..., len]`
///
/// # Errors
///
/// If the formats, the block sizes, the shapes or the numbers of global scales differ.
pub fn codes_changed<A: AsRef<[u8]>, B: AsRef<[u8]>>(
    before: &PackedFp4<A>,
    after: &PackedFp4<B>,
) -> Result<CodeChanges, Fp4Error> {
    let kind = |scheme: Fp4Scheme| (discriminant(&scheme), scheme.block_size());
    let alike = kind(before.scheme()) == kind(after.scheme())
        && before.shape() == after.shape()
        && before.global_scales().len() == after.global_scales().len();
    if !alike {
        return Err(Fp4Error::PackedMismatch {
            expected: before.scheme(),
            expected_shape: before.shape().to_vec(),
            found: after.scheme(),
            found_shape: after.shape().to_vec(),
        });
    }
    if before.n_elements() == 0 {
        return Ok(CodeChanges::default());
    }
    let global_scales = [before.global_scales(), after.global_scales()].concat();
    let compare = Compare {
        before: Bytes::of(before),
        after: Bytes::of(after),
    };
    Ok(with_format(&before.scheme(), &global_scales, compare))
}

/// The bytes of a packing, or of some of its blocks.
#[derive(Clone, Copy)]
struct Bytes<'a> {
    codes: &'a [u8],
    scales: &'a [u8],
}

impl<'a> Bytes<'a> {
    fn of<S: AsRef<[u8]>>(packed: &'a PackedFp4<S>) -> Self {
        Self {
            codes: packed.codes(),
            scales: packed.scales(),
        }
    }

    /// Runs of `n_blocks` blocks; the last one may be shorter.
    fn chunks<const N: usize>(self, n_blocks: usize) -> impl Iterator<Item = Self> {
        let codes = self.codes.chunks(n_blocks * N / 2);
        let scales = self.scales.chunks(n_blocks);
        codes
            .zip(scales)
            .map(|(codes, scales)| Bytes { codes, scales })
    }

    #[inline(always)]
    fn blocks<const N: usize>(self) -> impl Iterator<Item = (&'a [u8], u8)> {
        let scales = self.scales.iter().copied();
        self.codes.chunks_exact(N / 2).zip(scales)
    }
}

/// Comparison of two packings, a [`FormatTask`] for the formats of both, one after the other.
struct Compare<'a> {
    before: Bytes<'a>,
    after: Bytes<'a>,
}

impl FormatTask for Compare<'_> {
    type Output = CodeChanges;

    fn run<F: Format, const N: usize>(self, formats: &[F]) -> CodeChanges {
        // Without global scales there is one format, which serves both sides.
        let n_parts = formats.len().div_ceil(2);
        let formats = formats.iter().zip(&formats[formats.len() - n_parts..]);
        let formats: Vec<_> = formats.collect();
        let part = self.before.scales.len() / n_parts;
        let parts = self.before.chunks::<N>(part);
        let parts = parts.zip(self.after.chunks::<N>(part)).zip(formats);
        let changes = map(parts, |((before, after), (&old, &new))| {
            let chunks = before.chunks::<N>(CHUNK).zip(after.chunks::<N>(CHUNK));
            let changes = map(chunks, |(before, after)| {
                dispatch(Blocks::<F, N> {
                    before,
                    after,
                    old,
                    new,
                })
            });
            changes
                .into_iter()
                .fold(CodeChanges::default(), CodeChanges::plus)
        });
        changes
            .into_iter()
            .fold(CodeChanges::default(), CodeChanges::plus)
    }
}

/// Whole blocks one after the other, on both sides.
struct Blocks<'a, F, const N: usize> {
    before: Bytes<'a>,
    after: Bytes<'a>,
    old: F,
    new: F,
}

impl<F: Format, const N: usize> Kernel for Blocks<'_, F, N> {
    type Output = CodeChanges;

    #[inline(always)]
    fn run(self) -> CodeChanges {
        let Self { before, after, .. } = self;
        let mut changes = CodeChanges {
            n_elements: 2 * before.codes.len() as u64,
            ..CodeChanges::default()
        };
        for (before, after) in before.blocks::<N>().zip(after.blocks::<N>()) {
            let (old, new) = (
                self.old.factor_of_byte(before.1),
                self.new.factor_of_byte(after.1),
            );
            changes.scales += u64::from(before.1 != after.1);
            if before.0 != after.0 || old.to_bits() != new.to_bits() {
                changes.add_codes(before.0, old, after.0, new);
            }
        }
        changes
    }
}

impl CodeChanges {
    /// Adds the codes and values of one block.
    #[inline(always)]
    fn add_codes(&mut self, before: &[u8], old: f32, after: &[u8], new: f32) {
        let (mut codes, mut values) = (0u32, 0u32);
        for (&before, &after) in before.iter().zip(after) {
            for shift in [0, 4] {
                let (before, after) = (before >> shift & 0xf, after >> shift & 0xf);
                let (x, y) = (decode(before, old), decode(after, new));
                let both_nan = x.is_nan() & y.is_nan();
                codes = codes.wrapping_add(u32::from(before != after));
                values = values.wrapping_add(u32::from((x != y) & !both_nan));
            }
        }
        self.codes += u64::from(codes);
        self.values += u64::from(values);
    }
}

#[inline(always)]
fn decode(code: u8, factor: f32) -> f32 {
    e2m1::decode_bits(u32::from(code)) * factor
}
