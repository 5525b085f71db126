use serde::{Deserialize, Serialize};

/// How many of `n` prompts passed, with the 95 % Wilson score interval (Wilson, 1927), which stays
/// inside 0 to 1 and is honest at the ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PassRate {
    /// Prompts that passed.
    pub passed: usize,
    /// Prompts in all.
    pub n: usize,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl PassRate {
    /// The rate of `passed` among `n`.
    pub fn new(passed: usize, n: usize) -> Self {
        if n == 0 {
            return Self {
                passed,
                n,
                low: 0.0,
                high: 1.0,
            };
        }
        const Z: f64 = 1.959_963_984_540_054;
        let (total, rate) = (n as f64, passed as f64 / n as f64);
        let spread = Z * (rate * (1.0 - rate) / total + Z * Z / (4.0 * total * total)).sqrt();
        let (center, scale) = (rate + Z * Z / (2.0 * total), 1.0 + Z * Z / total);
        let [low, high] = [(center - spread) / scale, (center + spread) / scale];
        Self {
            passed,
            n,
            low: low.max(0.0),
            high: high.min(1.0),
        }
    }

    /// The share that passed, 0 for no prompts.
    pub fn rate(&self) -> f64 {
        self.passed as f64 / self.n.max(1) as f64
    }
}

impl std::fmt::Display for PassRate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [rate, low, high] = [self.rate(), self.low, self.high].map(|share| share * 100.0);
        write!(f, "{rate:.1} % ({low:.1} to {high:.1}, n = {})", self.n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_values() {
        // R: prop.test(81, 263, correct = FALSE)
        let rate = PassRate::new(81, 263);
        assert!(
            (rate.low - 0.2553).abs() < 1e-4 && (rate.high - 0.3662).abs() < 1e-4,
            "{rate}"
        );
        let all = PassRate::new(10, 10);
        assert!(
            (all.low - 0.7225).abs() < 1e-4 && (all.high - 1.0).abs() < 1e-12,
            "{all}"
        );
    }
}
