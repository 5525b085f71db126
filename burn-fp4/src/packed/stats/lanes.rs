//! Sums in vector lanes.

use core::ops::AddAssign;

use crate::codec::e2m1;
use crate::codec::format::Format;

/// Elements that are added at once, each into sums of its own.
pub(super) const LANES: usize = 8;

/// Sums over elements.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sums {
    /// Squares of the finite elements.
    pub signal: f64,
    /// Squares of what they lost.
    pub noise: f64,
    /// Finite elements above the largest magnitude of their block.
    pub saturated: u64,
    /// Elements that became zero although they were not.
    pub zeroed: u64,
    /// NaN and infinity.
    pub non_finite: u64,
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.signal += other.signal;
        self.noise += other.noise;
        self.saturated += other.saturated;
        self.zeroed += other.zeroed;
        self.non_finite += other.non_finite;
    }
}

/// [`Sums`] of a few thousand elements, in lanes.
#[derive(Default)]
pub(super) struct Lanes {
    signal: [f64; LANES],
    noise: [f64; LANES],
    saturated: [u32; LANES],
    zeroed: [u32; LANES],
    non_finite: [u32; LANES],
}

impl Lanes {
    /// Adds one element per lane; zeros add nothing.
    #[inline(always)]
    pub fn add<F: Format>(&mut self, format: F, values: &[f32; LANES], keys: &[f32; LANES]) {
        for lane in 0..LANES {
            let (x, key) = (values[lane], keys[lane]);
            let largest = e2m1::MAX * format.factor(key);
            let quantized: f32 = format.fake_quantize(x, key);
            // Comparisons and selections by bits: they stay vectors.
            let finite = x.abs() < f32::INFINITY;
            let saturated = finite & (x.abs() > largest);
            let zeroed = (quantized == 0.0) & (x.abs() > 0.0);
            let signal = if finite { x } else { 0.0 };
            let quantized = if finite { quantized } else { 0.0 };
            let error = f64::from(signal) - f64::from(quantized);
            self.signal[lane] += f64::from(signal) * f64::from(signal);
            self.noise[lane] += error * error;
            self.saturated[lane] = self.saturated[lane].wrapping_add(u32::from(saturated));
            self.zeroed[lane] = self.zeroed[lane].wrapping_add(u32::from(zeroed));
            self.non_finite[lane] = self.non_finite[lane].wrapping_add(u32::from(!finite));
        }
    }

    /// The sums over all lanes, in a fixed order.
    pub fn fold(self) -> Sums {
        let count = |lanes: [u32; LANES]| lanes.into_iter().map(u64::from).sum();
        Sums {
            signal: self.signal.into_iter().sum(),
            noise: self.noise.into_iter().sum(),
            saturated: count(self.saturated),
            zeroed: count(self.zeroed),
            non_finite: count(self.non_finite),
        }
    }
}
