//! What quantization costs, in numbers small enough to log at every step.

mod code_changes;
mod lanes;
mod measure;

use core::fmt;
use core::iter::Sum;
use core::ops::AddAssign;

use burn::tensor::{DType, Tensor};
use serde::{Serialize, Serializer};

use crate::codec::element::Fp4Element;
use crate::codec::format::with_format;
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::error::Fp4Error;
use crate::packed::host::{self, read};

pub use code_changes::{CodeChanges, codes_changed};

use lanes::Sums;
use measure::Measure;

/// How far FP4 values are from the values they were made from.
///
/// The statistics compare the original values with the packed bytes, decoded to `f32`, before any rounding
/// to `bf16` or `f16`. NaN and infinity count in the number of elements and in
/// [`n_non_finite`](Self::n_non_finite), and enter no other sum.
///
/// Statistics of several tensors add up (`+=` or `sum`) to those of all their elements together.
/// The default is that of a tensor without elements: every fraction and the error 0, the SQNR
/// infinite.
///
/// Serializes as a map of `n_elements`, `n_non_finite`, `mse`, `sqnr_db`, `saturated_fraction` and
/// `zero_fraction`. JSON has no infinity: `serde_json` writes `null`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QuantStats {
    n_elements: u64,
    sums: Sums,
}

impl QuantStats {
    /// Number of elements.
    pub fn n_elements(&self) -> u64 {
        self.n_elements
    }

    /// Number of elements that were NaN or infinite.
    pub fn n_non_finite(&self) -> u64 {
        self.sums.non_finite
    }

    /// Mean of the squared differences, over the finite elements.
    ///
    /// Infinite if a finite element became infinite, as `f32::MAX` does in MXFP4.
    pub fn mse(&self) -> f64 {
        let n_finite = self.n_elements - self.sums.non_finite;
        self.sums.noise / n_finite.max(1) as f64
    }

    /// Signal-to-quantization-noise ratio in decibels: `10 log10(sum x^2 / sum (x - q)^2)`.
    ///
    /// Infinite if nothing was lost, also for zeros alone.
    pub fn sqnr_db(&self) -> f64 {
        if self.sums.noise == 0.0 {
            return f64::INFINITY;
        }
        10.0 * (self.sums.signal / self.sums.noise).log10()
    }

    /// Share of the elements that are finite and exceed the largest magnitude of their block,
    /// `6 * scale`, or `6 * (scale * global_scale)` in NVFP4.
    ///
    /// A value that is rounded down to that magnitude counts: where scales never clip, as under
    /// [`ScaleRule::Ceil`](crate::ScaleRule::Ceil), the fraction is 0.
    pub fn saturated_fraction(&self) -> f64 {
        self.fraction(self.sums.saturated)
    }

    /// Share of the elements that became zero although they were not. Elements that were zero before,
    /// of either sign, do not count.
    pub fn zero_fraction(&self) -> f64 {
        self.fraction(self.sums.zeroed)
    }

    fn fraction(&self, count: u64) -> f64 {
        count as f64 / self.n_elements.max(1) as f64
    }
}

impl AddAssign for QuantStats {
    fn add_assign(&mut self, other: Self) {
        self.n_elements += other.n_elements;
        self.sums += other.sums;
    }
}

impl Sum for QuantStats {
    fn sum<I: Iterator<Item = Self>>(stats: I) -> Self {
        stats.fold(Self::default(), |mut total, stats| {
            total += stats;
            total
        })
    }
}

impl fmt::Display for QuantStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} elements: SQNR {:.2} dB, MSE {:.3e}, {:.3} % saturated, {:.3} % became zero",
            self.n_elements,
            self.sqnr_db(),
            self.mse(),
            100.0 * self.saturated_fraction(),
            100.0 * self.zero_fraction(),
        )?;
        match self.n_non_finite() {
            0 => Ok(()),
            n_non_finite => write!(f, ", {n_non_finite} not finite"),
        }
    }
}

impl Serialize for QuantStats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields {
            n_elements: u64,
            n_non_finite: u64,
            mse: f64,
            sqnr_db: f64,
            saturated_fraction: f64,
            zero_fraction: f64,
        }
        let fields = Fields {
            n_elements: self.n_elements,
            n_non_finite: self.n_non_finite(),
            mse: self.mse(),
            sqnr_db: self.sqnr_db(),
            saturated_fraction: self.saturated_fraction(),
            zero_fraction: self.zero_fraction(),
        };
        fields.serialize(serializer)
    }
}

impl SliceQuantizer {
    /// What quantizing `values` costs, without keeping the result: one pass over memory.
    ///
    /// Sums are `f64` in an order that depends on the shape alone: the number of threads and the
    /// instruction set do not change a bit.
    ///
    /// ```
    /// use burn_fp4::{Fp4Scheme, SliceQuantizer};
    ///
    /// let mut values = [6.0f32; 32];
    /// values[0] = 2.6;
    /// values[1] = 0.1;
    /// let stats = SliceQuantizer::new(Fp4Scheme::mxfp4()).stats(&values, &[32], 0)?;
    /// assert!((stats.mse() - (0.16 + 0.01) / 32.0).abs() < 1e-7);
    /// assert_eq!((stats.saturated_fraction(), stats.zero_fraction()), (0.0, 1.0 / 32.0));
    /// # Ok::<(), burn_fp4::Fp4Error>(())
    /// ```
    ///
    /// # Shapes
    ///
    /// - values: `shape`, row-major; blocks run along `axis`
    ///
    /// # Errors
    ///
    /// Those of [`fake_quantize`](Self::fake_quantize).
    pub fn stats<T: Fp4Element>(
        &self,
        values: &[T],
        shape: &[usize],
        axis: usize,
    ) -> Result<QuantStats, Fp4Error> {
        let geometry = self.geometry(values, shape, axis)?;
        let global_scales = self.global_scales(values, shape)?;
        if values.is_empty() {
            return Ok(QuantStats::default());
        }
        let sums = with_format(&self.scheme(), &global_scales, Measure { values, geometry });
        self.check_finite(sums.non_finite == 0, values)?;
        Ok(QuantStats {
            n_elements: values.len() as u64,
            sums,
        })
    }

    /// [`stats`](Self::stats) of a tensor, which is read to the host as `f32`.
    ///
    /// # Shapes
    ///
    /// - tensor: `[..., len, ...]` with `len` at position `axis`, a multiple of the block size
    ///
    /// # Errors
    ///
    /// Those of [`fake_quantize`](Self::fake_quantize), and if the device fails.
    pub fn tensor_stats<const D: usize>(
        &self,
        tensor: Tensor<D>,
        axis: usize,
    ) -> Result<QuantStats, Fp4Error> {
        let shape = tensor.dims();
        host::check_dtype(tensor.dtype())?;
        // Exact for the narrower types.
        let values = read(tensor.cast(DType::F32).try_into_data())?;
        self.stats::<f32>(&values, &shape, axis)
    }
}

#[cfg(test)]
mod tests;
