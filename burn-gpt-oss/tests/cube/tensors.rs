//! The operations that take one pass on devices of CubeCL: autodiff, lazy execution and all, against Flex.
//!
//! Kernels have their bounds elsewhere; here a wrong shape, dtype or gradient would show.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use burn_gpt_oss::ops::{clamped_swiglu, embedding, next_token_loss, rms_norm, rotary_embedding};
use kernel_harness::bounds::{floats, sample};
use kernel_harness::runtimes::devices;

/// Relative to the largest value.
const LIMIT: f64 = 1e-5;

/// A function of float tensors of two shapes, and of integers.
struct Case<const A: usize, const B: usize, F> {
    name: &'static str,
    first: TensorData,
    second: TensorData,
    f: F,
}

impl<const A: usize, const B: usize, F, const O: usize> Case<A, B, F>
where
    F: Fn(Tensor<A>, Tensor<B>, &Device) -> Tensor<O>,
{
    /// Value, and gradients of its weighed sum.
    fn run(&self, device: &Device) -> [TensorData; 3] {
        let device = device.clone().autodiff();
        let first = Tensor::<A>::from_data(self.first.clone(), (&device, DType::F32));
        let second = Tensor::<B>::from_data(self.second.clone(), (&device, DType::F32));
        let (first, second) = (first.require_grad(), second.require_grad());
        // Element-wise neighbours, for lazy backends to fuse around the operation.
        let y = (self.f)(first.clone() * 2.0, second.clone() * 0.5, &device);
        let weights = sample(y.dims(), 1.0, DType::F32);
        let y = y * Tensor::<O>::from_data(weights, (&device, DType::F32));
        // Of the sum, without making one: reductions crash some software Vulkan.
        let grads = y.clone().backward();
        let gradient =
            |x: Option<TensorData>| x.unwrap_or_else(|| TensorData::zeros::<f32, _>([1]));
        [
            y.into_data(),
            gradient(first.grad(&grads).map(Tensor::into_data)),
            gradient(second.grad(&grads).map(Tensor::into_data)),
        ]
    }

    fn check(&self, devices: &[(&'static str, Device)]) {
        let expected = self.run(&Device::flex());
        for (name, device) in devices {
            let found = self.run(device);
            for ((found, expected), part) in found.iter().zip(&expected).zip(["value", "1", "2"]) {
                let what = format!("{name}: {}, {part}", self.name);
                assert_eq!(found.shape(), expected.shape(), "{what}");
                assert_eq!(found.dtype(), expected.dtype(), "{what}");
                let (found, expected) = (floats(found), floats(expected));
                let largest = expected.iter().fold(0f64, |most, x| most.max(x.abs()));
                for (found, expected) in found.into_iter().zip(expected) {
                    let error = (found - expected).abs();
                    assert!(error <= LIMIT * largest, "{what}: {found} {expected}");
                }
            }
            println!("{name}: {}", self.name);
        }
    }
}

fn integers(values: &[i32], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

#[test]
fn operations_are_those_of_flex() {
    let (_alone, devices) = devices();
    let f32 = |shape: &[usize]| {
        let flat = sample([shape.iter().product()], 1.0, DType::F32);
        TensorData::new(floats(&flat), shape.to_vec()).convert_dtype(DType::F32)
    };
    Case {
        name: "norm",
        first: f32(&[3, 5, 36]),
        second: f32(&[36]),
        f: |x: Tensor<3>, weight: Tensor<1>, _: &Device| rms_norm(x, weight, 1e-5),
    }
    .check(&devices);
    Case {
        name: "rotation",
        first: f32(&[2, 5, 3, 16]),
        second: f32(&[1, 5, 1, 8]),
        f: |x: Tensor<4>, angles: Tensor<4>, _: &Device| {
            let angles = angles.detach();
            rotary_embedding(x, angles.clone().cos(), angles.sin())
        },
    }
    .check(&devices);
    Case {
        name: "SwiGLU",
        first: f32(&[7, 24]),
        second: f32(&[7, 12]),
        f: |x: Tensor<2>, y: Tensor<2>, _: &Device| clamped_swiglu(x * 4.0, 7.0, 1.702) + y,
    }
    .check(&devices);
    Case {
        name: "loss",
        first: f32(&[9, 12]),
        second: f32(&[12, 50]),
        f: |hidden: Tensor<2>, weight: Tensor<2>, device: &Device| {
            let targets = integers(&[0, 49, 7, 7, 1, 2, 3, 48, 20], device);
            let weights = sample([9], 1.0, DType::F32);
            let weights = Tensor::from_data(weights, (device, DType::F32));
            next_token_loss(hidden, weight, targets, weights)
        },
    }
    .check(&devices);
    Case {
        name: "loss with a frozen head",
        first: f32(&[9, 12]),
        second: f32(&[12, 50]),
        f: |hidden: Tensor<2>, weight: Tensor<2>, device: &Device| {
            let targets = integers(&[0, 49, 7, 7, 1, 2, 3, 48, 20], device);
            let weights = Tensor::ones([9], device);
            next_token_loss(hidden, weight.detach(), targets, weights)
        },
    }
    .check(&devices);
    Case {
        name: "embedding",
        first: f32(&[10, 12]),
        second: f32(&[7, 12]),
        f: |weight: Tensor<2>, y: Tensor<2>, device: &Device| {
            embedding(weight, integers(&[3, 0, 9, 3, 3, 1, 9], device)) + y
        },
    }
    .check(&devices);
}
