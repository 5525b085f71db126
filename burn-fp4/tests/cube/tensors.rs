//! The public operations on devices of CubeCL: autodiff, lazy execution and all, against Flex.

use crate::cases::{Random, assert_same_bits};
use burn::tensor::{DType, Device, FloatDType, Int, Tensor, TensorData};
use burn_fp4::{
    FakeQuantizer, Fp4Scheme, Fp4Tensor, GlobalScope, GradientRule, dequantize, fp4_expert_linear,
    fp4_linear, fp8_fake_quantize, global_amax, quantize,
};
use kernel_harness::runtimes::devices;

fn schemes() -> [Fp4Scheme; 3] {
    [
        Fp4Scheme::mxfp4(),
        Fp4Scheme::nvfp4(),
        Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert),
    ]
}

fn sample<const D: usize>(shape: [usize; D], seed: u64) -> TensorData {
    let mut random = Random::new(seed);
    let values = (0..shape.iter().product()).map(|_| random.unit() * 3.0);
    TensorData::new(values.collect::<Vec<f32>>(), shape)
}

/// The value and the gradient of a function of a tensor whose output is weighed.
fn with_gradient(
    device: &Device,
    x: &TensorData,
    weights: &TensorData,
    f: impl Fn(Tensor<3>) -> Tensor<3>,
) -> [TensorData; 2] {
    let device = device.clone().autodiff();
    let x = Tensor::<3>::from_data(x.clone(), (&device, DType::F32)).require_grad();
    let weights = Tensor::<3>::from_data(weights.clone(), (&device, DType::F32));
    // Element-wise neighbours, for lazy backends to fuse around the operation.
    let y = f(x.clone() * 2.0) * weights;
    // Of the sum, without making one: reductions crash some software Vulkan.
    let grads = y.clone().backward();
    [y.into_data(), x.grad(&grads).expect("tracked").into_data()]
}

#[test]
fn fake_quantization_and_its_gradients() {
    let (_alone, devices) = devices();
    let (x, weights) = (sample([3, 64, 34], 1), sample([3, 64, 34], 2));
    for (name, device) in devices {
        let mut n_cases = 0;
        for scheme in schemes() {
            for rule in [GradientRule::StraightThrough, GradientRule::ClipAware] {
                let quantizer = FakeQuantizer::new(scheme).with_gradient(rule);
                let own = |x: Tensor<3>| quantizer.forward(x, 1);
                let given = |x: Tensor<3>| {
                    let amax = global_amax(x.clone().detach(), &scheme) * 0.25;
                    quantizer.forward_with_amax(x, amax, 1)
                };
                for f in [&own as &dyn Fn(Tensor<3>) -> Tensor<3>, &given] {
                    let expected = with_gradient(&Device::flex(), &x, &weights, f);
                    let found = with_gradient(&device, &x, &weights, f);
                    for (found, expected) in found.iter().zip(&expected) {
                        let what = format!("{name}: {scheme}, {rule:?}");
                        assert_same_bits(found, expected, &what);
                    }
                    n_cases += 1;
                }
            }
        }
        println!("{name}: {n_cases} cases");
    }
}

#[test]
fn packing_and_decoding() {
    let (_alone, devices) = devices();
    let x = sample([3, 64, 34], 3);
    for (name, device) in devices {
        for scheme in schemes() {
            let pack = |device: &Device| {
                let x = Tensor::<3>::from_data(x.clone(), (device, DType::F32));
                quantize(x * 0.5, 1, &scheme)
            };
            let (found, expected) = (pack(&device), pack(&Device::flex()));
            assert_eq!(found.shape(), expected.shape());
            let same = found.to_packed().unwrap() == expected.to_packed().unwrap();
            assert!(same, "{name}: bytes of {scheme}");
            let decode = |packed: &Fp4Tensor<3>| {
                let dense = dequantize(packed, 1, FloatDType::F32);
                (dense + 1.0).into_data()
            };
            assert_same_bits(
                &decode(&found),
                &decode(&expected),
                &format!("{name}: {scheme}"),
            );
            let moved = Fp4Tensor::<3>::from_packed(expected.to_packed().unwrap(), &device);
            assert_same_bits(&decode(&moved.unwrap()), &decode(&expected), "moved");
        }
    }
}

/// The bound of `cube_products.rs` twice, once for every side.
fn assert_close(found: &TensorData, expected: &TensorData, limit: f32, what: &str) {
    let values = |data: &TensorData| data.clone().try_into_vec::<f32>().expect("f32");
    for (i, (found, expected)) in values(found).iter().zip(values(expected)).enumerate() {
        let difference = (found - expected).abs();
        assert!(
            difference <= limit,
            "{what}: {i} is {found}, expected {expected}"
        );
    }
}

#[test]
fn products_and_their_gradients() {
    let (_alone, devices) = devices();
    let (n_rows, d_input, d_output, n_experts) = (5, 96, 40, 3);
    let x = sample([1, n_rows, d_input], 4);
    let weights = sample([1, n_rows, d_output], 5);
    let dense = sample([n_experts, d_output, d_input], 6);
    for (name, device) in devices {
        for scheme in schemes() {
            let run = |device: &Device| {
                let dense = Tensor::<3>::from_data(dense.clone(), (device, DType::F32));
                let packed = Fp4Tensor::quantize(dense.clone(), 2, &scheme);
                let scheme = scheme.with_global_scope(GlobalScope::Tensor);
                let first: Tensor<2> = dense.slice(0..1).squeeze_dim(0);
                let one = Fp4Tensor::<2>::quantize(first, 1, &scheme);
                let experts = Tensor::<1, Int>::from_data([2, 0, 2, 1, 0], device);
                let linear = |x: Tensor<3>| {
                    let x: Tensor<2> = x.squeeze_dim(0);
                    fp4_linear(x, &one, None).unsqueeze()
                };
                let expert = |x: Tensor<3>| {
                    let x: Tensor<2> = x.squeeze_dim(0);
                    fp4_expert_linear(x, experts.clone(), &packed).unsqueeze()
                };
                [
                    with_gradient(device, &x, &weights, linear),
                    with_gradient(device, &x, &weights, expert),
                ]
            };
            let (found, expected) = (run(&device), run(&Device::flex()));
            for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
                // Terms up to 6 * 3 * 3 * 2, 96 of them, 96 roundings of 2^-24 on either side.
                let limit = 2.0 * 96.0 * 108.0 * 96.0 / 16_777_216.0;
                assert_close(found, expected, limit, &format!("{name}: {scheme}"));
            }
        }
    }
}

#[test]
fn fp8_activations() {
    let (_alone, devices) = devices();
    let (x, weights) = (sample([2, 7, 9], 7), sample([2, 7, 9], 8));
    for (name, device) in devices {
        let f = |x: Tensor<3>| {
            let amax = global_amax(x.clone().detach(), &Fp4Scheme::nvfp4());
            fp8_fake_quantize(x, amax * 0.5)
        };
        let expected = with_gradient(&Device::flex(), &x, &weights, f);
        let found = with_gradient(&device, &x, &weights, f);
        for (found, expected) in found.iter().zip(&expected) {
            assert_same_bits(found, expected, name);
        }
    }
}

/// Burn's quantized tensors hold the same bytes, where a device has them at all.
#[test]
fn quantized_tensors_of_burn() {
    let (_alone, devices) = devices();
    let x = sample([3, 8, 64], 9);
    for (name, device) in devices {
        for scheme in [Fp4Scheme::mxfp4(), Fp4Scheme::nvfp4()] {
            let x = Tensor::<3>::from_data(x.clone(), (&device, DType::F32));
            let packed = Fp4Tensor::quantize(x, 2, &scheme);
            let quantized = match packed.to_quantized() {
                Ok(quantized) => quantized,
                Err(error) => {
                    assert_ne!(name, "cpu", "{error}");
                    println!("{name}: {error}");
                    continue;
                }
            };
            let values = quantized.clone().dequantize().into_data();
            let expected = packed.dequantize(2, FloatDType::F32).into_data();
            assert_same_bits(&values, &expected, &format!("{name}: {scheme}"));
            let back = Fp4Tensor::from_quantized(quantized).unwrap();
            let same = back.to_packed().unwrap() == packed.to_packed().unwrap();
            assert!(same, "{name}: bytes of {scheme}");
        }
    }
    let flex = Tensor::<3>::from_data(x, (&Device::flex(), DType::F32));
    let packed = Fp4Tensor::quantize(flex.clone(), 2, &Fp4Scheme::mxfp4());
    assert!(packed.to_quantized().is_err());
    assert!(Fp4Tensor::from_quantized(flex).is_err());
}
