//! The tensor operation on Flex, with and without gradients.

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::*;
use crate::codec::fake_quantize::fake_quantize_slice;
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::scheme::global_scale::GlobalAmax;

const SCHEME: Fp4Scheme = Fp4Scheme::mxfp4();

fn sample<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let n_elements = shape.iter().product::<usize>();
    let values = (0..n_elements).map(|i| ((i * 7919 % 1009) as f32 - 504.0) / 97.0);
    Tensor::from_data(TensorData::new(values.collect::<Vec<_>>(), shape), device)
}

fn assert_same<const D: usize>(a: Tensor<D>, b: Tensor<D>) {
    a.into_data().assert_eq(&b.into_data(), true);
}

#[test]
fn the_operation_is_the_slice_function() {
    let x = sample([3, 64], &Device::flex());
    let values = x.to_data().try_to_vec::<f32>().unwrap();
    let wanted = fake_quantize_slice(&values, &[3, 64], 1, &SCHEME).unwrap();
    let out = fake_quantize(x, &SCHEME).into_data();
    out.assert_eq(&TensorData::new(wanted, [3, 64]), true);
}

#[test]
fn every_axis_equals_moving_it_last() {
    let x = sample([32, 64, 96], &Device::flex());
    for axis in 0..3 {
        let moved = x.clone().swap_dims(axis, 2);
        let wanted = fake_quantize(moved, &SCHEME).swap_dims(axis, 2);
        assert_same(fake_quantize_along(x.clone(), axis, &SCHEME), wanted);
    }
}

#[test]
fn views_are_read_at_their_offset() {
    let x = sample([4, 64], &Device::flex());
    let view = x.clone().slice([1..3, 32..64]);
    let copy = Tensor::<2>::from_data(view.to_data(), &Device::flex());
    assert_same(fake_quantize(view, &SCHEME), fake_quantize(copy, &SCHEME));
    let rows = x.clone().slice([2..4, 0..64]);
    let wanted = fake_quantize(x, &SCHEME).slice([2..4, 0..64]);
    assert_same(fake_quantize(rows, &SCHEME), wanted);
}

#[test]
fn half_precision_is_kept() {
    let x = sample([2, 64], &Device::flex());
    for dtype in [DType::BF16, DType::F16] {
        let narrow = x.clone().cast(dtype);
        let out = fake_quantize(narrow.clone(), &SCHEME);
        assert_eq!(out.dtype(), dtype);
        let wide = fake_quantize(narrow.cast(DType::F32), &SCHEME);
        assert_same(out.cast(DType::F32), wide);
    }
}

#[test]
#[should_panic(expected = "axis 1 has length 48, which is not a multiple of the block size 32")]
fn partial_blocks_panic() {
    fake_quantize(sample([2, 48], &Device::flex()), &SCHEME);
}

/// `sum(q(w * g) * u)` has gradient `g * u` in `w`, and `q` is needed again for that of `u`.
fn check_gradient(device: &Device) {
    let w = sample([64, 5], device).require_grad();
    let u = (sample([64, 5], device) * 0.37 + 1.1).require_grad();
    let gain = sample([64, 5], device) * 0.21;
    let quantized = fake_quantize_along(w.clone() * gain.clone(), 0, &SCHEME);
    let wanted = quantized.clone().inner();
    let grads = (quantized * u.clone()).sum().backward();
    let grad_w = w.grad(&grads).unwrap();
    assert_same(grad_w, (gain * u.clone()).inner());
    assert_same(u.grad(&grads).unwrap(), wanted);
}

#[test]
fn the_gradient_passes_through_unchanged() {
    check_gradient(&Device::flex().autodiff());
}

#[test]
fn the_gradient_passes_through_unchanged_with_checkpointing() {
    check_gradient(&Device::flex().autodiff().gradient_checkpointing());
}

#[test]
fn untracked_input_works_on_an_autodiff_device() {
    let device = Device::flex().autodiff();
    let x = sample([1, 32], &device);
    let out = fake_quantize(x.clone(), &SCHEME);
    let w = sample([1, 32], &device).require_grad();
    let grads = (w.clone() * out.clone()).sum().backward();
    assert_same(w.grad(&grads).unwrap(), out.inner());
}

fn amax(values: &[f32]) -> Tensor<1> {
    Tensor::from_floats(values, &Device::flex())
}

#[test]
fn a_given_magnitude_makes_the_global_scale() {
    let x = sample([4, 32, 3], &Device::flex());
    let values = x.to_data().try_to_vec::<f32>().unwrap();
    for scheme in [Fp4Scheme::nvfp4(), SCHEME] {
        let quantizer = SliceQuantizer::new(scheme).with_global_amax(GlobalAmax::Frozen(vec![2.0]));
        let wanted = quantizer.fake_quantize(&values, &[4, 32, 3], 1).unwrap();
        let out = FakeQuantizer::new(scheme).forward_with_amax(x.clone(), amax(&[2.0]), 1);
        out.into_data()
            .assert_eq(&TensorData::new(wanted, [4, 32, 3]), true);
    }
    let largest = FakeQuantizer::new(Fp4Scheme::nvfp4()).forward_with_amax(x, amax(&[2.0]), 1);
    assert_eq!(largest.abs().max().try_into_vec_as::<f32>().unwrap(), [2.0]);
}

#[test]
#[should_panic(expected = "2 global scales or magnitudes, but this scheme and shape need 1")]
fn too_many_magnitudes_panic() {
    let x = sample([1, 32], &Device::flex());
    FakeQuantizer::new(Fp4Scheme::nvfp4()).forward_with_amax(x, amax(&[1.0, 2.0]), 1);
}
