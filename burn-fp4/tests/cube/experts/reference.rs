//! The operations in `f64`, each with the sum of the magnitudes of its terms.

use super::case::{Case, Inputs, floats};

/// Sums, and sums of magnitudes.
pub struct Sums {
    pub values: Vec<f64>,
    pub magnitudes: Vec<f64>,
}

impl Sums {
    fn zeros(n: usize) -> Self {
        Self {
            values: vec![0.0; n],
            magnitudes: vec![0.0; n],
        }
    }

    fn add(&mut self, at: usize, term: f64) {
        self.values[at] += term;
        self.magnitudes[at] += term.abs();
    }

    fn add_scaled(&mut self, at: usize, other: &Self, from: usize, factor: f64) {
        self.values[at] += other.values[from] * factor;
        self.magnitudes[at] += other.magnitudes[from] * factor.abs();
    }
}

/// Inputs as `f64`.
pub struct Reference<'a> {
    case: &'a Case,
    weight: &'a [f64],
    bias: Vec<f64>,
    scores: Vec<f64>,
    order: Vec<usize>,
}

impl<'a> Reference<'a> {
    pub fn new(case: &'a Case, inputs: &'a Inputs) -> Self {
        Self {
            case,
            weight: &inputs.values,
            bias: floats(&inputs.bias),
            scores: floats(&inputs.scores),
            order: case.order(),
        }
    }

    fn expert(&self, row: usize) -> usize {
        self.case.chosen[self.order[row]] as usize
    }

    fn token(&self, row: usize) -> usize {
        self.order[row] / self.case.top_k
    }

    fn n_rows(&self) -> usize {
        self.order.len()
    }

    /// `[rows, out]`, of rows or of the tokens they belong to.
    pub fn linear(&self, x: &[f64], gathered: bool) -> Sums {
        let (k, n) = (self.case.d_input, self.case.d_output);
        let mut out = Sums::zeros(self.n_rows() * n);
        for row in 0..self.n_rows() {
            let source = if gathered { self.token(row) } else { row };
            let expert = self.expert(row);
            for j in 0..n {
                out.add(row * n + j, self.bias[expert * n + j]);
            }
            for i in 0..k {
                let value = x[source * k + i];
                for j in 0..n {
                    let weight = self.weight[(expert * k + i) * n + j];
                    out.add(row * n + j, value * weight);
                }
            }
        }
        out
    }

    /// `[rows, in]`: gradients times transposed matrices.
    pub fn backward(&self, grad: &[f64], gathered: bool) -> Sums {
        let (k, n) = (self.case.d_input, self.case.d_output);
        let mut out = Sums::zeros(self.n_rows() * k);
        for row in 0..self.n_rows() {
            let source = if gathered { self.token(row) } else { row };
            let expert = self.expert(row);
            for i in 0..k {
                for j in 0..n {
                    let weight = self.weight[(expert * k + i) * n + j];
                    out.add(row * k + i, grad[source * n + j] * weight);
                }
            }
        }
        out
    }

    /// `[tokens, width]`: the rows of every token, times their scores.
    pub fn per_token(&self, rows: &Sums, width: usize, scored: bool) -> Sums {
        let mut out = Sums::zeros(self.case.n_tokens() * width);
        for row in 0..self.n_rows() {
            let factor = if scored {
                self.scores[self.order[row]]
            } else {
                1.0
            };
            for j in 0..width {
                out.add_scaled(self.token(row) * width + j, rows, row * width + j, factor);
            }
        }
        out
    }

    /// `[experts, in, out]`; one of both is by token, and `grad` has scores if it is.
    pub fn weight_gradient(&self, x: &[f64], grad: &[f64], combined: bool) -> Sums {
        let (k, n) = (self.case.d_input, self.case.d_output);
        let mut out = Sums::zeros(self.case.n_experts * k * n);
        for row in 0..self.n_rows() {
            let (token, expert) = (self.token(row), self.expert(row));
            let (from, of, score) = match combined {
                true => (row, token, self.scores[self.order[row]]),
                false => (token, row, 1.0),
            };
            for i in 0..k {
                for j in 0..n {
                    let term = x[from * k + i] * grad[of * n + j] * score;
                    out.add((expert * k + i) * n + j, term);
                }
            }
        }
        out
    }

    /// `[experts, out]`
    pub fn bias_gradient(&self, grad: &[f64], combined: bool) -> Sums {
        let n = self.case.d_output;
        let mut out = Sums::zeros(self.case.n_experts * n);
        for row in 0..self.n_rows() {
            let (of, score) = match combined {
                true => (self.token(row), self.scores[self.order[row]]),
                false => (row, 1.0),
            };
            for j in 0..n {
                out.add(self.expert(row) * n + j, grad[of * n + j] * score);
            }
        }
        out
    }

    /// Gradients of rows and of scores, from [`backward`](Self::backward).
    pub fn combine_backward(&self, products: &Sums, rows: &[f64], grad: &[f64]) -> (Sums, Sums) {
        let (k, n) = (self.case.d_input, self.case.d_output);
        let mut of_rows = Sums::zeros(self.n_rows() * k);
        let mut of_scores = Sums::zeros(self.n_rows());
        for row in 0..self.n_rows() {
            let (choice, token, expert) = (self.order[row], self.token(row), self.expert(row));
            for (i, value) in rows.iter().enumerate().skip(row * k).take(k) {
                of_rows.add_scaled(i, products, i, self.scores[choice]);
                of_scores.add_scaled(choice, products, i, *value);
            }
            for j in 0..n {
                of_scores.add(choice, self.bias[expert * n + j] * grad[token * n + j]);
            }
        }
        (of_rows, of_scores)
    }
}
