use burn::lr_scheduler::{LrScheduler, LrSchedulerRecord};

use super::TrainConfig;

/// Linear warm-up from zero, then half a cosine down to a minimum: `cosine_with_min_lr` of
/// transformers. The step after `n` optimizer steps uses `rate(n)`, so the first step of a warm-up has rate
/// zero. After the last step the rate stays at the minimum (Burn's own cosine would climb again).
#[derive(Clone, Debug, PartialEq)]
pub struct WarmupCosine {
    peak: f64,
    minimum: f64,
    warmup_steps: usize,
    total_steps: usize,
    position: usize,
}

impl WarmupCosine {
    /// A schedule over `total_steps` optimizer steps. As in transformers, the number of warm-up
    /// steps is rounded up.
    pub fn new(peak: f64, min_lr_ratio: f64, warmup_ratio: f64, total_steps: usize) -> Self {
        Self {
            peak,
            minimum: peak * min_lr_ratio,
            warmup_steps: (warmup_ratio * total_steps as f64).ceil() as usize,
            total_steps,
            position: 0,
        }
    }

    /// The schedule of a stage.
    pub(super) fn of(config: &TrainConfig) -> Self {
        let TrainConfig {
            learning_rate,
            min_lr_ratio,
            warmup_ratio,
            steps,
            ..
        } = *config;
        Self::new(learning_rate, min_lr_ratio, warmup_ratio, steps)
    }

    /// The schedule of a run that goes on after so many steps.
    pub fn starting_at(self, position: usize) -> Self {
        Self { position, ..self }
    }

    /// The learning rate after `position` steps.
    pub fn rate(&self, position: usize) -> f64 {
        if position < self.warmup_steps {
            return self.peak * position as f64 / self.warmup_steps as f64;
        }
        let decay_steps = self.total_steps.saturating_sub(self.warmup_steps).max(1);
        let progress = ((position - self.warmup_steps) as f64 / decay_steps as f64).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        self.minimum + (self.peak - self.minimum) * cosine
    }
}

impl LrScheduler for WarmupCosine {
    fn step(&mut self) -> f64 {
        let rate = self.rate(self.position);
        self.position += 1;
        rate
    }

    fn to_record(&self) -> LrSchedulerRecord {
        LrSchedulerRecord::new().with_scalar("position", self.position as u64)
    }

    fn load_record(&mut self, record: LrSchedulerRecord) {
        if let Some(position) = record.scalar::<u64>("position") {
            self.position = position as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_transformers() {
        // transformers.get_cosine_with_min_lr_schedule_with_warmup, 3 of 20 steps, ratio 0.1
        let schedule = WarmupCosine::new(2e-5, 0.1, 0.15, 20);
        assert_eq!(schedule.rate(0), 0.0);
        assert!((schedule.rate(1) - 2e-5 / 3.0).abs() < 1e-12);
        assert!((schedule.rate(3) - 2e-5).abs() < 1e-12);
        let expected = 2e-6 + 1.8e-5 * 0.5 * (1.0 + (std::f64::consts::PI * 7.0 / 17.0).cos());
        assert!((schedule.rate(10) - expected).abs() < 1e-12);
        assert!((schedule.rate(20) - 2e-6).abs() < 1e-12);
        assert!((schedule.rate(500) - 2e-6).abs() < 1e-12);
    }
}
