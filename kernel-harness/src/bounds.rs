//! Inputs, and the errors that results may have.

use burn::tensor::{DType, TensorData};

use crate::runtimes::TestRuntime;

/// Relative error of one rounding to `f32`.
pub const UNIT: f64 = 1.0 / (1u64 << 24) as f64;

/// Relative error of one rounding.
///
/// # Panics
/// If the dtype is not `F32`, `F16` or `BF16`.
pub fn unit(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => UNIT,
        DType::F16 => 2f64.powi(-11),
        DType::BF16 => 2f64.powi(-8),
        other => panic!("{other:?}"),
    }
}

/// What is lost below the smallest normal number, and by flushing to zero.
pub fn smallest(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2f64.powi(-24),
        _ => 2f64.powi(-125),
    }
}

/// Float types whose arithmetic a runtime has.
pub fn dtypes(runtime: &TestRuntime) -> Vec<DType> {
    match runtime.name {
        "cuda" => vec![DType::F32, DType::BF16, DType::F16],
        "cpu" if cpu_rounds_to_bf16() => vec![DType::F32, DType::BF16],
        _ => vec![DType::F32],
    }
}

/// Whether CubeCL's CPU runtime rounds to `bf16` here. LLVM calls `__truncsfbf2` where the processor has no
/// instruction for it, which libgcc has from version 13 on; the runtime does not bring it along.
pub fn cpu_rounds_to_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    true
}

/// Values in `[-scale, scale]` without a pattern, rounded to a dtype.
pub fn sample<const D: usize>(shape: [usize; D], scale: f32, dtype: DType) -> TensorData {
    let n_elements = shape.iter().product::<usize>();
    let seed = shape.iter().fold(17, |seed, len| seed * 31 + len);
    let value = |i: usize| ((i * 7919 + seed) * (i + 13) % 2003) as f32 / 1001.0 - 1.0;
    let values: Vec<f32> = (0..n_elements).map(|i| value(i) * scale).collect();
    TensorData::new(values, shape).convert_dtype(dtype)
}

/// All values.
///
/// # Panics
/// If they are not floats.
pub fn floats(data: &TensorData) -> Vec<f64> {
    data.clone().convert::<f64>().try_into_vec().expect("f64")
}

/// A value and the bound of its error.
pub type Bounded = (f64, f64);

/// Panics if an element is not within its bound; returns the largest share of a bound.
pub fn check(
    what: &str,
    found: &TensorData,
    shape: &[usize],
    dtype: DType,
    expected: &[Bounded],
) -> f64 {
    assert_eq!(found.shape().to_vec(), shape, "{what}: shape");
    assert_eq!(found.dtype(), dtype, "{what}: dtype");
    let found = floats(found);
    assert_eq!(found.len(), expected.len(), "{what}: elements");
    let mut largest = 0f64;
    for (i, (found, (value, bound))) in found.iter().zip(expected).enumerate() {
        let error = (found - value).abs();
        // Not a number is no smaller.
        let within = error <= *bound;
        assert!(
            within,
            "{what}: element {i} is {found}, expected {value}; error {error:e}, bound {bound:e}"
        );
        if *bound > 0.0 {
            largest = largest.max(error / bound);
        }
    }
    largest
}
