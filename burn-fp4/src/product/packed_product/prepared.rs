//! Rows in the order and for the instructions that multiply them.

use super::super::lanes::Portable;
#[cfg(target_arch = "x86_64")]
use super::super::lanes::{Avx2, Avx512};
use super::nibble_rows::NibbleRows;
use super::task::Task;

/// Rows for an instruction set.
pub(super) enum Prepared {
    Portable(NibbleRows<Portable, 8>),
    #[cfg(target_arch = "x86_64")]
    Avx2(NibbleRows<Avx2, 8>),
    #[cfg(target_arch = "x86_64")]
    Avx512(NibbleRows<Avx512, 16>),
}

impl Prepared {
    /// Rows for the best instructions of this processor.
    pub fn new(values: &[f32], d_input: usize) -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(lanes) = Avx512::detect() {
                return Self::Avx512(NibbleRows::new(lanes, values, d_input));
            }
            if let Some(lanes) = Avx2::detect() {
                return Self::Avx2(NibbleRows::new(lanes, values, d_input));
            }
        }
        Self::Portable(NibbleRows::new(Portable, values, d_input))
    }

    /// Rows for each of the instruction sets that this processor has.
    #[cfg(test)]
    pub fn all(values: &[f32], d_input: usize) -> Vec<Self> {
        let mut all = vec![Self::Portable(NibbleRows::new(Portable, values, d_input))];
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(lanes) = Avx2::detect() {
                all.push(Self::Avx2(NibbleRows::new(lanes, values, d_input)));
            }
            all.push(Self::new(values, d_input));
        }
        all
    }

    pub fn multiply(&self, task: Task<'_>) {
        match self {
            Self::Portable(rows) => rows.multiply(task),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(rows) => rows.multiply(task),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(rows) => rows.multiply(task),
        }
    }
}
