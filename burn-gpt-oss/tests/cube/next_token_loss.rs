//! The loss of the next token by kernels, on every runtime there is, against its formula in `f64`.
//!
//! A logit is off by as many roundings of its terms as there are channels, and so is the exponent behind
//! a probability; sums over rows and vocabulary follow.

use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, TensorData};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use burn_gpt_oss::backend::NextTokenLossBackend;
use kernel_harness::bounds::{Bounded, UNIT, check, dtypes, floats, sample, unit};
use kernel_harness::runtimes::{TestRuntime, read, runtimes};

/// Rows, channels, vocabulary: odd ones, one of all, whole vectors, two chunks on small runtimes.
const SHAPES: [[usize; 3]; 5] = [
    [7, 5, 33],
    [1, 1, 1],
    [64, 24, 100],
    [33, 16, 516],
    [151, 3, 40_003],
];

/// Several chunks on a GPU, the gradient of the weight in two parts.
const LARGE: [usize; 3] = [700, 2, 201_088];

struct Case {
    shape: [usize; 3],
    dtype: DType,
    hidden: TensorData,
    /// `[hidden, vocabulary]`.
    weight: TensorData,
    /// As given, some out of the vocabulary, and as used.
    targets: Vec<i32>,
    used: Vec<usize>,
    row_weights: Vec<f32>,
}

struct Expected {
    loss: Bounded,
    by_hidden: Vec<Bounded>,
    by_weight: Vec<Bounded>,
}

impl Case {
    fn new(shape @ [rows, width, vocabulary]: [usize; 3], scale: f32, dtype: DType) -> Self {
        let target = |row: usize| match row % 7 {
            0 => vocabulary as i32 - 1,
            1 => 0,
            5 => -1 - row as i32,
            6 => (vocabulary + row) as i32,
            _ => (row * 31 % vocabulary) as i32,
        };
        let targets: Vec<i32> = (0..rows).map(target).collect();
        let used = targets.iter().map(|&target| match usize::try_from(target) {
            Ok(target) => target.min(vocabulary - 1),
            Err(_) => vocabulary - 1,
        });
        Self {
            shape,
            dtype,
            hidden: sample([rows, width], scale, dtype),
            weight: sample([width, vocabulary], 1.0, dtype),
            used: used.collect(),
            targets,
            row_weights: (0..rows).map(|row| ((row + 1) % 5) as f32 / 4.0).collect(),
        }
    }

    fn expected(&self) -> Expected {
        let [rows, width, vocabulary] = self.shape;
        let (hidden, weight) = (floats(&self.hidden), floats(&self.weight));
        let mut expected = Expected {
            loss: (0.0, 0.0),
            by_hidden: Vec::new(),
            by_weight: vec![(0.0, 0.0); width * vocabulary],
        };
        let sums = (vocabulary + rows + 16) as f64 * UNIT;
        for row in 0..rows {
            let x = &hidden[row * width..][..width];
            let mut logits = vec![0.0; vocabulary];
            let mut magnitudes = vec![0.0; vocabulary];
            for (x, weight) in x.iter().zip(weight.chunks(vocabulary)) {
                for (v, weight) in weight.iter().enumerate() {
                    logits[v] += x * weight;
                    magnitudes[v] += (x * weight).abs();
                }
            }
            let largest = logits.iter().copied().fold(f64::MIN, f64::max);
            let magnitude = magnitudes.iter().copied().fold(0.0, f64::max);
            let of_logit = magnitude * (width + 1) as f64 * UNIT;
            // The argument of the exponential is a difference of logits, rounded.
            let of_exp = 2.0 * of_logit + (8.0 + 4.0 * magnitude) * UNIT + sums;
            let total: f64 = logits.iter().map(|x| (x - largest).exp()).sum();
            let row_weight = f64::from(self.row_weights[row]);
            let loss = total.ln() + largest - logits[self.used[row]];
            let loss_terms = total.ln() + largest.abs() + magnitude;
            expected.loss.0 += row_weight * loss;
            expected.loss.1 += row_weight * (2.0 * of_exp + loss_terms * (8.0 * UNIT + sums));

            let mut by_hidden = vec![(0.0, 0.0); width];
            for v in 0..vocabulary {
                let p = (logits[v] - largest).exp() / total;
                let hot = f64::from(u8::from(self.used[row] == v));
                let d = row_weight * (p - hot);
                let error = row_weight * (p * of_exp + 4.0 * UNIT * (p + hot))
                    + d.abs()
                        * if self.dtype == DType::F32 {
                            0.0
                        } else {
                            unit(self.dtype)
                        }
                    + 2f64.powi(-100);
                let add = |(sum, bound): &mut Bounded, factor: f64| {
                    *sum += d * factor;
                    *bound += (error + (d.abs() + error) * sums) * factor.abs();
                };
                for i in 0..width {
                    add(&mut by_hidden[i], weight[i * vocabulary + v]);
                    add(&mut expected.by_weight[i * vocabulary + v], x[i]);
                }
            }
            expected.by_hidden.extend(by_hidden);
        }
        expected
    }

    /// Hidden states, and the weight as it is or turned.
    fn inputs(&self, runtime: &TestRuntime, turned: bool) -> [CubeTensor; 2] {
        let [_, width, vocabulary] = self.shape;
        let weight = match turned {
            false => runtime.tensor(self.weight.clone()),
            true => {
                let values = floats(&self.weight);
                let at = |i: usize| values[i % width * vocabulary + i / width];
                let turned: Vec<f64> = (0..width * vocabulary).map(at).collect();
                let data = TensorData::new(turned, [vocabulary, width]).convert_dtype(self.dtype);
                CubeBackend::float_swap_dims(runtime.tensor(data), 0, 1)
            }
        };
        [runtime.tensor(self.hidden.clone()), weight]
    }

    /// Runs it for the gradients that are `wanted`; returns the largest share of a bound.
    fn check(
        &self,
        runtime: &TestRuntime,
        expected: &Expected,
        wanted: [bool; 2],
        turned: bool,
    ) -> f64 {
        let [rows, width, vocabulary] = self.shape;
        let what = format!(
            "{}: {:?} {:?}, gradients {wanted:?}, weight turned: {turned}",
            runtime.name, self.shape, self.dtype
        );
        println!("{what}");
        let [hidden, weight] = self.inputs(runtime, turned);
        let targets = runtime.tensor(TensorData::new(self.targets.clone(), [rows]));
        let row_weights = runtime.tensor(TensorData::new(self.row_weights.clone(), [rows]));
        let one = std::slice::from_ref(&expected.loss);
        let scalar = |loss, what: &str| check(what, &read(loss), &[1], DType::F32, one);
        if !wanted.contains(&true) {
            let loss = CubeBackend::next_token_loss(hidden, weight, targets, row_weights);
            return scalar(loss, &what);
        }
        let (loss, by_hidden, by_weight) = CubeBackend::next_token_loss_with_gradients(
            hidden,
            weight,
            targets,
            row_weights,
            wanted,
        );
        let mut largest = scalar(loss, &what);
        for (name, wanted, found, shape, expected) in [
            (
                "hidden",
                wanted[0],
                by_hidden,
                [rows, width],
                &expected.by_hidden,
            ),
            (
                "weight",
                wanted[1],
                by_weight,
                [width, vocabulary],
                &expected.by_weight,
            ),
        ] {
            if wanted {
                let what = format!("{what}, by {name}");
                let share = check(&what, &read(found), &shape, DType::F32, expected);
                largest = largest.max(share);
            }
        }
        largest
    }
}

#[test]
fn losses_and_gradients_are_within_their_bounds() {
    for runtime in runtimes() {
        let (mut n_cases, mut largest) = (0, 0f64);
        let large = |dtype| (runtime.name == "cuda" && dtype == DType::BF16).then_some(LARGE);
        for dtype in dtypes(&runtime) {
            for shape in SHAPES.into_iter().chain(large(dtype)) {
                let case = Case::new(shape, 1.0, dtype);
                let expected = case.expected();
                for (wanted, turned) in [
                    ([true, true], false),
                    ([true, false], true),
                    ([false, true], true),
                    ([false, false], false),
                ] {
                    let share = case.check(&runtime, &expected, wanted, turned);
                    largest = largest.max(share);
                    n_cases += 1;
                }
            }
        }
        println!(
            "{}: {n_cases} cases, {largest:.3} of the bound",
            runtime.name
        );
    }
}

/// Far beyond what `exp` takes.
#[test]
fn large_logits_are_survived() {
    for runtime in runtimes() {
        let case = Case::new([9, 16, 50], 1e4, DType::F32);
        let expected = case.expected();
        let share = case.check(&runtime, &expected, [true, true], false);
        println!("{}: 1 case, {share:.3} of the bound", runtime.name);
    }
}
