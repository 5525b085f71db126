//! Products with packed weights by kernels, on every runtime there is, against sums in `f64`.
//!
//! With `u = 2^-24` and `n` terms the bound is `n * u / (1 - n * u)` times the sum of their magnitudes,
//! and half a unit in the last place of the dtype for the result. NVFP4 has two roundings more: of the sum
//! times the global scale, and of the decoded weight that it is compared with.

use crate::cases::{Random, data};
use burn::backend::Flex;
use burn::tensor::{Bytes, DType, FloatDType, TensorData};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use burn_flex::FlexTensor;
use burn_fp4::backend::{
    ExpertBackend, ExpertRoutes, Fp4Backend, Fp4Primitive, LinearBackend, OperandPrimitive,
};
use burn_fp4::{Fp4Scheme, GlobalScope};
use half::f16;
use kernel_harness::bounds::dtypes;
use kernel_harness::runtimes::{TestRuntime, read, runtimes};

/// Experts, outputs, inputs; none for a weight without experts.
const WEIGHTS: [(Option<usize>, usize, usize); 6] = [
    (None, 7, 2880),
    (None, 70, 96),
    (None, 1, 32),
    (Some(3), 9, 160),
    (Some(2), 5, 2880),
    (Some(5), 130, 32),
];

const N_ROWS: [usize; 5] = [1, 3, 16, 17, 100];

/// A weight as bytes and decoded.
struct Weight {
    codes: TensorData,
    scales: TensorData,
    global_scales: TensorData,
    values: Vec<f32>,
    n_experts: usize,
    d_output: usize,
    d_input: usize,
}

impl Weight {
    /// Experts differ in size, so that their global scales do.
    fn new(experts: Option<usize>, d_output: usize, d_input: usize, scheme: Fp4Scheme) -> Self {
        let n_experts = experts.unwrap_or(1);
        let mut random = Random::new((d_output * d_input) as u64);
        let per_expert = d_output * d_input;
        let values: Vec<f32> = (0..n_experts * per_expert)
            .map(|i| random.unit() * 0.1 * (1 + i / per_expert) as f32)
            .collect();
        let shape = match experts {
            Some(n) => vec![n, d_output, d_input],
            None => vec![d_output, d_input],
        };
        let axis = shape.len() - 1;
        let dense = FlexTensor::from_data(data(&values, &shape, DType::F32));
        let amax = Flex::fp4_amax(dense.clone(), scheme);
        let packed = Flex::fp4_quantize(dense, amax, axis, scheme);
        let decoded = Flex::fp4_dequantize(packed.clone(), axis, FloatDType::F32, scheme);
        Self {
            codes: packed.codes.into_data(),
            scales: packed.scales.into_data(),
            global_scales: packed.global_scales.into_data(),
            values: decoded.into_data().try_into_vec().expect("f32"),
            n_experts,
            d_output,
            d_input,
        }
    }

    /// On a device; `gap` bytes behind every row of codes and of scales.
    fn on(&self, runtime: &TestRuntime, gap: usize) -> Fp4Primitive<CubeBackend> {
        let bytes = |data: &TensorData| match gap {
            0 => runtime.tensor(data.clone()),
            _ => runtime.pitched(data, data.shape()[data.shape().len() - 1] + gap),
        };
        Fp4Primitive {
            codes: bytes(&self.codes),
            scales: bytes(&self.scales),
            global_scales: runtime.tensor(self.global_scales.clone()),
        }
    }

    fn bias(&self, runtime: &TestRuntime, dtype: DType) -> CubeTensor {
        let shape = [self.n_experts, self.d_output];
        runtime.tensor(TensorData::zeros::<f32, _>(shape).convert_dtype(dtype))
    }

    fn value(&self, expert: usize, output: usize, input: usize) -> f64 {
        let row = expert * self.d_output + output;
        f64::from(self.values[row * self.d_input + input])
    }
}

/// `n` rows of numbers of a dtype.
fn rows(n: usize, len: usize, dtype: DType) -> TensorData {
    let mut random = Random::new((n + len) as u64);
    let values: Vec<f32> = (0..n * len).map(|_| random.unit()).collect();
    data(&values, &[n, len], dtype)
}

fn floats(data: &TensorData) -> Vec<f64> {
    data.clone().convert::<f64>().try_into_vec().expect("f64")
}

/// Panics if an element is not within the bound; returns the largest share of it.
fn check(
    scheme: Fp4Scheme,
    found: &TensorData,
    rows: &TensorData,
    columns: usize,
    value: impl Fn(usize, usize, usize) -> f64,
    what: &str,
) -> f64 {
    let [n, terms] = rows.shape().dims();
    assert_eq!(found.shape().to_vec(), [n, columns], "{what}");
    assert_eq!(found.dtype(), rows.dtype(), "{what}");
    // Half a unit in the last place, relative and where numbers are subnormal.
    let (relative, absolute) = match rows.dtype() {
        DType::BF16 => (2f64.powi(-8), 0.0),
        DType::F16 => (2f64.powi(-11), f16::from_bits(1).to_f64() / 2.0),
        _ => (0.0, 0.0),
    };
    let unit = 2f64.powi(-24);
    let scaled = matches!(scheme, Fp4Scheme::Nvfp4 { .. });
    let roundings = if scaled { terms + 2 } else { terms };
    let sum = roundings as f64 * unit;
    let gamma = sum / (1.0 - sum);
    let (found, values) = (floats(found), floats(rows));
    let mut largest = 0f64;
    for row in 0..n {
        for column in 0..columns {
            let products = (0..terms).map(|i| values[row * terms + i] * value(row, column, i));
            let (sum, magnitude) = products.fold((0.0, 0.0), |(s, m), p| (s + p, m + p.abs()));
            let bound = gamma * magnitude;
            let bound = bound + relative * (sum.abs() + bound) + absolute;
            let found = found[row * columns + column];
            let error = (found - sum).abs();
            assert!(
                error <= bound,
                "{what}: [{row}, {column}] {found} {sum} {bound}"
            );
            if bound > 0.0 {
                largest = largest.max(error / bound);
            }
        }
    }
    largest
}

/// Indices in no order, the first expert left out where there are others.
fn experts(n: usize, n_experts: usize) -> Vec<i32> {
    let mut random = Random::new(n as u64);
    let index = |random: &mut Random| match n_experts {
        1 => 0,
        _ => 1 + random.below(n_experts as u32 - 1) as i32,
    };
    (0..n).map(|_| index(&mut random)).collect()
}

/// Runs `check` for every weight, scheme and number of rows in `f32`, and some of them in every dtype.
fn for_all(check: impl Fn(&TestRuntime, &Weight, Option<&[i32]>, Fp4Scheme, usize, DType) -> f64) {
    for runtime in runtimes() {
        let (mut n_cases, mut largest) = (0, 0f64);
        for (i, (n_experts, d_output, d_input)) in WEIGHTS.into_iter().enumerate() {
            for scheme in [
                Fp4Scheme::mxfp4(),
                Fp4Scheme::nvfp4(),
                Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert),
            ] {
                let per_expert = scheme != scheme.with_global_scope(GlobalScope::Tensor);
                if per_expert && n_experts.is_none() {
                    continue;
                }
                let weight = Weight::new(n_experts, d_output, d_input, scheme);
                for n in N_ROWS {
                    let indices = experts(n, weight.n_experts);
                    let indices = n_experts.map(|_| indices.as_slice());
                    for dtype in dtypes(&runtime) {
                        let few = matches!(i, 0 | 3) && matches!(n, 3 | 17);
                        if dtype == DType::F32 || few || runtime.name == "cuda" {
                            let share = check(&runtime, &weight, indices, scheme, n, dtype);
                            largest = largest.max(share);
                            n_cases += 1;
                        }
                    }
                }
            }
        }
        println!(
            "{}: {n_cases} cases, {largest:.3} of the bound",
            runtime.name
        );
    }
}

/// The routing of rows with a choice each.
fn routes(runtime: &TestRuntime, experts: &[i32], n_experts: usize) -> ExpertRoutes<CubeBackend> {
    let indices = TensorData::new(experts.to_vec(), [experts.len(), 1]);
    CubeBackend::expert_routing(runtime.tensor(indices), n_experts)
}

/// The rows of `data` in the order of their experts.
fn sorted(data: &TensorData, experts: &[i32]) -> (TensorData, Vec<i32>) {
    let mut order: Vec<usize> = (0..experts.len()).collect();
    order.sort_by_key(|&row| experts[row]);
    let len = data.as_bytes().len() / experts.len();
    let rows = order
        .iter()
        .flat_map(|row| &data.as_bytes()[row * len..][..len]);
    let bytes = Bytes::from_bytes_vec(rows.copied().collect());
    let rows = TensorData::from_bytes(bytes, data.shape().clone(), data.dtype());
    (rows, order.iter().map(|&row| experts[row]).collect())
}

#[test]
fn products_are_within_the_rounding_of_f32_sums() {
    for_all(|runtime, weight, experts, scheme, n, dtype| {
        let rows = rows(n, weight.d_input, dtype);
        let x = runtime.tensor(rows.clone());
        let w = OperandPrimitive::Packed(weight.on(runtime, 0), scheme);
        let (found, rows, experts) = match experts {
            None => (CubeBackend::linear_plain(x, w), rows, vec![0; n]),
            Some(experts) => {
                let routes = routes(runtime, experts, weight.n_experts);
                let found = CubeBackend::expert_linear(x, w, weight.bias(runtime, dtype), routes);
                let (rows, experts) = sorted(&rows, experts);
                (found, rows, experts)
            }
        };
        let what = format!("{}: {scheme} {n} rows {dtype:?}", runtime.name);
        let value = |row: usize, output, i| weight.value(experts[row] as usize, output, i);
        check(scheme, &read(found), &rows, weight.d_output, value, &what)
    });
}

#[test]
fn gradients_are_within_the_rounding_of_f32_sums() {
    for_all(|runtime, weight, experts, scheme, n, dtype| {
        let rows = rows(n, weight.d_output, dtype);
        let w = OperandPrimitive::Packed(weight.on(runtime, 0), scheme);
        let (found, experts) = match experts {
            None => {
                let grad = runtime.tensor(rows.clone());
                (CubeBackend::linear_backward(grad, w), vec![0; n])
            }
            Some(experts) => {
                // Gradients come in the order of the experts, and leave in that of the rows.
                let (sorted, _) = sorted(&rows, experts);
                let routes = routes(runtime, experts, weight.n_experts);
                let grad = runtime.tensor(sorted);
                let found = CubeBackend::expert_linear_backward(grad, w, routes);
                (found, experts.to_vec())
            }
        };
        let what = format!("{}: backward {scheme} {n} rows {dtype:?}", runtime.name);
        let value = |row: usize, input, i| weight.value(experts[row] as usize, i, input);
        check(scheme, &read(found), &rows, weight.d_input, value, &what)
    });
}

/// What is in the gaps is NaN, or would change the result.
#[test]
fn rows_may_have_gaps_and_indices_may_be_wrong() {
    for runtime in runtimes() {
        for scheme in [Fp4Scheme::mxfp4(), Fp4Scheme::nvfp4()] {
            for (n_experts, n) in [(None, 3), (None, 40), (Some(3), 5), (Some(3), 40)] {
                let weight = Weight::new(n_experts, 6, 96, scheme);
                let rows = rows(n, 96, DType::F32);
                let x = runtime.pitched(&rows, 100);
                let w = OperandPrimitive::Packed(weight.on(&runtime, 4), scheme);
                let (found, expert) = match n_experts {
                    None => (CubeBackend::linear_plain(x, w), 0),
                    Some(n_experts) => {
                        let wrong = [7, -1, i32::MIN, i32::MAX, 3].repeat(8)[..n].to_vec();
                        let routes = routes(&runtime, &wrong, n_experts);
                        let bias = weight.bias(&runtime, DType::F32);
                        let found = CubeBackend::expert_linear(x, w, bias, routes);
                        (found, n_experts - 1)
                    }
                };
                let what = format!("{}: gaps, {scheme}, {n} rows", runtime.name);
                let value = |_, output, i| weight.value(expert, output, i);
                check(scheme, &read(found), &rows, 6, value, &what);
            }
        }
    }
}
