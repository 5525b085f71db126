//! Golden FP4 vectors through kernels: what Flex gives, bit for bit, on every runtime there is.
//!
//! That Flex agrees with the vectors is the business of `tests/golden_fp4.rs` of the workspace.

use crate::cases::assert_same_bits;
use burn::backend::Flex;
use burn::tensor::{DType, FloatDType, TensorData};
use burn_cubecl::CubeBackend;
use burn_flex::FlexTensor;
use burn_fp4::backend::Fp4Backend;
use burn_fp4::{Fp4Scheme, GradientRule, ScaleRule};
use kernel_harness::runtimes::{TestRuntime, read, runtimes};
use safetensors::{Dtype, SafeTensors};

/// Where the workspace has it, or in `GOLDEN_DIR`.
fn directory() -> String {
    let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden");
    std::env::var("GOLDEN_DIR").unwrap_or_else(|_| workspace.to_owned())
}

/// The inputs of a file: keys that end in `.x`.
fn inputs(file: &str) -> Vec<(String, TensorData)> {
    let path = format!("{}/fp4/{file}", directory());
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let inputs = tensors.iter().filter(|(name, _)| name.ends_with(".x"));
    let inputs = inputs.map(|(name, view)| {
        let dtype = match view.dtype() {
            Dtype::F32 => DType::F32,
            Dtype::BF16 => DType::BF16,
            other => panic!("{name}: {other:?}"),
        };
        let data = TensorData::from_bytes_vec(view.data().to_vec(), view.shape().to_vec(), dtype);
        (name.to_owned(), data)
    });
    inputs.collect()
}

fn schemes() -> [Fp4Scheme; 5] {
    [
        Fp4Scheme::mxfp4(),
        Fp4Scheme::mxfp4_with(ScaleRule::Floor),
        Fp4Scheme::mxfp4_with(ScaleRule::Even),
        Fp4Scheme::nvfp4(),
        Fp4Scheme::nvfp4_block32(),
    ]
}

fn check(runtime: &TestRuntime, data: &TensorData, scheme: Fp4Scheme, what: &str) {
    let axis = data.shape().len() - 1;
    let rule = GradientRule::StraightThrough;
    let tensor = FlexTensor::from_data(data.clone());
    let amax = Flex::fp4_amax(tensor.clone(), scheme);
    let rounded = Flex::fp4_fake_quantize(tensor.clone(), amax.clone(), axis, scheme, rule);
    let packed = Flex::fp4_quantize(tensor, amax.clone(), axis, scheme);
    let decoded = Flex::fp4_dequantize(packed.clone(), axis, FloatDType::F32, scheme);

    let tensor = runtime.tensor(data.clone());
    let found = CubeBackend::fp4_amax(tensor.clone(), scheme);
    assert_same_bits(&read(found.clone()), &amax.into_data(), what);
    let out = CubeBackend::fp4_fake_quantize(tensor.clone(), found.clone(), axis, scheme, rule);
    assert_same_bits(&read(out), &rounded.into_data(), what);
    let found = CubeBackend::fp4_quantize(tensor, found, axis, scheme);
    assert_same_bits(&read(found.codes.clone()), &packed.codes.into_data(), what);
    assert_same_bits(
        &read(found.scales.clone()),
        &packed.scales.into_data(),
        what,
    );
    let out = CubeBackend::fp4_dequantize(found, axis, FloatDType::F32, scheme);
    assert_same_bits(&read(out), &decoded.into_data(), what);
}

#[test]
fn golden_vectors() {
    for runtime in runtimes() {
        let mut n_cases = 0;
        for file in ["fp4.safetensors", "fp4_nonfinite.safetensors"] {
            let inputs = inputs(file);
            assert!(!inputs.is_empty(), "{file} has no inputs");
            for (name, data) in inputs {
                for scheme in schemes() {
                    let what = format!("{}: {name}, {scheme}", runtime.name);
                    check(&runtime, &data, scheme, &what);
                    n_cases += 1;
                }
            }
        }
        println!("{}: {n_cases} cases", runtime.name);
    }
}
