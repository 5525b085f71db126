//! The norm by kernels, on every runtime there is, against its formula in `f64`: as many roundings as a
//! sum has terms, a few more, and one to the dtype.

use burn::tensor::{DType, TensorData};
use burn_cubecl::CubeBackend;
use burn_gpt_oss::backend::RmsNormBackend;
use kernel_harness::bounds::{Bounded, UNIT, check, dtypes, floats, sample, smallest, unit};
use kernel_harness::runtimes::{TestRuntime, read, runtimes};

const EPSILON: f64 = 1e-5;

/// Rows and channels: an odd number, one, that of gpt-oss with several rows for a cube, more than
/// registers of a cube hold.
const SHAPES: [[usize; 2]; 5] = [[5, 45], [3, 1], [70, 64], [600, 2880], [3, 20_000]];

struct Case {
    shape: [usize; 2],
    dtype: DType,
    input: TensorData,
    weight: TensorData,
    grad: TensorData,
}

/// Values in the order of elements, of channels, of rows.
struct Expected {
    output: Vec<Bounded>,
    reciprocals: Vec<Bounded>,
    by_input: Vec<Bounded>,
    by_weight: Vec<Bounded>,
}

impl Case {
    fn new(shape @ [_, size]: [usize; 2], dtype: DType) -> Self {
        let mut input = floats(&sample(shape, 3.0, dtype));
        // A row of zeros, where the root is that of epsilon alone.
        input[..size].fill(0.0);
        Self {
            shape,
            dtype,
            input: TensorData::new(input, shape).convert_dtype(dtype),
            weight: sample([size], 2.0, DType::F32),
            grad: sample([shape[0], size, 1], 1.0, dtype).reshape_to(shape),
        }
    }

    fn expected(&self) -> Expected {
        let [n_rows, size] = self.shape;
        let [input, weight, grad] = [&self.input, &self.weight, &self.grad].map(floats);
        let sums = (size + 16) as f64 * UNIT;
        let mut expected = Expected {
            output: Vec::new(),
            reciprocals: Vec::new(),
            by_input: Vec::new(),
            by_weight: vec![(0.0, 0.0); size],
        };
        for row in 0..n_rows {
            let (x, g) = (&input[row * size..][..size], &grad[row * size..][..size]);
            let mean = x.iter().map(|x| x * x).sum::<f64>() / size as f64;
            let r = 1.0 / (mean + EPSILON).sqrt();
            expected.reciprocals.push((r, r * sums));
            let products = || (0..size).map(|i| g[i] * weight[i] * x[i] * r);
            let mean = products().sum::<f64>() / size as f64;
            let magnitude = products().map(f64::abs).sum::<f64>() / size as f64;
            for i in 0..size {
                let bounded = |value: f64, terms: f64| {
                    let bound = terms * 2.0 * sums + value.abs() * unit(self.dtype);
                    (value, bound + smallest(self.dtype))
                };
                let value = x[i] * r * weight[i];
                expected.output.push(bounded(value, value.abs()));
                let terms = [g[i] * weight[i] * r, x[i] * r * r * mean];
                let magnitude = terms[0].abs() + (x[i] * r * r * magnitude).abs();
                expected
                    .by_input
                    .push(bounded(terms[0] - terms[1], magnitude));
                let (sum, bound) = &mut expected.by_weight[i];
                *sum += g[i] * x[i] * r;
                *bound += (g[i] * x[i] * r).abs() * (sums + n_rows as f64 * UNIT);
            }
        }
        expected
    }

    /// The largest share of a bound.
    fn check(&self, runtime: &TestRuntime) -> f64 {
        let what = format!("{}: {:?} {:?}", runtime.name, self.shape, self.dtype);
        println!("{what}");
        let on = |data: &TensorData| runtime.tensor(data.clone());
        let (output, reciprocals) =
            CubeBackend::rms_norm(on(&self.input), on(&self.weight), EPSILON);
        let (by_input, by_weight) = CubeBackend::rms_norm_gradients(
            on(&self.grad),
            on(&self.input),
            on(&self.weight),
            reciprocals.clone(),
        );
        let expected = self.expected();
        let [n_rows, size] = self.shape;
        let shares = [
            (output, &[n_rows, size][..], self.dtype, expected.output),
            (reciprocals, &[n_rows], DType::F32, expected.reciprocals),
            (by_input, &[n_rows, size], self.dtype, expected.by_input),
            (by_weight, &[size], DType::F32, expected.by_weight),
        ]
        .map(|(found, shape, dtype, expected)| check(&what, &read(found), shape, dtype, &expected));
        shares.into_iter().fold(0.0, f64::max)
    }
}

/// Another sample than that of the same shape.
trait ReshapeTo {
    fn reshape_to(self, shape: [usize; 2]) -> Self;
}

impl ReshapeTo for TensorData {
    fn reshape_to(self, shape: [usize; 2]) -> Self {
        TensorData::new(floats(&self), shape).convert_dtype(self.dtype())
    }
}

#[test]
fn norms_and_gradients_are_within_their_bounds() {
    for runtime in runtimes() {
        let (mut n_cases, mut largest) = (0, 0f64);
        for dtype in dtypes(&runtime) {
            for shape in SHAPES {
                largest = largest.max(Case::new(shape, dtype).check(&runtime));
                n_cases += 1;
            }
        }
        println!(
            "{}: {n_cases} cases, {largest:.3} of the bound",
            runtime.name
        );
    }
}

/// The same bits twice.
#[test]
fn gradients_do_not_depend_on_timing() {
    for runtime in runtimes() {
        let case = Case::new([600, 2880], DType::F32);
        let on = |data: &TensorData| runtime.tensor(data.clone());
        let run = || {
            let (_, reciprocals) =
                CubeBackend::rms_norm(on(&case.input), on(&case.weight), EPSILON);
            let (_, by_weight) = CubeBackend::rms_norm_gradients(
                on(&case.grad),
                on(&case.input),
                on(&case.weight),
                reciprocals,
            );
            read(by_weight).as_bytes().to_vec()
        };
        assert!(run() == run(), "{}", runtime.name);
    }
}
