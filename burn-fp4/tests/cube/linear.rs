//! Rows times a matrix by kernels, on every runtime there is, against sums in `f64`.
//!
//! With `u = 2^-24` and `n` terms the bound is `n * u / (1 - n * u)` times the sum of their magnitudes, and
//! half a unit in the last place of the dtype for the result.
#![allow(clippy::unwrap_used)]

use burn::tensor::{DType, TensorData};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use burn_fp4::backend::LinearBackend;
use burn_fp4::backend::OperandPrimitive::Dense;
use kernel_harness::bounds::dtypes;
use kernel_harness::runtimes::{TestRuntime, read, runtimes};

/// Rows, inputs, outputs.
const SMALL: [[usize; 3]; 8] = [
    [2, 96, 530],
    [16, 24, 7],
    [1, 64, 48],
    [5, 37, 21],
    [70, 32, 136],
    [130, 72, 8],
    [3, 1, 1],
    [0, 8, 16],
];

/// Several tiles along every axis.
const WIDE: [[usize; 3]; 3] = [[700, 320, 576], [129, 2880, 264], [384, 96, 8]];

/// Several outputs to a team, the last of which has fewer.
const STORED: [[usize; 3]; 5] = [
    [1, 2880, 40],
    [1, 24, 2051],
    [2, 24, 2051],
    [3, 24, 1031],
    [17, 40, 600],
];

fn sample<const D: usize>(shape: [usize; D], seed: usize, dtype: DType) -> TensorData {
    let n: usize = shape.iter().product();
    let value = |i: usize| ((i * 7919 + seed * 104_729) % 251) as f32 / 97.0 - 1.3;
    TensorData::new((0..n).map(value).collect::<Vec<f32>>(), shape).convert_dtype(dtype)
}

/// A matrix in `f64`, and its transpose.
#[derive(Clone)]
struct Matrix {
    values: Vec<f64>,
    shape: [usize; 2],
}

impl Matrix {
    fn of(data: &TensorData) -> Self {
        Self {
            values: data.iter::<f64>().collect(),
            shape: data.shape().dims(),
        }
    }

    fn turned(&self) -> Self {
        let [height, width] = self.shape;
        let at = |i: usize| self.values[i % height * width + i / height];
        Self {
            values: (0..height * width).map(at).collect(),
            shape: [width, height],
        }
    }
}

struct Check<'a> {
    what: String,
    dtype: DType,
    largest: &'a mut f64,
}

impl Check<'_> {
    /// Fails unless the result is the product, and the bias, within the bound.
    fn product(&mut self, name: &str, found: CubeTensor, a: &Matrix, b: &Matrix, bias: &[f64]) {
        let ([m, k], [_, n]) = (a.shape, b.shape);
        let (mut sums, mut magnitudes) = (vec![0.0; m * n], vec![0.0; m * n]);
        for row in 0..m {
            for (column, value) in bias.iter().enumerate() {
                sums[row * n + column] = *value;
                magnitudes[row * n + column] = value.abs();
            }
            for term in 0..k {
                for column in 0..n {
                    let product = a.values[row * k + term] * b.values[term * n + column];
                    sums[row * n + column] += product;
                    magnitudes[row * n + column] += product.abs();
                }
            }
        }
        self.sums(name, found, &sums, &magnitudes, k + 1);
    }

    fn sums(&mut self, name: &str, found: CubeTensor, sums: &[f64], mags: &[f64], terms: usize) {
        let what = format!("{}, {name}", self.what);
        let found = read(found);
        assert_eq!(found.dtype(), self.dtype, "{what}");
        let found: Vec<f64> = found.iter::<f64>().collect();
        assert_eq!(found.len(), sums.len(), "{what}");
        let sum = terms as f64 * 2f64.powi(-24);
        let gamma = sum / (1.0 - sum);
        let (unit, smallest) = match self.dtype {
            DType::BF16 => (2f64.powi(-8), 0.0),
            DType::F16 => (2f64.powi(-11), 2f64.powi(-25)),
            _ => (0.0, 0.0),
        };
        for (i, ((found, exact), magnitude)) in found.iter().zip(sums).zip(mags).enumerate() {
            let bound = gamma * magnitude * (1.0 + unit) + unit * exact.abs() + smallest;
            let error = (found - exact).abs();
            assert!(error <= bound, "{what}, {i}: {found} {exact} {bound}");
            if bound > 0.0 {
                *self.largest = self.largest.max(error / bound);
            }
        }
    }
}

fn check(
    runtime: &TestRuntime,
    [rows, d_input, d_output]: [usize; 3],
    dtype: DType,
    largest: &mut f64,
) -> usize {
    let x = sample([rows, d_input], 1, dtype);
    let weight = sample([d_input, d_output], 2, dtype);
    let bias = sample([d_output], 3, dtype);
    let grad = sample([rows, d_output], 4, dtype);
    let mut check = Check {
        what: format!("{}: {rows} {d_input} {d_output} {dtype:?}", runtime.name),
        dtype,
        largest,
    };
    let of = |data: &TensorData| runtime.tensor(data.clone());
    let (x64, weight64, grad64) = (Matrix::of(&x), Matrix::of(&weight), Matrix::of(&grad));
    let bias64: Vec<f64> = bias.iter::<f64>().collect();

    let found = CubeBackend::linear_plain(of(&x), Dense(of(&weight)));
    check.product("plain", found, &x64, &weight64, &[]);
    let found = CubeBackend::linear_with_bias(of(&x), Dense(of(&weight)), of(&bias));
    check.product("with bias", found, &x64, &weight64, &bias64);
    let found = CubeBackend::linear_backward(of(&grad), Dense(of(&weight)));
    check.product("backward", found, &grad64, &weight64.turned(), &[]);
    let found = CubeBackend::linear_weight_gradient(of(&x), of(&grad));
    check.product("gradient of the weight", found, &x64.turned(), &grad64, &[]);
    let found = CubeBackend::linear_bias_gradient(of(&grad));
    let (mut sums, mut magnitudes) = (vec![0.0; d_output], vec![0.0; d_output]);
    for (i, value) in grad64.values.iter().enumerate() {
        sums[i % d_output] += value;
        magnitudes[i % d_output] += value.abs();
    }
    check.sums("gradient of the bias", found, &sums, &magnitudes, rows + 1);
    5
}

#[test]
fn products_are_within_the_rounding_of_f32_sums() {
    for runtime in runtimes() {
        let (mut n_checks, mut largest) = (0, 0.0);
        let cuda = runtime.name == "cuda";
        let dtypes: &[DType] = match cuda {
            true => &[DType::F32, DType::BF16, DType::F16],
            false => &[DType::F32],
        };
        let wide = WIDE.into_iter().filter(|_| cuda);
        for shape in SMALL.into_iter().chain(wide) {
            for &dtype in dtypes {
                n_checks += check(&runtime, shape, dtype, &mut largest);
            }
        }
        println!(
            "{}: {n_checks} checks, {largest:.3} of the bound",
            runtime.name
        );
    }
}

/// A matrix as checkpoints store it, a row per output.
fn stored(runtime: &TestRuntime, weight: &Matrix, dtype: DType) -> CubeTensor {
    let turned = weight.turned();
    let data = TensorData::new(turned.values, turned.shape).convert_dtype(dtype);
    let mut tensor = runtime.tensor(data);
    tensor.meta.swap(0, 1);
    tensor
}

/// Rows in `f32` beside matrices that are read as they are stored, in 16 bits where there are.
#[test]
fn matrices_may_be_stored_by_outputs_and_in_fewer_bits() {
    for runtime in runtimes() {
        let (mut n_checks, mut largest) = (0, 0.0);
        for [rows, d_input, d_output] in SMALL.into_iter().chain(STORED) {
            let x = sample([rows, d_input], 1, DType::F32);
            let bias = sample([d_output], 3, DType::F32);
            let grad = sample([rows, d_output], 4, DType::F32);
            let bias64: Vec<f64> = bias.iter::<f64>().collect();
            let of = |data: &TensorData| runtime.tensor(data.clone());
            for dtype in dtypes(&runtime) {
                let weight = sample([d_input, d_output], 2, dtype);
                let weight64 = Matrix::of(&weight);
                let mut check = Check {
                    what: format!("{}: {rows} {d_input} {d_output} {dtype:?}", runtime.name),
                    dtype: DType::F32,
                    largest: &mut largest,
                };
                let forms = [of(&weight), stored(&runtime, &weight64, dtype)];
                for (weight, form) in forms.into_iter().zip(["by inputs", "by outputs"]) {
                    let found = CubeBackend::linear_plain(of(&x), Dense(weight.clone()));
                    check.product(form, found, &Matrix::of(&x), &weight64, &[]);
                    let found =
                        CubeBackend::linear_with_bias(of(&x), Dense(weight.clone()), of(&bias));
                    check.product(form, found, &Matrix::of(&x), &weight64, &bias64);
                    let found = CubeBackend::linear_backward(of(&grad), Dense(weight));
                    check.product(form, found, &Matrix::of(&grad), &weight64.turned(), &[]);
                    n_checks += 3;
                }
            }
        }
        println!(
            "{}: {n_checks} checks, {largest:.3} of the bound",
            runtime.name
        );
    }
}

/// Of up to 16 rows, each has the bits that it has alone.
#[test]
fn few_rows_do_not_depend_on_each_other() {
    for runtime in runtimes() {
        for [d_input, d_output] in [[2880, 40], [200, 1030]] {
            let x = sample([16, d_input], 1, DType::F32);
            let weight = Matrix::of(&sample([d_input, d_output], 2, DType::F32));
            let weight = || stored(&runtime, &weight, DType::F32);
            let multiply = |x: TensorData| {
                let found = read(CubeBackend::linear_plain(
                    runtime.tensor(x),
                    Dense(weight()),
                ));
                found.try_into_vec::<f32>().unwrap()
            };
            let values: Vec<f32> = x.iter::<f32>().collect();
            let alone = values.chunks_exact(d_input);
            let alone: Vec<f32> = alone
                .flat_map(|row| multiply(TensorData::new(row.to_vec(), [1, d_input])))
                .collect();
            for n_rows in [2, 3, 16] {
                let rows = values[..n_rows * d_input].to_vec();
                let found = multiply(TensorData::new(rows, [n_rows, d_input]));
                let same = found
                    .iter()
                    .zip(&alone)
                    .all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{}: {n_rows} rows of {d_input}", runtime.name);
            }
        }
    }
}

/// What is in the gaps is NaN.
#[test]
fn rows_may_have_gaps() {
    for runtime in runtimes() {
        let dtypes: &[DType] = match runtime.name {
            "cuda" => &[DType::F32, DType::BF16],
            _ => &[DType::F32],
        };
        for &dtype in dtypes {
            let mut largest = 0.0;
            let (x, weight) = (sample([70, 40], 1, dtype), sample([40, 24], 2, dtype));
            let mut check = Check {
                what: format!("{}: gaps, {dtype:?}", runtime.name),
                dtype,
                largest: &mut largest,
            };
            let tensors = (runtime.pitched(&x, 48), runtime.pitched(&weight, 32));
            let found = CubeBackend::linear_plain(tensors.0, Dense(tensors.1));
            check.product("product", found, &Matrix::of(&x), &Matrix::of(&weight), &[]);

            let (x, stored) = (sample([3, 40], 1, dtype), sample([24, 40], 2, dtype));
            let mut by_outputs = runtime.pitched(&stored, 44);
            by_outputs.meta.swap(0, 1);
            let found = CubeBackend::linear_plain(runtime.pitched(&x, 48), Dense(by_outputs));
            let weight = Matrix::of(&stored).turned();
            check.product("few rows", found, &Matrix::of(&x), &weight, &[]);
        }
    }
}
