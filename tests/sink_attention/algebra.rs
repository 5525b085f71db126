//! Sinks from an attention that has none: what a backend needs that knows attention alone. The formulas are those of
//! docs/upstream.md, in float64.

use burn::tensor::Device;

use crate::case::{Case, NAMES, Tensors, assert_close};
use crate::model::values;

/// As that of the composition.
const LIMIT: f64 = 6e-6;

/// `[batch, len, heads, dim]` in row-major order.
struct Array {
    values: Vec<f64>,
    len: usize,
    heads: usize,
    dim: usize,
}

impl Array {
    fn of(case: &Case, values: &[f32]) -> Self {
        Self {
            values: values.iter().map(|value| f64::from(*value)).collect(),
            len: case.len,
            heads: case.heads,
            dim: case.dim,
        }
    }

    fn zeros(case: &Case) -> Self {
        let n = case.batch * case.len * case.heads * case.dim;
        Self::of(case, &vec![0.0; n])
    }

    fn start(&self, [batch, head, at]: [usize; 3]) -> usize {
        ((batch * self.len + at) * self.heads + head) * self.dim
    }

    fn row(&self, place: [usize; 3]) -> &[f64] {
        let start = self.start(place);
        &self.values[start..start + self.dim]
    }

    fn add(&mut self, place: [usize; 3], factor: f64, row: &[f64]) {
        let start = self.start(place);
        for (sum, value) in self.values[start..].iter_mut().zip(row) {
            *sum += factor * value;
        }
    }

    fn narrowed(&self) -> Vec<f32> {
        self.values.iter().map(|value| *value as f32).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Attention without sinks: output, and the logarithms of the sums of its softmax, `[batch, head, query]`.
fn attention(case: &Case, [query, key, value]: [&Array; 3]) -> (Array, Vec<f64>) {
    let (mut output, mut sums) = (Array::zeros(case), Vec::new());
    for [batch, head, at] in places(case) {
        let seen = (0..case.len).filter(|other| case.sees(batch, at, *other));
        let score = |other| {
            let key = key.row([batch, head, other]);
            dot(query.row([batch, head, at]), key) * case.scale()
        };
        let scores: Vec<(usize, f64)> = seen.map(|other| (other, score(other))).collect();
        let sum = scores
            .iter()
            .map(|(_, score)| score.exp())
            .sum::<f64>()
            .ln();
        for (other, score) in scores {
            let row = value.row([batch, head, other]);
            output.add([batch, head, at], (score - sum).exp(), row);
        }
        sums.push(sum);
    }
    (output, sums)
}

fn places(case: &Case) -> impl Iterator<Item = [usize; 3]> + use<> {
    let (heads, len) = (case.heads, case.len);
    (0..case.batch * heads * len).map(move |i| [i / (heads * len), i / len % heads, i % len])
}

/// Its backward pass: gradients of query, key and value, and `sum(dO * o)` of every query.
fn backward(
    case: &Case,
    [query, key, value]: [&Array; 3],
    (output, sums): (&Array, &[f64]),
    grad: &Array,
) -> ([Array; 3], Vec<f64>) {
    let mut gradients = [(); 3].map(|()| Array::zeros(case));
    let mut deltas = Vec::new();
    for ([batch, head, at], sum) in places(case).zip(sums) {
        let here = [batch, head, at];
        let delta = dot(grad.row(here), output.row(here));
        for other in (0..case.len).filter(|other| case.sees(batch, at, *other)) {
            let there = [batch, head, other];
            let score = dot(query.row(here), key.row(there)) * case.scale();
            let share = (score - sum).exp();
            let by_score = share * (dot(grad.row(here), value.row(there)) - delta) * case.scale();
            gradients[0].add(here, by_score, key.row(there));
            gradients[1].add(there, by_score, query.row(here));
            gradients[2].add(there, share, grad.row(here));
        }
        deltas.push(delta);
    }
    (gradients, deltas)
}

fn check(case: &Case) {
    let tensors: Tensors = case.tensors(&Device::flex().autodiff());
    let found = case.run(&tensors);
    let of = |tensor: &_| Array::of(case, &values(tensor));
    let (query, key, value, grad) = (
        of(&tensors.query),
        of(&tensors.key),
        of(&tensors.value),
        of(&tensors.grad),
    );
    let sinks: Vec<f64> = values(&tensors.sinks).into_iter().map(f64::from).collect();
    let inputs = [&query, &key, &value];
    let (mut output, mut sums) = attention(case, inputs);
    for (place, sum) in places(case).zip(&mut sums) {
        let with_sink = (sum.exp() + sinks[place[1]].exp()).ln();
        let row = output.row(place).to_vec();
        output.add(place, (*sum - with_sink).exp() - 1.0, &row);
        *sum = with_sink;
    }
    let (gradients, deltas) = backward(case, inputs, (&output, &sums), &grad);
    let mut of_sinks = vec![0.0; case.heads];
    for ((place, sum), delta) in places(case).zip(&sums).zip(&deltas) {
        of_sinks[place[1]] -= (sinks[place[1]] - sum).exp() * delta;
    }
    assert_close(case.name, &found.output, &output.narrowed(), LIMIT);
    let [query, key, value] = gradients.map(|gradient| gradient.narrowed());
    let of_sinks = of_sinks.into_iter().map(|value| value as f32).collect();
    for ((found, expected), what) in found
        .gradients
        .iter()
        .zip([query, key, value, of_sinks])
        .zip(NAMES)
    {
        let what = format!("{}, gradient of {what}", case.name);
        assert_close(&what, found, &expected, LIMIT);
    }
}

#[test]
fn an_attention_without_sinks_gives_that_with_them() {
    check(&Case::new("all that came before", 2, 60, None).heads(3, 3));
    check(&Case::new("a window", 2, 60, Some(9)).heads(3, 3));
}
