use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;
use serde::{Deserialize, Serialize};

/// Which way the Kullback-Leibler divergence of two distributions is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Divergence {
    /// Of the student from the teacher: the mean over the teacher's tokens. The student covers all of them.
    #[default]
    Forward,
    /// Of the teacher from the student: the mean over the student's tokens. The student prefers the likely ones.
    Reverse,
}

impl Divergence {
    /// The divergence of every row in nats, times the square of the temperature, and its gradient by the student's
    /// logits.
    ///
    /// # Shapes
    /// - teacher, student: `[rows, vocab]`, float32
    /// - output: `[rows, 1]` and `[rows, vocab]`
    pub fn of_logits(
        self,
        teacher: Tensor<2>,
        student: Tensor<2>,
        temperature: f64,
    ) -> (Tensor<2>, Tensor<2>) {
        let log_p = log_softmax(teacher / temperature, 1);
        let log_q = log_softmax(student / temperature, 1);
        let square = temperature * temperature;
        let q = log_q.clone().exp();
        match self {
            Self::Forward => {
                let p = log_p.clone().exp();
                let rows = (p.clone() * (log_p - log_q)).sum_dim(1);
                (rows * square, (q - p) * temperature)
            }
            Self::Reverse => {
                let apart = log_q - log_p;
                let rows = (q.clone() * apart.clone()).sum_dim(1);
                let gradient = q * (apart - rows.clone());
                (rows * square, gradient * temperature)
            }
        }
    }
}
