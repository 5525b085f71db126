//! AdamW on weights and moments of few bytes: what runtimes give beside Flex, step by step, each from what the runtime
//! had. Weights differ by the roundings of their formula, codes of moments by one where a value lies between two.

use burn::backend::Flex;
use burn::tensor::{DType, TensorData};
use burn_cubecl::CubeBackend;
use burn_flex::FlexTensor;
use burn_qat_train::backend::{CompactAdamWBackend, CompactPrimitive, CompactStep};
use burn_qat_train::{CompactFormat, Masters, Moments};
use kernel_harness::bounds::{UNIT, floats, sample};
use kernel_harness::runtimes::{TestRuntime, read, runtimes};

/// Whole units of a kernel, several cubes of them, and a length that Flex stands in for.
const LENGTHS: [usize; 3] = [64, 64 * 333, 100];
const N_STEPS: i32 = 3;

/// Weight, remainder, and codes and scales of both moments.
type Parts = [TensorData; 6];

fn beginning(format: CompactFormat, n: usize) -> Parts {
    let zeros =
        |n: usize, dtype: DType| TensorData::from_bytes_vec(vec![0; n * dtype.size()], [n], dtype);
    let remainder = match format.masters {
        Masters::Split24 => zeros(n, DType::U8),
        Masters::Split32 => zeros(n, DType::U16),
        Masters::F32 | Masters::Bf16 => zeros(0, DType::U8),
    };
    let n_groups = n.div_ceil(32);
    let (codes, scales, seconds) = match format.moments {
        Moments::F32 => (zeros(0, DType::U8), zeros(n, DType::F32), n),
        Moments::Companded8 => (zeros(n, DType::U8), zeros(n_groups, DType::BF16), n_groups),
    };
    let weight = sample([n], 1.0, format.weight_dtype());
    [
        weight,
        remainder,
        codes.clone(),
        scales,
        codes,
        zeros(seconds, DType::F32),
    ]
}

fn primitive<B: burn::backend::Backend<FloatTensorPrimitive = T, IntTensorPrimitive = T>, T>(
    [weight, remainder, codes_1, scales_1, codes_2, scales_2]: [T; 6],
) -> CompactPrimitive<B> {
    CompactPrimitive {
        weight,
        remainder,
        codes_1,
        scales_1,
        codes_2,
        scales_2,
    }
}

fn parts<B: burn::backend::Backend<FloatTensorPrimitive = T, IntTensorPrimitive = T>, T>(
    state: CompactPrimitive<B>,
) -> [T; 6] {
    [
        state.weight,
        state.remainder,
        state.codes_1,
        state.scales_1,
        state.codes_2,
        state.scales_2,
    ]
}

fn step(format: CompactFormat, step: i32) -> CompactStep {
    let (beta_1, beta_2) = (0.9f32, 0.95f32);
    CompactStep {
        format,
        factors: burn_qat_train::backend::AdamWFactors {
            beta_1,
            beta_2,
            bias_1: 1.0 - beta_1.powi(step),
            bias_2: 1.0 - beta_2.powi(step),
            epsilon: 1e-8,
            learning_rate: 1e-3,
            decay: Some(0.9999),
        },
        coefficient: 0.5,
        seed: 77,
    }
}

/// Weights as the optimizer sees them.
fn weights(parts: &Parts) -> Vec<f64> {
    let low = |i: usize, bytes: &[u8], dtype: DType| match dtype {
        DType::U8 => i32::from(bytes[i] as i8) << 8,
        _ => i32::from(i16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]])),
    };
    let high = floats(&parts[0]);
    let (bytes, dtype) = (parts[1].bytes(), parts[1].dtype());
    if bytes.is_empty() {
        return high;
    }
    let joined = high.iter().enumerate().map(|(i, high)| {
        let bits = (*high as f32).to_bits();
        f64::from(f32::from_bits(
            bits.wrapping_add(low(i, bytes, dtype) as u32),
        ))
    });
    joined.collect()
}

/// The share of codes that differ, by one each.
fn codes_that_differ(what: &str, found: &TensorData, expected: &TensorData) -> f64 {
    let pairs = found.bytes().iter().zip(expected.bytes().iter());
    let differences = pairs.map(|(a, b)| (i32::from(*a as i8) - i32::from(*b as i8)) as i8);
    let differences: Vec<i8> = differences.collect();
    assert!(
        differences.iter().all(|difference| difference.abs() <= 1),
        "{what}: codes that differ by more than one"
    );
    let n = differences
        .iter()
        .filter(|difference| **difference != 0)
        .count();
    n as f64 / differences.len().max(1) as f64
}

fn check(runtime: &TestRuntime, format: CompactFormat, n: usize) {
    let mut state = beginning(format, n);
    for number in 1..=N_STEPS {
        let what = format!("{}: {format:?}, {n} weights, step {number}", runtime.name);
        let grad = sample([n], 0.1 / number as f32, DType::F32);
        let on_flex = state.clone().map(FlexTensor::from_data);
        let expected = Flex::compact_adamw(
            FlexTensor::from_data(grad.clone()),
            primitive::<Flex, _>(on_flex),
            step(format, number),
        );
        let expected = parts(expected).map(FlexTensor::into_data);
        let on_runtime = state.clone().map(|part| runtime.tensor(part));
        let found = CubeBackend::compact_adamw(
            runtime.tensor(grad),
            primitive::<CubeBackend, _>(on_runtime),
            step(format, number),
        );
        let found = parts(found).map(read);
        // What the roundings of a division and a root may change, and a place of the stored number.
        let place = match format.masters {
            Masters::F32 | Masters::Split32 => 4.0 * UNIT,
            Masters::Split24 => 2f64.powi(-15),
            Masters::Bf16 => 2f64.powi(-7),
        };
        for (found, expected) in weights(&found).into_iter().zip(weights(&expected)) {
            let bound = place * expected.abs() + 64.0 * UNIT * 1e-3;
            assert!(
                (found - expected).abs() <= bound,
                "{what}: {found} and {expected}"
            );
        }
        for codes in [2, 4] {
            let share = codes_that_differ(&what, &found[codes], &expected[codes]);
            assert!(share < 0.01, "{what}: {share} of the codes differ");
        }
        for scales in [3, 5] {
            let pairs = floats(&found[scales])
                .into_iter()
                .zip(floats(&expected[scales]));
            for (found, expected) in pairs {
                assert!(
                    (found - expected).abs() <= 0.01 * expected.abs(),
                    "{what}: scales"
                );
            }
        }
        state = found;
    }
}

#[test]
fn compact_steps_are_those_of_flex() {
    for runtime in runtimes() {
        for masters in [
            Masters::F32,
            Masters::Split32,
            Masters::Split24,
            Masters::Bf16,
        ] {
            for moments in [Moments::F32, Moments::Companded8] {
                for n in LENGTHS {
                    check(&runtime, CompactFormat { masters, moments }, n);
                }
            }
        }
        println!("{}: eight formats, {N_STEPS} steps each", runtime.name);
    }
}
