//! A histogram of magnitudes with bins of equal relative width.

use core::fmt;

/// Mantissa bits that tell bins apart.
const MANTISSA_BITS: u32 = 5;
const SHIFT: u32 = 23 - MANTISSA_BITS;
/// One bin for every value of the exponent and of the upper mantissa bits of a finite `f32`.
const N_BINS: usize = 255 << MANTISSA_BITS;

/// Counts of magnitudes, `2^5` bins of equal width for every power of two.
///
/// The bin is the upper half of the bits of the magnitude: no logarithm, no range to choose, no
/// rounding. Infinity counts as `f32::MAX`.
pub(super) struct Histogram {
    counts: Box<[u64]>,
    largest: f32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; N_BINS].into(),
            largest: 0.0,
        }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram")
            .field("n_values", &self.counts.iter().sum::<u64>())
            .field("largest", &self.largest)
            .finish()
    }
}

impl Histogram {
    /// Counts every value that is not NaN.
    pub fn add(&mut self, values: &[f32]) {
        for x in values {
            let magnitude = x.abs().min(f32::MAX);
            if x.is_nan() {
                continue;
            }
            self.counts[(magnitude.to_bits() >> SHIFT) as usize] += 1;
            self.largest = self.largest.max(magnitude);
        }
    }

    /// Upper edge of the first bin up to which `percent` of all values lie, or the largest value if
    /// that is less; none without values.
    pub fn percentile(&self, percent: f64) -> Option<f32> {
        let n_values: u64 = self.counts.iter().sum();
        let wanted = (n_values as f64 * (percent / 100.0)).ceil();
        let mut seen = 0;
        let bin = self.counts.iter().position(|count| {
            seen += count;
            seen > 0 && seen as f64 >= wanted
        })?;
        let edge = f32::from_bits((bin as u32 + 1) << SHIFT);
        Some(edge.min(self.largest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_one_bin() {
        let values: Vec<f32> = (1..=100_000).map(|i| (i as f32 / 9e3).powi(5)).collect();
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(50.0), None);
        for values in values.chunks(777) {
            histogram.add(values);
        }
        histogram.add(&[f32::NAN]);
        for percent in [0.001, 1.0, 50.0, 99.0, 99.99] {
            let exact = values[(percent * 1e3_f64).round() as usize - 1];
            let found = histogram.percentile(percent).unwrap();
            assert!(
                found >= exact && found <= exact * (33.0 / 32.0),
                "{percent}: {exact} {found}"
            );
        }
        assert_eq!(histogram.percentile(100.0), values.last().copied());
    }

    #[test]
    fn the_ends_of_the_range() {
        let mut histogram = Histogram::default();
        histogram.add(&[0.0, -0.0, f32::from_bits(1)]);
        assert_eq!(histogram.percentile(100.0), Some(f32::from_bits(1)));
        histogram.add(&[f32::NEG_INFINITY]);
        assert_eq!(histogram.percentile(100.0), Some(f32::MAX));
    }
}
