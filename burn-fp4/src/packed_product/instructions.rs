//! Which instructions a product is computed with.

/// An instruction set with kernels of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instructions {
    /// What every processor has.
    Portable,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F and BW; products of integers also take VNNI.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Instructions {
    /// The best ones of this processor for `f32` rows.
    pub(super) fn for_floats() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if has_avx512() {
                return Self::Avx512;
            }
            if has_avx2() {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// The best ones of this processor for `i8` rows.
    pub(super) fn for_integers() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if has_avx512() && is_x86_feature_detected!("avx512vnni") {
                return Self::Avx512;
            }
            if has_avx2() {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// `u32` lanes of a register; also the number of code bytes that are decoded together, in fours.
    pub(super) const fn lanes(self) -> usize {
        match self {
            Self::Portable => 8,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 8,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 16,
        }
    }

    /// All that this processor has, for tests of each.
    #[cfg(test)]
    pub(super) fn available(best: Self) -> Vec<Self> {
        match best {
            Self::Portable => vec![Self::Portable],
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => vec![Self::Portable, Self::Avx2],
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => vec![Self::Portable, Self::Avx2, Self::Avx512],
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") && has_avx2()
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}
