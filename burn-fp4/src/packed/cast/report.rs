//! What a cast tells about itself.

use core::fmt;
use core::ops::{Add, AddAssign};

/// What a cast from MXFP4 to NVFP4 did, in MXFP4 blocks of 32. Reports of several tensors add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CastReport {
    /// All blocks.
    pub n_blocks: usize,
    /// Blocks with a representable scale, whose codes were copied, and blocks of zeros.
    pub n_exact: usize,
    /// Blocks with at least one element whose value changed; at most `n_blocks - n_exact`, because
    /// rounding the codes anew may leave them all in place.
    pub n_changed: usize,
}

impl CastReport {
    /// Whether every element has the value it had.
    pub const fn is_lossless(&self) -> bool {
        self.n_changed == 0
    }
}

impl Add for CastReport {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            n_blocks: self.n_blocks + other.n_blocks,
            n_exact: self.n_exact + other.n_exact,
            n_changed: self.n_changed + other.n_changed,
        }
    }
}

impl AddAssign for CastReport {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl fmt::Display for CastReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            n_blocks,
            n_exact,
            n_changed,
        } = self;
        write!(f, "{n_exact} of {n_blocks} blocks exact")?;
        match n_blocks - n_exact {
            0 => Ok(()),
            rounded => write!(f, ", {rounded} rounded anew, {n_changed} changed in value"),
        }
    }
}
