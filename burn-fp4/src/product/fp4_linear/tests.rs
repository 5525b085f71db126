//! The packed product against the dense one, and against sums in f64.

use burn::module::ParamId;
use burn::nn::LinearConfig;
use burn::tensor::{DType, Device, FloatDType, TensorData};

use super::*;
use crate::module::activation::{ActivationFormat, Calibration};
use crate::ops::fp8_fake_quantize;
use crate::scheme::global_scale::GlobalScope;
use crate::scheme::scale_rule::Nvfp4ScaleRule;

const SCHEMES: [Fp4Scheme; 2] = [
    Fp4Scheme::mxfp4(),
    Fp4Scheme::nvfp4_with(Nvfp4ScaleRule::FourOverSix),
];

fn sample<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let n_elements = shape.iter().product::<usize>();
    let values = (0..n_elements).map(|i| ((i * 7919 % 1009) as f32 - 504.0) / 97.0);
    Tensor::from_data(TensorData::new(values.collect::<Vec<_>>(), shape), device)
}

fn to_f64<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    let values: Vec<f32> = tensor.cast(DType::F32).into_data().try_into_vec().unwrap();
    values.into_iter().map(f64::from).collect()
}

/// `[n, k] x [k, m]` in f64, with the bound of a sum of `k` rounded terms, each in any order.
fn product(a: &[f64], b: &[f64], [n, k, m]: [usize; 3]) -> Vec<(f64, f64)> {
    let unit = 2f64.powi(-24);
    let gamma = k as f64 * unit / (1.0 - k as f64 * unit);
    let element = |i: usize| {
        let terms = (0..k).map(|j| a[i / m * k + j] * b[j * m + i % m]);
        let (sum, magnitude) = terms.fold((0.0, 0.0), |(s, t), x| (s + x, t + x.abs()));
        (sum, gamma * magnitude)
    };
    (0..n * m).map(element).collect()
}

fn assert_within(found: &[f64], wanted: &[(f64, f64)], rounding: f64) {
    assert_eq!(found.len(), wanted.len());
    for (&found, &(wanted, bound)) in found.iter().zip(wanted) {
        let bound = bound + rounding * (wanted.abs() + bound);
        assert!((found - wanted).abs() <= bound, "{found} {wanted} {bound}");
    }
}

/// Forward and gradient; 260 x 4160 makes more than one tile.
fn check(device: &Device, [n, k, m]: [usize; 3], dtype: DType, rounding: f64) {
    for scheme in SCHEMES {
        let dense = sample([m, k], device) * 0.01;
        let weight = Fp4Tensor::quantize(dense, 1, &scheme);
        let x = sample([n, 1, k], device)
            .cast(dtype)
            .detach()
            .require_grad();
        let out = fp4_linear(x.clone(), &weight, None);
        assert_eq!((out.dims(), out.dtype()), ([n, 1, m], dtype));
        let decoded = weight.dequantize(0, FloatDType::F32).inner();
        let wanted = product(&to_f64(x.clone().inner()), &to_f64(decoded), [n, k, m]);
        assert_within(&to_f64(out.clone().inner()), &wanted, rounding);

        let u = (sample([n, 1, m], device) * 0.37 + 1.1).cast(dtype);
        let grads = (out * u.clone()).sum().backward();
        let decoded = weight.dequantize(1, FloatDType::F32).inner();
        let wanted = product(&to_f64(u.inner()), &to_f64(decoded), [n, m, k]);
        let grad = x.grad(&grads).unwrap();
        assert_eq!(grad.dtype(), dtype);
        assert_within(&to_f64(grad), &wanted, rounding);
    }
}

#[test]
fn products_are_within_the_rounding_of_f32_sums() {
    for device in [
        Device::flex().autodiff(),
        Device::flex().autodiff().gradient_checkpointing(),
    ] {
        check(&device, [3, 64, 5], DType::F32, 0.0);
        check(&device, [1, 4160, 260], DType::F32, 0.0);
    }
}

#[test]
fn half_precision_is_accumulated_in_f32_and_rounded_once() {
    let device = Device::flex().autodiff();
    check(&device, [3, 64, 5], DType::BF16, 2f64.powi(-8));
    check(&device, [3, 64, 5], DType::F16, 2f64.powi(-11));
}

#[test]
fn a_weight_without_autodiff_works_with_tracked_rows() {
    let plain = Device::flex();
    let weight = Fp4Tensor::quantize(sample([5, 64], &plain), 1, &Fp4Scheme::nvfp4());
    let x = sample([3, 64], &plain.clone().autodiff()).require_grad();
    let grads = fp4_linear(x.clone(), &weight, None).sum().backward();
    assert_eq!(x.grad(&grads).unwrap().dims(), [3, 64]);
    let out = fp4_linear(x.clone().inner(), &weight, None).into_data();
    out.assert_eq(&fp4_linear(x, &weight, None).inner().into_data(), true);
}

#[test]
fn nothing_in_a_packed_weight_is_trained_even_if_unfrozen() {
    let device = Device::flex().autodiff();
    let weight = Fp4Tensor::quantize(sample([5, 64], &device), 1, &Fp4Scheme::nvfp4());
    let weight = weight.unfreeze();
    let x = sample([3, 64], &device).require_grad();
    let out = fp4_linear(x.clone(), &weight, None).sum();
    let out = out + weight.dequantize(1, FloatDType::F32).sum();
    let grads = out.backward();
    assert!(x.grad(&grads).is_some());
    assert!(weight.global_scales().unwrap().grad(&grads).is_none());
}

#[test]
fn layers_are_made_from_dense_ones() {
    let device = Device::flex().autodiff();
    let linear = LinearConfig::new(64, 5).init(&device);
    for scheme in SCHEMES {
        let layer = Fp4Linear::from_linear(&linear, &scheme);
        assert_eq!(layer.weight.shape(), [5, 64]);
        let x = sample([2, 3, 64], &device);
        let mut rounded = linear.clone();
        rounded.weight = rounded
            .weight
            .map(|_| layer.weight.dequantize(0, FloatDType::F32));
        let out = layer.forward(x.clone());
        let wanted = rounded.forward(x);
        let grads = out.clone().sum().backward();
        let bias = layer.bias.as_ref().unwrap().val().grad(&grads).unwrap();
        assert_eq!(to_f64(bias), [6.0; 5]);
        // Both within the bound of 64 terms, the largest of which are below 6 * 0.125.
        let difference = (out - wanted).abs().max().into_scalar::<f32>();
        assert!(
            difference < 64.0 * 64.0 * 0.75 * 2f32.powi(-23),
            "{difference}"
        );
    }
}

#[test]
fn inputs_are_quantized_where_asked_for() {
    let device = Device::flex();
    let linear = LinearConfig::new(64, 5).init(&device);
    let plain = Fp4Linear::from_linear(&linear, &Fp4Scheme::mxfp4());
    let x = sample([3, 64], &device);
    let quantizer = ActivationQuantizer::new(ActivationFormat::Fp8, Calibration::Max, &device);
    let quantizer = quantizer.unwrap().with_amax(4.0).unwrap().enable().unwrap();
    let layer = plain.clone().with_input_quantizer(quantizer);
    let rounded = fp8_fake_quantize(x.clone(), Tensor::from_floats([4.0], &device));
    let wanted = plain.forward(rounded).into_data();
    layer.forward(x).into_data().assert_eq(&wanted, true);
}

#[test]
fn a_bias_of_another_length_is_refused() {
    let device = Device::flex();
    let weight = Fp4Tensor::quantize(sample([5, 64], &device), 1, &Fp4Scheme::mxfp4());
    let bias = Param::initialized(ParamId::new(), sample([4], &device));
    let error = Fp4Linear::from_parts(weight, Some(bias)).unwrap_err();
    assert!(error.to_string().contains("bias has 4 elements"), "{error}");
}

#[test]
#[should_panic(expected = "does not fit a weight from 64 to 5")]
fn rows_of_another_length_panic() {
    let device = Device::flex();
    let weight = Fp4Tensor::quantize(sample([5, 64], &device), 1, &Fp4Scheme::mxfp4());
    fp4_linear(sample([2, 32], &device), &weight, None);
}

#[test]
fn nothing_times_something_is_zeros() {
    let device = Device::flex().autodiff();
    for [n, k, m] in [[0, 64, 5], [3, 0, 5], [3, 64, 0]] {
        let weight = Fp4Tensor::quantize(sample([m, k], &device), 1, &Fp4Scheme::nvfp4());
        let bias = sample([m], &device);
        let x = sample([2, n, k], &device).require_grad();
        let out = fp4_linear(x, &weight, Some(bias.clone()));
        assert_eq!(out.dims(), [2, n, m]);
        assert_eq!(to_f64(out), to_f64(bias).repeat(2 * n));
    }
}

#[test]
fn outputs_may_have_global_scales_of_their_own() {
    let device = Device::flex().autodiff();
    let scheme = Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert);
    let [n, k, m] = [5, 64, 4];
    let sizes = Tensor::<2>::from_floats([[1.0], [0.3], [20.0], [0.01]], &device);
    let weight = Fp4Tensor::quantize(sample([m, k], &device) * sizes, 1, &scheme);
    let decoded: Tensor<2> = weight.dequantize(1, FloatDType::F32).inner();
    let bias = sample([m], &device);
    // Of the global scale, and of the sum.
    let unit = 4.0 * 2f64.powi(-24);
    for n in [n, 40] {
        let x = sample([n, k], &device).require_grad();
        let out = fp4_linear(x.clone(), &weight, Some(bias.clone()));
        let (values, turned) = (to_f64(x.clone().inner()), decoded.clone().transpose());
        let biases = to_f64(bias.clone()).repeat(n);
        let wanted = product(&values, &to_f64(turned), [n, k, m]);
        let wanted: Vec<_> = wanted
            .iter()
            .zip(biases)
            .map(|((sum, bound), bias)| (sum + bias, bound + unit * bias.abs()))
            .collect();
        assert_within(&to_f64(out.clone().inner()), &wanted, unit);

        let grads = out.sum().backward();
        let wanted = product(&vec![1.0; n * m], &to_f64(decoded.clone()), [n, m, k]);
        let found = to_f64(x.grad(&grads).unwrap());
        // The sums have four terms; scales and the rounded reference add less than as many roundings.
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(sum, bound)| (*sum, 2.0 * bound))
            .collect();
        assert_within(&found, &wanted, unit);
    }
}
