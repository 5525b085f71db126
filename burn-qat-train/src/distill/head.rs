use burn::tensor::{Int, Tensor};
use burn_fp4::linear;
use burn_gpt_oss::ops::ordered_sum;

use super::DistillConfig;

/// Rows whose logits exist at a time, those of both models.
const ROWS: usize = 64;

/// Hidden states after the final norm, and the matrix that makes logits of them.
pub(super) struct Head {
    /// `[rows, hidden_size]`
    pub rows: Tensor<2>,
    /// `[hidden_size, vocab_size]`
    pub matrix: Tensor<2>,
}

impl Head {
    fn without_autodiff(self) -> Self {
        Self {
            rows: self.rows.without_autodiff(),
            matrix: self.matrix.without_autodiff(),
        }
    }

    fn logits(&self, rows: core::ops::Range<usize>) -> Tensor<2> {
        linear(self.rows.clone().slice(rows), self.matrix.clone(), None)
    }
}

/// The loss of all rows, summed. The logits of all rows never exist together: gradients are computed while those of a
/// chunk are there, and what is returned has them as its gradient. A frozen head has none.
///
/// # Shapes
/// - targets: `[rows]`
/// - output: `[1]`
pub(super) fn distilled(
    config: &DistillConfig,
    teacher: &Head,
    student: Head,
    (targets, trains_head): (Tensor<1, Int>, bool),
) -> Tensor<1> {
    let (tracked, plain) = (
        [student.rows.clone(), student.matrix.clone()],
        student.without_autodiff(),
    );
    let [n_rows, _] = plain.rows.dims();
    let turned = plain.matrix.clone().swap_dims(0, 1);
    let (mut losses, mut by_rows) = (Vec::new(), Vec::new());
    let mut by_matrix: Option<Tensor<2>> = None;
    for start in (0..n_rows).step_by(ROWS) {
        let rows = start..n_rows.min(start + ROWS);
        let chosen = targets.clone().slice(rows.clone());
        let (loss, gradient) = config.of_logits(
            teacher.logits(rows.clone()),
            plain.logits(rows.clone()),
            chosen,
        );
        losses.push(ordered_sum(loss));
        if trains_head {
            let of_chunk = linear(
                plain.rows.clone().slice(rows).swap_dims(0, 1),
                gradient.clone(),
                None,
            );
            by_matrix = Some(match by_matrix {
                Some(sum) => sum + of_chunk,
                None => of_chunk,
            });
        }
        by_rows.push(linear(gradient, turned.clone(), None));
    }
    let loss = ordered_sum(Tensor::cat(losses, 0));
    if !tracked[0].device().is_autodiff() {
        return loss;
    }
    let [rows, matrix] = tracked;
    // The sum of products with a constant has that constant as gradient.
    let mut product = ordered_sum(rows * Tensor::cat(by_rows, 0).autodiff());
    if let Some(by_matrix) = by_matrix {
        product = product + ordered_sum(matrix * by_matrix.autodiff());
    }
    let nothing = product.clone() - product.detach();
    loss.autodiff() + nothing
}
