//! Largest magnitudes and gradient rules, against the slice functions.

use burn::tensor::{DType, Device, TensorData};

use super::*;
use crate::codec::non_finite::NonFinite;
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::scheme::global_scale::{GlobalAmax, GlobalScope};
use crate::scheme::scale_rule::ScaleRule;

const EXPERTS: Fp4Scheme = Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert);

fn values(n_elements: usize) -> Vec<f32> {
    let values = (0..n_elements).map(|i| {
        let x = ((i * 7919 % 1009) as f32 - 504.0) / 97.0;
        x * x * x * 0.013
    });
    values.collect()
}

fn sample<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let data = TensorData::new(values(shape.iter().product()), shape);
    Tensor::from_data(data, device)
}

fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

fn saturating(scheme: Fp4Scheme, amax: &[f32]) -> SliceQuantizer {
    SliceQuantizer::new(scheme)
        .with_non_finite(NonFinite::Saturate)
        .with_global_amax(GlobalAmax::Frozen(amax.to_vec()))
}

#[test]
fn amax_is_that_of_the_scope() {
    let device = Device::flex();
    let mut data = values(3 * 32);
    data[40] = f32::NAN;
    let largest = |values: &[f32]| values.iter().fold(0f32, |max, x| max.max(x.abs()));
    let x = Tensor::<2>::from_data(TensorData::new(data.clone(), [3, 32]), &device);
    let amax = |x: &Tensor<2>, scheme: Fp4Scheme| to_vec(global_amax(x.clone(), &scheme));
    assert_eq!(amax(&x, Fp4Scheme::nvfp4()), [largest(&data)]);
    let rows: Vec<f32> = data.chunks(32).map(largest).collect();
    assert_eq!(amax(&x, EXPERTS), rows);
    assert_eq!(amax(&x, Fp4Scheme::mxfp4()), [1.0]);
    let view = x.clone().swap_dims(0, 1).slice([4..20, 0..3]);
    let columns: Vec<f32> = (4..20)
        .map(|i| largest(&[data[i], data[32 + i], data[64 + i]]))
        .collect();
    assert_eq!(amax(&view, EXPERTS), columns);
    let narrow = x.cast(DType::BF16);
    let wide = global_amax(narrow.clone().cast(DType::F32), &EXPERTS);
    let narrow = global_amax(narrow, &EXPERTS);
    narrow.into_data().assert_eq(&wide.into_data(), true);
}

#[test]
fn a_given_amax_takes_the_place_of_the_own_one() {
    let x = sample([2, 64, 5], &Device::flex());
    let given = [0.5, 3.0];
    let quantizer = FakeQuantizer::new(EXPERTS);
    let amax = Tensor::from_floats(given, &Device::flex());
    let out = quantizer.forward_with_amax(x.clone(), amax, 1);
    let wanted = saturating(EXPERTS, &given).fake_quantize(&to_vec(x.clone()), &[2, 64, 5], 1);
    assert_eq!(to_vec(out), wanted.unwrap());
    let own = global_amax(x.clone(), &EXPERTS);
    let out = quantizer.forward_with_amax(x.clone(), own, 1).into_data();
    out.assert_eq(&quantizer.forward(x, 1).into_data(), true);
}

#[test]
#[should_panic(expected = "global amax -1 is not a finite number >= 0")]
fn a_negative_amax_panics() {
    let device = Device::flex();
    let amax = Tensor::from_floats([-1.0], &device);
    let quantizer = FakeQuantizer::new(Fp4Scheme::nvfp4());
    quantizer.forward_with_amax(sample([2, 16], &device), amax, 1);
}

/// `sum(q(w * g) * u)`: the gradient of `w` is that of the slice function times `g`, and with
/// checkpointing both `q` and its input `w * g` are made again.
fn check_clip_aware(device: &Device) {
    let shape = [4, 64, 3];
    let schemes = [
        (Fp4Scheme::mxfp4_with(ScaleRule::Floor), vec![1.0]),
        (Fp4Scheme::nvfp4(), vec![0.4]),
        (EXPERTS, vec![0.4, 0.9, 0.1, 9.0]),
    ];
    for (scheme, amax) in schemes {
        let w = sample(shape, device).require_grad();
        let u = (sample(shape, device) * 0.37 + 1.1).require_grad();
        let gain = sample(shape, device) * 0.01 + 1.0;
        let quantizer = FakeQuantizer::new(scheme).with_gradient(GradientRule::ClipAware);
        let given = Tensor::from_floats(amax.as_slice(), device);
        let product = w.clone() * gain.clone();
        let values = to_vec(product.clone().inner());
        let quantized = quantizer.forward_with_amax(product, given, 1);
        let wanted = quantized.clone().inner();
        let grads = (quantized * u.clone()).sum().backward();
        let grad_u = u.grad(&grads).unwrap();
        grad_u.into_data().assert_eq(&wanted.into_data(), true);
        let passed =
            saturating(scheme, &amax).clip_gradient(&values, &to_vec(u.inner()), &shape, 1);
        let passed = passed.unwrap();
        assert!(passed.contains(&0.0) && passed.iter().any(|&g| g != 0.0));
        let passed = Tensor::<3>::from_data(TensorData::new(passed, shape), &Device::flex());
        let wanted = (passed * gain.inner()).into_data();
        w.grad(&grads).unwrap().into_data().assert_eq(&wanted, true);
    }
}

#[test]
fn saturated_elements_have_no_gradient() {
    check_clip_aware(&Device::flex().autodiff());
}

#[test]
fn saturated_elements_have_no_gradient_with_checkpointing() {
    check_clip_aware(&Device::flex().autodiff().gradient_checkpointing());
}

#[test]
fn no_gradient_goes_to_amax() {
    let device = Device::flex().autodiff();
    let w = sample([2, 32], &device).require_grad();
    let amax = Tensor::<1>::from_floats([1.0], &device).require_grad();
    let quantizer = FakeQuantizer::new(Fp4Scheme::nvfp4()).with_gradient(GradientRule::ClipAware);
    let out = quantizer.forward_with_amax(w.clone(), amax.clone(), 1);
    let grads = out.sum().backward();
    assert!(w.grad(&grads).is_some() && amax.grad(&grads).is_none());
}

#[test]
fn views_and_half_precision_have_clipped_gradients() {
    let device = Device::flex().autodiff();
    for dtype in [DType::BF16, DType::F16] {
        let w = sample([64, 48], &device)
            .cast(dtype)
            .detach()
            .require_grad();
        let quantizer = FakeQuantizer::new(Fp4Scheme::mxfp4_with(ScaleRule::Floor))
            .with_gradient(GradientRule::ClipAware);
        let view = quantizer
            .forward(w.clone().swap_dims(0, 1), 1)
            .swap_dims(0, 1);
        let view = w.grad(&view.sum().backward()).unwrap();
        let straight = w
            .grad(&quantizer.forward(w.clone(), 0).sum().backward())
            .unwrap();
        assert_eq!(view.dtype(), dtype);
        view.into_data().assert_eq(&straight.into_data(), true);
    }
}
