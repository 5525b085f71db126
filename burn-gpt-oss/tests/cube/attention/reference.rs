//! The definition in `f64`, and how far rounding may lead away from it.

use burn::tensor::DType;

use super::case::{Case, Values};

/// A number and how far from it the result may be.
#[derive(Clone, Copy, Default)]
pub struct Bounded {
    pub value: f64,
    pub bound: f64,
}

/// Relative errors.
#[derive(Clone, Copy)]
pub struct Precision {
    /// Of an addition.
    sum: f64,
    /// Of an exponential, or of the logarithm of a sum, beside what the size of the exponent gives.
    exponential: f64,
    /// Of weights and gradients of scores as factors, and what they lose at least.
    factor: f64,
    least: f64,
    /// Of what is written: half a unit in the last place, and the smallest number.
    written: f64,
    smallest: f64,
}

impl Precision {
    pub fn f32() -> Self {
        let unit = 2f64.powi(-24);
        Self {
            sum: unit,
            // Shading languages allow `3 + 2 |x|` units (WGSL, section 15.7.4).
            exponential: 8.0 * unit,
            factor: 0.0,
            least: 0.0,
            written: unit,
            smallest: 2f64.powi(-126),
        }
    }

    /// Tensor cores cut off sums instead of rounding them, and have narrow factors, which are also what
    /// sums of weights consist of.
    pub fn narrow(dtype: DType) -> Self {
        let (unit, smallest) = match dtype {
            DType::BF16 => (2f64.powi(-9), 2f64.powi(-126)),
            _ => (2f64.powi(-12), 2f64.powi(-25)),
        };
        Self {
            sum: 2f64.powi(-22),
            // `exponential::weight`
            exponential: 2f64.powi(-13),
            factor: unit,
            // Twice the smallest number, because weights are relative to one of another size.
            least: 2.0 * smallest,
            written: unit,
            smallest,
        }
    }

    /// Error of a sum of `n` products, given the sum of magnitudes.
    fn products(&self, n: usize, magnitudes: f64) -> f64 {
        (n + 4) as f64 * self.sum * magnitudes
    }

    /// What is read back.
    fn written(&self, x: Bounded) -> Bounded {
        let size = x.value.abs() + x.bound;
        let bound = x.bound + self.written * size + self.smallest;
        Bounded { bound, ..x }
    }
}

/// Sums of products and of their magnitudes.
fn product(a: &[f32], b: &[f32]) -> (f64, f64) {
    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    products.fold((0.0, 0.0), |(sum, size), p| (sum + p, size + p.abs()))
}

/// Sums under way: values, errors so far, magnitudes of terms and how many.
struct Sums {
    values: Vec<[f64; 3]>,
    terms: Vec<usize>,
}

impl Sums {
    fn new(count: usize) -> Self {
        Self {
            values: vec![[0.0; 3]; count],
            terms: vec![0; count],
        }
    }

    fn add(&mut self, i: usize, value: f64, error: f64) {
        let [sum, errors, size] = &mut self.values[i];
        *sum += value;
        *errors += error;
        *size += value.abs() + error;
        self.terms[i] += 1;
    }

    fn finish(&self, precision: &Precision, factor: f64) -> Vec<Bounded> {
        let sums = self.values.iter().zip(&self.terms);
        let bounded = sums.map(|([sum, errors, size], n)| Bounded {
            value: factor * sum,
            bound: factor * (errors + precision.products(*n, *size)),
        });
        bounded.map(|x| precision.written(x)).collect()
    }
}

/// A query of one head, and what it sees.
struct Row {
    /// Keys, scores and their errors.
    seen: Vec<(usize, f64, f64)>,
    log_sum_exp: Bounded,
    /// Relative error of weights.
    weight: f64,
}

impl Case {
    fn row(&self, values: &Values, row: usize, precision: &Precision) -> Row {
        let (dim, head) = (self.dim, row % self.heads);
        let (batch, query) = (row / self.heads / self.len, row / self.heads % self.len);
        let scale = f64::from(self.scale());
        let query_row = &values.query[row * dim..][..dim];
        let seen = (0..self.keys).filter(|key| self.sees(batch, query, *key));
        let seen: Vec<_> = seen
            .map(|key| {
                let (sum, size) = product(query_row, self.key_row(&values.key, batch, key, head));
                let error = precision.products(dim, size) * scale;
                (key, sum * scale, error)
            })
            .collect();
        // One of minus infinity counts as the smallest number.
        let sink = f64::from(values.sinks[head].max(f32::MIN));
        let largest = seen.iter().fold(sink, |m, (_, score, _)| m.max(*score));
        let terms = seen.iter().map(|(_, score, _)| (score - largest).exp());
        let sum = (sink - largest).exp() + terms.sum::<f64>();
        let log_sum_exp = largest + sum.ln();
        let error = seen.iter().fold(0f64, |m, (.., error)| m.max(*error));
        // Exponents are up to twice as large as the largest score; further terms do not count.
        let spread = (2.0 * largest.abs()).min(100.0) + 20.0;
        let unit = precision.sum.min(2f64.powi(-23));
        let n = seen.len() + 1;
        let error = error + precision.exponential + precision.factor + (spread + n as f64) * unit;
        Row {
            log_sum_exp: Bounded {
                value: log_sum_exp,
                bound: error + 2f64.powi(-22) * log_sum_exp.abs(),
            },
            weight: 2.0 * error + 2f64.powi(-22) * largest.abs().min(200.0),
            seen,
        }
    }

    fn key_place(&self, batch: usize, key: usize, head: usize) -> usize {
        let kv_head = head * self.kv_heads / self.heads;
        ((batch * self.keys + key) * self.kv_heads + kv_head) * self.dim
    }

    fn key_row<'a>(&self, rows: &'a [f32], batch: usize, key: usize, head: usize) -> &'a [f32] {
        &rows[self.key_place(batch, key, head)..][..self.dim]
    }

    /// Output, logarithms of sums, and gradients of query, key, value, sinks.
    pub fn reference(&self, values: &Values, precision: Precision) -> [Vec<Bounded>; 6] {
        let (dim, scale) = (self.dim, f64::from(self.scale()));
        let rows = self.batch * self.len * self.heads;
        let n_keys = self.narrow().iter().product();
        let (mut output, mut log_sum_exp) = (Vec::new(), Vec::new());
        let mut query = Sums::new(rows * dim);
        let (mut key, mut value) = (Sums::new(n_keys), Sums::new(n_keys));
        let mut sinks = Sums::new(self.heads);
        for index in 0..rows {
            let (head, batch) = (index % self.heads, index / self.heads / self.len);
            let row = self.row(values, index, &precision);
            let lse = row.log_sum_exp.value;
            let grad = &values.grad[index * dim..][..dim];
            let mut sums = Sums::new(dim);
            for (at, score, _) in &row.seen {
                let weight = (score - lse).exp();
                let v = self.key_row(&values.value, batch, *at, head);
                let place = self.key_place(batch, *at, head);
                for d in 0..dim {
                    let relative = row.weight + precision.factor;
                    let error = weight * relative + precision.least;
                    let (v, g) = (f64::from(v[d]), f64::from(grad[d]));
                    sums.add(d, weight * v, error * v.abs());
                    value.add(place + d, weight * g, error * g.abs());
                }
            }
            let own = sums.finish(&precision, 1.0);
            // The backward pass has the output as it was written.
            let (mut delta, mut delta_size, mut delta_error) = (0.0, 0.0, 0.0);
            for (g, o) in grad.iter().zip(&own) {
                let g = f64::from(*g);
                delta += g * o.value;
                delta_size += (g * o.value).abs();
                delta_error += g.abs() * o.bound;
            }
            delta_error += precision.products(dim, delta_size + delta_error);
            for (at, score, _) in &row.seen {
                let weight = (score - lse).exp();
                let (weight_grad, size) =
                    product(grad, self.key_row(&values.value, batch, *at, head));
                let score_grad = weight * (weight_grad - delta);
                let error = precision.products(dim, size) + delta_error;
                let error = weight * error + score_grad.abs() * (row.weight + precision.factor);
                // The difference is rounded, too.
                let error = error + weight * 2f64.powi(-23) * (weight_grad.abs() + delta.abs());
                let error = error + precision.least;
                let place = self.key_place(batch, *at, head);
                for d in 0..dim {
                    let k = f64::from(values.key[place + d]);
                    query.add(index * dim + d, score_grad * k, error * k.abs());
                    let q = f64::from(values.query[index * dim + d]);
                    key.add(place + d, score_grad * q, error * q.abs());
                }
            }
            let weight = (f64::from(values.sinks[head].max(f32::MIN)) - lse).exp();
            let error = weight * (delta_error + delta.abs() * row.weight);
            sinks.add(head, -weight * delta, error);
            output.extend(own);
            log_sum_exp.push(row.log_sum_exp);
        }
        [
            output,
            log_sum_exp,
            query.finish(&precision, scale),
            key.finish(&precision, scale),
            value.finish(&precision, 1.0),
            sinks.finish(&Precision::f32_sums(&precision), 1.0),
        ]
    }
}

impl Precision {
    /// For what is `f32` whatever the rest is.
    fn f32_sums(other: &Self) -> Self {
        let f32 = Self::f32();
        Self {
            sum: f32.sum.max(other.sum.min(2f64.powi(-23))),
            ..f32
        }
    }
}
