use burn::lr_scheduler::{LrScheduler, LrSchedulerRecord};

use serde::{Deserialize, Serialize};

use super::TrainConfig;

/// How the learning rate falls behind the warm-up, from its peak to its minimum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LearningRateDecay {
    /// Along half a cosine.
    #[default]
    Cosine,
    /// Along a line.
    Linear,
    /// Not at all.
    Constant,
}

/// Linear warm-up from zero, then a [`LearningRateDecay`] down to a minimum: `cosine_with_min_lr`, `linear` and
/// `constant_with_warmup` of transformers. The step after `n` optimizer steps uses `rate(n)`, so the first step of a
/// warm-up has rate zero. After the last step the rate stays at the minimum (Burn's own cosine would climb again).
#[derive(Clone, Debug, PartialEq)]
pub struct WarmupSchedule {
    peak: f64,
    minimum: f64,
    decay: LearningRateDecay,
    warmup_steps: usize,
    total_steps: usize,
    position: usize,
}

impl WarmupSchedule {
    /// The schedule of a stage. As in transformers, the number of warm-up steps is rounded up, and a number of steps
    /// wins over a ratio.
    pub fn new(config: &TrainConfig) -> Self {
        let by_ratio = config.warmup_ratio * config.steps as f64;
        Self {
            peak: config.learning_rate,
            minimum: config.learning_rate * config.min_lr_ratio,
            decay: config.lr_scheduler,
            warmup_steps: config.warmup_steps.unwrap_or(by_ratio.ceil() as usize),
            total_steps: config.steps,
            position: 0,
        }
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
        let left = match self.decay {
            LearningRateDecay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            LearningRateDecay::Linear => 1.0 - progress,
            LearningRateDecay::Constant => 1.0,
        };
        self.minimum + (self.peak - self.minimum) * left
    }
}

impl LrScheduler for WarmupSchedule {
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

    fn schedule(lr_scheduler: LearningRateDecay, warmup_steps: Option<usize>) -> WarmupSchedule {
        WarmupSchedule::new(&TrainConfig {
            steps: 20,
            learning_rate: 2e-5,
            min_lr_ratio: 0.1,
            warmup_ratio: 0.15,
            warmup_steps,
            lr_scheduler,
            ..TrainConfig::default()
        })
    }

    fn is(schedule: &WarmupSchedule, position: usize, expected: f64) {
        let found = schedule.rate(position);
        assert!(
            (found - expected).abs() < 1e-12,
            "{position}: {found} instead of {expected}"
        );
    }

    #[test]
    fn values_of_transformers() {
        // transformers.get_cosine_with_min_lr_schedule_with_warmup, 3 of 20 steps, ratio 0.1
        let cosine = schedule(LearningRateDecay::Cosine, None);
        is(&cosine, 0, 0.0);
        is(&cosine, 1, 2e-5 / 3.0);
        is(&cosine, 3, 2e-5);
        let left = 0.5 * (1.0 + (std::f64::consts::PI * 7.0 / 17.0).cos());
        is(&cosine, 10, 2e-6 + 1.8e-5 * left);
        is(&cosine, 20, 2e-6);
        is(&cosine, 500, 2e-6);
    }

    #[test]
    fn a_line_and_a_constant_begin_and_end_where_they_should() {
        let linear = schedule(LearningRateDecay::Linear, Some(5));
        is(&linear, 4, 2e-5 * 0.8);
        is(&linear, 5, 2e-5);
        is(&linear, 8, 2e-6 + 1.8e-5 * 0.8);
        is(&linear, 20, 2e-6);
        let constant = schedule(LearningRateDecay::Constant, Some(0));
        is(&constant, 0, 2e-5);
        is(&constant, 500, 2e-5);
    }
}
