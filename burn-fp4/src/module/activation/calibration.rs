//! From observed tensors to one magnitude.

use burn::tensor::{DType, Tensor};
use serde::{Deserialize, Serialize};

use super::histogram::Histogram;
use crate::error::Fp4Error;
use crate::ops::global_amax;
use crate::packed::host::read;
use crate::scheme::Fp4Scheme;

/// How the magnitude follows from what was observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Calibration {
    /// The largest finite one. Stays on the device until calibration ends.
    #[default]
    Max,
    /// This percentile of the magnitudes, in `(0, 100]`: at least this percentage of all elements does not
    /// exceed the result. The result is at most one part in 32 above the exact percentile, and never above
    /// the largest element.
    ///
    /// Counted in a histogram on the host with 32 bins of equal width for every power of two, so
    /// every tensor that is observed is read from the device. NaN is not counted.
    Percentile(f64),
}

impl Calibration {
    pub(super) fn check(self) -> Result<(), Fp4Error> {
        match self {
            Self::Percentile(value) if !(value > 0.0 && value <= 100.0) => {
                Err(Fp4Error::Percentile { value })
            }
            _ => Ok(()),
        }
    }
}

/// What was observed so far.
#[derive(Debug, Default)]
pub(super) enum Observed {
    #[default]
    Nothing,
    Max(Box<Tensor<1>>),
    Histogram(Histogram),
}

impl Observed {
    pub fn observe<const D: usize>(&mut self, x: Tensor<D>, calibration: Calibration) {
        let x = x.without_autodiff();
        match calibration {
            Calibration::Max => {
                let amax = global_amax(x, &Fp4Scheme::nvfp4());
                let amax = match core::mem::take(self) {
                    Self::Max(before) => before.to_device(&amax.device()).max_pair(amax),
                    _ => amax,
                };
                *self = Self::Max(Box::new(amax));
            }
            Calibration::Percentile(_) => {
                let values = x.cast(DType::F32).into_data().try_into_vec::<f32>();
                let values = values.unwrap_or_else(|error| panic!("calibration: {error}"));
                if !matches!(self, Self::Histogram(_)) {
                    *self = Self::Histogram(Histogram::default());
                }
                if let Self::Histogram(histogram) = self {
                    histogram.add(&values);
                }
            }
        }
    }

    /// The magnitude, unless nothing or nothing but zeros was observed.
    pub fn amax(&self, calibration: Calibration) -> Result<Option<f32>, Fp4Error> {
        let amax = match self {
            Self::Nothing => None,
            Self::Max(amax) => read::<f32>(amax.try_to_data())?.first().copied(),
            Self::Histogram(histogram) => match calibration {
                Calibration::Max => histogram.percentile(100.0),
                Calibration::Percentile(percent) => histogram.percentile(percent),
            },
        };
        Ok(amax.filter(|&amax| amax > 0.0))
    }
}
