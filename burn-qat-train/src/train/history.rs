use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

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
    /// Training, one point per step.
    pub train: Vec<TrainPoint>,
    /// Validation, one point per interval.
    pub valid: Vec<ValidPoint>,
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
            }
        }
        Ok(history)
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let train = r#"{"stage":"QAT","split":"train","step":1,"loss":0.1,"learning_rate":2e-5,"tokens":7,"seconds":0.5}"#;
        let valid = r#"{"stage":"QAT","split":"valid","step":1,"loss":0.3,"perplexity":1.35}"#;
        fs::write(&path, format!("{train}\n{valid}\n")).unwrap();
        let history = History::from_jsonl(&path).unwrap();
        let point = TrainPoint {
            step: 1,
            loss: 0.1,
            learning_rate: 2e-5,
            tokens: 7,
            seconds: 0.5,
        };
        assert_eq!(history.train, [point]);
        assert_eq!(history.valid, [ValidPoint { step: 1, loss: 0.3 }]);
        fs::write(&path, format!("{train}\n{{\"split\":\"test\"}}\n")).unwrap();
        let message = History::from_jsonl(&path).unwrap_err().to_string();
        assert!(message.contains("metrics.jsonl: line 2"), "{message}");
    }
}
