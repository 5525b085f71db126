//! Rows in the representation and for the instructions that multiply them.

use super::integers::Integers;
use super::planes::Planes;
use super::portable::Portable;
use super::task::Task;
#[cfg(target_arch = "x86_64")]
use super::{avx2::Avx2, avx512::Avx512};

/// Rows as they are, or rounded to eight bits, for an instruction set.
pub(super) enum Prepared {
    Portable(Planes<Portable, 8>),
    PortableInt8(Integers<Portable, 8>),
    #[cfg(target_arch = "x86_64")]
    Avx2(Planes<Avx2, 8>),
    #[cfg(target_arch = "x86_64")]
    Avx2Int8(Integers<Avx2, 8>),
    #[cfg(target_arch = "x86_64")]
    Avx512(Planes<Avx512<false>, 16>),
    #[cfg(target_arch = "x86_64")]
    Avx512Int8(Integers<Avx512<true>, 16>),
}

impl Prepared {
    /// Rows as they are, for the best instructions of this processor.
    pub fn exact(values: &[f32], d_input: usize) -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(lanes) = Avx512::<false>::detect() {
                return Self::Avx512(Planes::new(lanes, values, d_input));
            }
            if let Some(lanes) = Avx2::detect() {
                return Self::Avx2(Planes::new(lanes, values, d_input));
            }
        }
        Self::Portable(Planes::new(Portable, values, d_input))
    }

    /// Rounded rows, for the best instructions of this processor.
    pub fn int8(values: &[f32], d_input: usize) -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(lanes) = Avx512::<true>::detect() {
                return Self::Avx512Int8(Integers::new(lanes, values, d_input));
            }
            if let Some(lanes) = Avx2::detect() {
                return Self::Avx2Int8(Integers::new(lanes, values, d_input));
            }
        }
        Self::PortableInt8(Integers::new(Portable, values, d_input))
    }

    /// Both, for all instructions that this processor has.
    #[cfg(test)]
    pub fn all(values: &[f32], d_input: usize) -> [Vec<Self>; 2] {
        let mut exact = vec![Self::Portable(Planes::new(Portable, values, d_input))];
        let mut int8 = vec![Self::PortableInt8(Integers::new(Portable, values, d_input))];
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(lanes) = Avx2::detect() {
                exact.push(Self::Avx2(Planes::new(lanes, values, d_input)));
                int8.push(Self::Avx2Int8(Integers::new(lanes, values, d_input)));
            }
            exact.push(Self::exact(values, d_input));
            int8.push(Self::int8(values, d_input));
        }
        [exact, int8]
    }

    pub fn multiply(&self, task: Task<'_>) {
        match self {
            Self::Portable(rows) => rows.multiply(task),
            Self::PortableInt8(rows) => rows.multiply(task),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(rows) => rows.multiply(task),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2Int8(rows) => rows.multiply(task),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(rows) => rows.multiply(task),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Int8(rows) => rows.multiply(task),
        }
    }
}
