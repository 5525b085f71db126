//! Attention with sinks by kernels, on every runtime there is, against sums in `f64`.
//!
//! The bound follows every rounding through the definition, see `reference`.

mod case;
mod reference;

use burn::tensor::{DType, TensorData};
use burn_cubecl::CubeBackend;
use burn_gpt_oss::backend::{AttentionBackend, AttentionInputs, AttentionOutput};
use burn_gpt_oss::ops::{AttentionOptions, KeySegments};
use case::{Case, Values};
use kernel_harness::bounds::cpu_rounds_to_bf16;
use kernel_harness::runtimes::{TestRuntime, read, runtimes};
use reference::{Bounded, Precision};

/// Output, logarithms of sums, and gradients of query, key, value, sinks.
const NAMES: [&str; 6] = ["output", "log_sum_exp", "query", "key", "value", "sinks"];

impl Case {
    fn run(&self, runtime: &TestRuntime, values: &Values, dtype: DType) -> [TensorData; 6] {
        let (wide, narrow) = (self.wide(), self.narrow());
        let float = |values: &[f32], shape: [usize; 4]| {
            runtime.tensor(TensorData::new(values.to_vec(), shape).convert_dtype(dtype))
        };
        let inputs = AttentionInputs::<CubeBackend> {
            query: float(&values.query, wide),
            key: float(&values.key, narrow),
            value: float(&values.value, narrow),
            sinks: runtime.tensor(TensorData::new(values.sinks.clone(), [self.heads])),
        };
        let segments = match &self.segments {
            None => KeySegments::One,
            Some(numbers) => KeySegments::Numbered {
                numbers: runtime.tensor(TensorData::new(numbers.clone(), [self.batch, self.keys])),
            },
        };
        let options = AttentionOptions {
            scale: self.scale(),
            window: self.window,
            first_query: self.first_query,
        };
        let grad = float(&values.grad, wide);
        let output = CubeBackend::sink_attention(inputs.clone(), segments.clone(), options);
        let AttentionOutput {
            output: out,
            log_sum_exp,
        } = output.clone();
        let gradients =
            CubeBackend::sink_attention_backward(grad, inputs, output, segments, options);
        [
            read(out),
            read(log_sum_exp),
            read(gradients.query),
            read(gradients.key),
            read(gradients.value),
            read(gradients.sinks),
        ]
    }

    fn shapes(&self) -> [Vec<usize>; 6] {
        let (wide, narrow) = (self.wide().to_vec(), self.narrow().to_vec());
        [
            wide.clone(),
            wide[..3].to_vec(),
            wide,
            narrow.clone(),
            narrow,
            vec![self.heads],
        ]
    }

    /// Panics if an element is not within its bound; returns the largest share of the bound.
    fn check(&self, runtime: &TestRuntime, dtype: DType, precision: Precision) -> f64 {
        let values = self.values(dtype);
        let expected = self.reference(&values, precision);
        let found = self.run(runtime, &values, dtype);
        let dtypes = [dtype, DType::F32, dtype, dtype, dtype, DType::F32];
        let mut largest = 0f64;
        for i in 0..NAMES.len() {
            let what = format!("{}, {dtype:?}: {}, {}", runtime.name, self.name, NAMES[i]);
            assert_eq!(found[i].shape().to_vec(), self.shapes()[i], "{what}");
            assert_eq!(found[i].dtype(), dtypes[i], "{what}");
            largest = largest.max(compare(&found[i], &expected[i], &what));
        }
        largest
    }
}

fn compare(found: &TensorData, expected: &[Bounded], what: &str) -> f64 {
    let found: Vec<f64> = found.clone().convert::<f64>().try_into_vec().expect("f64");
    assert_eq!(found.len(), expected.len(), "{what}");
    let mut largest = 0f64;
    for (i, (found, Bounded { value, bound })) in found.iter().zip(expected).enumerate() {
        let error = (found - value).abs();
        assert!(error <= *bound, "{what}: [{i}] {found} {value} {bound}");
        if *bound > 0.0 {
            largest = largest.max(error / bound);
        }
    }
    largest
}

fn report(name: &str, dtype: DType, shares: &[f64]) {
    let largest = shares.iter().fold(0f64, |a, b| a.max(*b));
    let n = shares.len();
    println!("{name}, {dtype:?}: {n} cases, {largest:.3} of the bound");
}

#[test]
fn results_are_within_the_rounding_of_f32() {
    for runtime in runtimes() {
        let check = |case: &Case| case.check(&runtime, DType::F32, Precision::f32());
        let shares: Vec<f64> = case::small().iter().map(check).collect();
        report(runtime.name, DType::F32, &shares);
    }
}

/// Narrow floats with sums in `f32`; on tensor cores, where there are some, weights are narrow, too.
#[test]
fn narrow_floats_are_within_their_rounding() {
    for runtime in runtimes() {
        let cases = match runtime.name {
            "cuda" => [case::small(), case::large()].concat(),
            // Shaders have no `bf16`, and this takes a while to compile.
            "cpu" => case::small().into_iter().take(3).collect(),
            _ => continue,
        };
        let dtypes: &[DType] = match runtime.name {
            "cpu" if !cpu_rounds_to_bf16() => &[DType::F16],
            _ => &[DType::BF16, DType::F16],
        };
        for &dtype in dtypes {
            let check = |case: &Case| case.check(&runtime, dtype, Precision::narrow(dtype));
            let shares: Vec<f64> = cases.iter().map(check).collect();
            report(runtime.name, dtype, &shares);
        }
    }
}

#[test]
fn large_cases_are_within_the_rounding_of_f32() {
    for runtime in runtimes().filter(|runtime| runtime.name == "cuda") {
        let check = |case: &Case| case.check(&runtime, DType::F32, Precision::f32());
        let shares: Vec<f64> = case::large().iter().map(check).collect();
        report(runtime.name, DType::F32, &shares);
    }
}

/// Queries that see nothing give zeros exactly, and so do gradients from them.
#[test]
fn hidden_rows_are_zeros() {
    for runtime in runtimes() {
        let case = case::hidden();
        for dtype in [DType::F32, DType::BF16] {
            if dtype != DType::F32 && runtime.name != "cuda" {
                continue;
            }
            for sink in [0.5, f32::NEG_INFINITY] {
                let mut values = case.values(dtype);
                values.sinks.fill(sink);
                let found = case.run(&runtime, &values, dtype);
                for (data, name) in found.iter().zip(NAMES).filter(|(_, n)| *n != "log_sum_exp") {
                    let floats: Vec<f64> =
                        data.clone().convert::<f64>().try_into_vec().expect("f64");
                    let zeros = floats.iter().all(|x| *x == 0.0);
                    assert!(zeros, "{}, {dtype:?}: {name} {sink}", runtime.name);
                }
            }
        }
    }
}

/// The same bits every time.
#[test]
fn results_repeat() {
    for runtime in runtimes() {
        let dtypes: &[DType] = match runtime.name {
            "cuda" => &[DType::F32, DType::BF16],
            _ => &[DType::F32],
        };
        for dtype in dtypes {
            let case = case::small().swap_remove(2);
            let values = case.values(*dtype);
            let bytes = || {
                let found = case.run(&runtime, &values, *dtype);
                found.map(|data| data.as_bytes().to_vec())
            };
            assert_eq!(bytes(), bytes(), "{}, {dtype:?}", runtime.name);
        }
    }
}
