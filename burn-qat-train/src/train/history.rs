use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{QuantizationPoint, TrainConfig};
use crate::error::QatError;

/// One optimizer step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainPoint {
    /// Optimizer step, from 1.
    pub step: usize,
    /// Mean loss over the targets of the batch, in nats.
    pub loss: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Tokens, padding excluded.
    pub tokens: usize,
    /// Norm of all gradients together before they were clipped; none in logs of before it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grad_norm: Option<f64>,
    /// Seconds since the start of the stage.
    pub seconds: f64,
}

/// One evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValidPoint {
    /// Optimizer steps done.
    pub step: usize,
    /// Mean loss over all targets of the validation data, in nats.
    pub loss: f64,
}

/// The curves of one stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The validation loss before the first step, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<f64>,
    /// Training, one point per step.
    pub train: Vec<TrainPoint>,
    /// Validation, one point per interval.
    pub valid: Vec<ValidPoint>,
    /// Quantized weights before the first step and at every evaluation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantization: Vec<QuantizationPoint>,
}

impl History {
    /// The curves of the file that a stage writes, `metrics.jsonl`.
    ///
    /// # Errors
    /// A file that cannot be read, and a line that is none of a step or an evaluation.
    pub fn from_jsonl(path: &Path) -> Result<Self, QatError> {
        let text = fs::read_to_string(path).map_err(QatError::io(path, "read"))?;
        let mut history = Self::default();
        for (i, line) in text.lines().enumerate() {
            let point = serde_json::from_str(line).map_err(|error| QatError::Resume {
                path: path.to_path_buf(),
                message: format!("line {} is none of a log of training: {error}", i + 1),
            })?;
            match point {
                Point::Train(point) => history.train.push(point),
                Point::Valid(point) => history.valid.push(point),
                Point::Quantization(point) => history.quantization.push(point),
                Point::Start { loss } => history.start = Some(loss),
            }
        }
        Ok(history)
    }

    /// Whether so many evaluations at the end are no better than the best before them.
    pub fn stops_early(&self, patience: NonZeroUsize) -> bool {
        let best = self.best_interval();
        best.is_some_and(|best| self.valid.len() - 1 - best >= patience.get())
    }

    /// Whether a stage with these settings is through.
    pub fn is_complete(&self, config: &TrainConfig) -> bool {
        let evaluated = self.valid.last().map(|point| point.step);
        let stopped = config
            .early_stopping
            .is_some_and(|patience| self.stops_early(patience));
        evaluated == Some(config.steps) || stopped
    }

    /// The interval (from 0) with the lowest validation loss.
    pub fn best_interval(&self) -> Option<usize> {
        let finite = self
            .valid
            .iter()
            .enumerate()
            .filter(|(_, point)| point.loss.is_finite());
        finite
            .min_by(|a, b| a.1.loss.total_cmp(&b.1.loss))
            .map(|(i, _)| i)
    }
}

/// A line of the file.
#[derive(Deserialize)]
#[serde(tag = "split", rename_all = "lowercase")]
enum Point {
    Train(TrainPoint),
    Valid(ValidPoint),
    Start { loss: f64 },
    Quantization(QuantizationPoint),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_counted_from_the_best_evaluation() {
        let after = |losses: &[f64], patience| {
            let points = losses.iter().zip(1..);
            let valid = points.map(|(loss, step)| ValidPoint { step, loss: *loss });
            let history = History {
                valid: valid.collect(),
                ..History::default()
            };
            history.stops_early(NonZeroUsize::new(patience).unwrap())
        };
        assert!(!after(&[], 1));
        assert!(!after(&[3.0, 2.0, 1.0], 1));
        assert!(after(&[3.0, 2.0, 2.0], 1));
        assert!(!after(&[3.0, 2.0, 2.5], 2));
        assert!(after(&[3.0, 2.0, 2.5, 2.1], 2));
        assert!(!after(&[3.0, 2.0, 2.5, 1.0], 2));
    }

    #[test]
    fn lines_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let start = r#"{"stage":"QAT","split":"start","step":0,"loss":0.5,"perplexity":1.6}"#;
        let train = r#"{"stage":"QAT","split":"train","step":1,"loss":0.1,"learning_rate":2e-5,"tokens":7,"seconds":0.5}"#;
        let valid = r#"{"stage":"QAT","split":"valid","step":1,"loss":0.3,"perplexity":1.35}"#;
        fs::write(&path, format!("{start}\n{train}\n{valid}\n")).unwrap();
        let history = History::from_jsonl(&path).unwrap();
        let point = TrainPoint {
            step: 1,
            loss: 0.1,
            learning_rate: 2e-5,
            tokens: 7,
            grad_norm: None,
            seconds: 0.5,
        };
        assert_eq!(history.train, [point]);
        assert_eq!(history.start, Some(0.5));
        assert_eq!(history.valid, [ValidPoint { step: 1, loss: 0.3 }]);
        fs::write(&path, format!("{train}\n{{\"split\":\"test\"}}\n")).unwrap();
        let message = History::from_jsonl(&path).unwrap_err().to_string();
        assert!(message.contains("metrics.jsonl: line 2"), "{message}");
    }
}
