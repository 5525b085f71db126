use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use super::Divergence;
use crate::error::QatError;

/// What a student is taught with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistillConfig {
    /// How far two distributions are apart.
    pub divergence: Divergence,
    /// Both sides' logits are divided by it, and the loss is multiplied with its square (Hinton et al. 2015).
    pub temperature: f64,
    /// Share of the divergence in the loss; the rest is cross entropy with the targets.
    pub kl_weight: f64,
}

impl Default for DistillConfig {
    /// Those of ModelOpt: forward divergence alone, at a temperature of 1.
    fn default() -> Self {
        Self {
            divergence: Divergence::Forward,
            temperature: 1.0,
            kl_weight: 1.0,
        }
    }
}

impl DistillConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`QatError::Setting`] for the first value out of range.
    pub fn check(&self) -> Result<(), QatError> {
        let refuse = |key, expected: &str, found: f64| {
            Err(QatError::Setting {
                key,
                expected: expected.into(),
                found: found.to_string(),
            })
        };
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            return refuse("temperature", "a positive number", self.temperature);
        }
        match (0.0..=1.0).contains(&self.kl_weight) {
            true => Ok(()),
            false => refuse("kl_weight", "a number from 0 to 1", self.kl_weight),
        }
    }

    /// The loss of every row in nats, and its gradient by the student's logits.
    ///
    /// # Shapes
    /// - teacher, student: `[rows, vocab]`, float32
    /// - targets: `[rows]`
    /// - output: `[rows, 1]` and `[rows, vocab]`
    pub fn of_logits(
        &self,
        teacher: Tensor<2>,
        student: Tensor<2>,
        targets: Tensor<1, Int>,
    ) -> (Tensor<2>, Tensor<2>) {
        let entropy = |student: Tensor<2>| cross_entropy(student, targets);
        let apart = |student: Tensor<2>| {
            self.divergence
                .of_logits(teacher, student, self.temperature)
        };
        match self.kl_weight {
            1.0 => apart(student),
            0.0 => entropy(student),
            share => {
                let (by_targets, by_teacher) = (entropy(student.clone()), apart(student));
                (
                    by_teacher.0 * share + by_targets.0 * (1.0 - share),
                    by_teacher.1 * share + by_targets.1 * (1.0 - share),
                )
            }
        }
    }
}

fn cross_entropy(student: Tensor<2>, targets: Tensor<1, Int>) -> (Tensor<2>, Tensor<2>) {
    let [_, vocabulary] = student.dims();
    let log_q = log_softmax(student, 1);
    let rows = -log_q.clone().gather(1, targets.clone().unsqueeze_dim(1));
    let chosen: Tensor<2, Int> = targets.one_hot(vocabulary);
    (rows, log_q.exp() - chosen.float())
}
