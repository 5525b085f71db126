//! The operation against sums in f64, and its gradients against central differences of them.

use burn::tensor::Device;

use crate::case::{Case, NAMES, Tensors};
use crate::model::values;

/// Steps of the differences; what they leave out is of the order of the square.
const STEP: f64 = 1e-4;

/// Query, key, value, sinks, gradient of the output.
type Inputs = [Vec<f64>; 5];

fn inputs(tensors: &Tensors) -> Inputs {
    let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect();
    [
        wide(values(&tensors.query)),
        wide(values(&tensors.key)),
        wide(values(&tensors.value)),
        wide(values(&tensors.sinks)),
        wide(values(&tensors.grad)),
    ]
}

impl Case {
    fn output(&self, inputs: &Inputs) -> Vec<f64> {
        let rows = self.batch * self.len * self.heads;
        (0..rows).flat_map(|row| self.row(inputs, row)).collect()
    }

    /// The output of one head of one query, by the definition.
    fn row(&self, [query, key, value, sinks, _]: &Inputs, row: usize) -> Vec<f64> {
        let (dim, head) = (self.dim, row % self.heads);
        let (batch, position) = (row / self.heads / self.len, row / self.heads % self.len);
        let kv_head = head * self.kv_heads / self.heads;
        let at = |i: usize| ((batch * self.keys + i) * self.kv_heads + kv_head) * dim;
        let query = &query[row * dim..][..dim];
        let score = |i: usize| {
            let products = query.iter().zip(&key[at(i)..]).map(|(a, b)| a * b);
            self.scale() * products.sum::<f64>()
        };
        let seen = (0..self.keys).filter(|i| self.sees(batch, position, *i));
        let weights: Vec<(usize, f64)> = seen.map(|i| (i, score(i).exp())).collect();
        let total = sinks[head].exp() + weights.iter().map(|(_, weight)| weight).sum::<f64>();
        let mean = |d: usize| {
            weights
                .iter()
                .map(|(i, w)| w * value[at(*i) + d])
                .sum::<f64>()
        };
        (0..dim).map(|d| mean(d) / total).collect()
    }

    /// What the gradients belong to: the output times the gradient that comes back, summed.
    fn loss(&self, inputs: &Inputs) -> f64 {
        let output = self.output(inputs);
        output.iter().zip(&inputs[4]).map(|(a, b)| a * b).sum()
    }

    fn differences(&self, inputs: &Inputs, tensor: usize) -> Vec<f64> {
        let mut inputs = inputs.clone();
        let mut moved = |i: usize, by: f64| {
            let before = inputs[tensor][i];
            inputs[tensor][i] = before + by;
            let loss = self.loss(&inputs);
            inputs[tensor][i] = before;
            loss
        };
        let count = match tensor {
            0 => self.batch * self.len * self.heads * self.dim,
            3 => self.heads,
            _ => self.batch * self.keys * self.kv_heads * self.dim,
        };
        (0..count)
            .map(|i| (moved(i, STEP) - moved(i, -STEP)) / (2.0 * STEP))
            .collect()
    }
}

/// `limit` is absolute: all values here are of the order of one.
fn assert_close(what: &str, found: &[f32], expected: &[f64], limit: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: number of elements");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let deviation = (f64::from(*found) - expected).abs();
        assert!(
            deviation <= limit,
            "{what}, {i}: {found} {expected} ({deviation:e})"
        );
    }
}

#[test]
fn values_and_gradients_are_those_of_the_definition() {
    let documents: [&[usize]; 2] = [&[4, 1, 8], &[13]];
    for case in [
        Case::new("causal", 2, 13, None),
        Case::new("window", 2, 13, Some(3)),
        Case::new("left padding", 2, 13, Some(4)).padded(&[[5, 0], [13, 0]]),
        Case::new("right padding", 2, 13, None).padded(&[[0, 5], [0, 12]]),
        Case::new("documents", 2, 13, Some(6)).packed(&documents),
        Case::new("cached", 2, 3, Some(7))
            .cached(9, 13)
            .packed(&documents),
        Case::new("one token", 2, 1, Some(128)),
        Case::new("one head", 1, 12, None).heads(1, 1),
    ] {
        let case = case.dim(4);
        let tensors = case.tensors(&Device::flex().autodiff());
        let (inputs, found) = (inputs(&tensors), case.run(&tensors));
        let name = case.name;
        // A few dozen rounded operations on numbers up to 4, each good to 2^-24 of its result.
        let rounding = 64.0 * 2f64.powi(-24);
        assert_close(name, &found.output, &case.output(&inputs), rounding);
        for (tensor, what) in NAMES.into_iter().enumerate() {
            let expected = case.differences(&inputs, tensor);
            let found = &found.gradients[tensor];
            let limit = 4.0 * rounding + 10.0 * STEP * STEP;
            assert_close(
                &format!("{name}, gradient of {what}"),
                found,
                &expected,
                limit,
            );
        }
    }
}
