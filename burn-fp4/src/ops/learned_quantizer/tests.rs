//! The operation is the slice functions, with gradients for both inputs.

use burn::tensor::{Device, TensorData};

use super::*;
use crate::codec::non_finite::NonFinite;
use crate::codec::slice_quantizer::SliceQuantizer;
use crate::ops::FakeQuantizer;
use crate::scheme::global_scale::{GlobalAmax, GlobalScope};
use crate::scheme::scale_rule::ScaleRule;

const EXPERTS: Fp4Scheme = Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert);

fn sample<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let n_elements = shape.iter().product::<usize>();
    let values = (0..n_elements).map(|i| ((i * 7919 % 1009) as f32 - 504.0) / 97.0);
    Tensor::from_data(TensorData::new(values.collect::<Vec<_>>(), shape), device)
}

fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

#[test]
fn the_initial_parameter_changes_nothing() {
    let device = Device::flex();
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let w = sample([2, 64, 5], &device).cast(dtype);
        for scheme in [
            Fp4Scheme::mxfp4_with(ScaleRule::Mse),
            Fp4Scheme::nvfp4(),
            EXPERTS,
        ] {
            let quantizer = LearnedQuantizer::new(scheme);
            let parameter = quantizer.initial_parameter(w.clone(), 1);
            assert_eq!(parameter.dims(), [2, 64 / scheme.block_size(), 5]);
            let out = quantizer.forward(w.clone(), parameter, 1).into_data();
            let plain = FakeQuantizer::new(scheme).forward(w.clone(), 1).into_data();
            out.assert_eq(&plain, true);
        }
    }
}

/// `sum(q(w * g, p) * u)` against the slice functions.
fn check(device: &Device) {
    let shape = [2, 64, 5];
    for (scheme, amax) in [(Fp4Scheme::mxfp4(), vec![1.0]), (EXPERTS, vec![4.0, 9.0])] {
        let quantizer = LearnedQuantizer::new(scheme);
        let w = sample(shape, device).require_grad();
        let u = (sample(shape, device) * 0.37 + 1.1).require_grad();
        let p = quantizer.initial_parameter(sample(shape, device), 1) * 0.6 - 0.7;
        let p = p.require_grad();
        let given = Tensor::from_floats(amax.as_slice(), device);
        let product = w.clone() * 1.25;
        let values = to_vec(product.clone().inner());
        // The parameter is the result of an operation, too, so that it is recomputed as well.
        let out = quantizer.forward_with_amax(product, p.clone() * 1.0, given, 1);
        let found = to_vec(out.clone().inner());
        let grads = (out * u.clone()).sum().backward();

        let slices = SliceQuantizer::new(scheme)
            .with_non_finite(NonFinite::Saturate)
            .with_global_amax(GlobalAmax::Frozen(amax));
        let parameter = to_vec(p.clone().inner());
        let wanted = slices
            .fake_quantize_learned(&values, &parameter, &shape, 1)
            .unwrap();
        assert_eq!(found, wanted);
        assert_eq!(to_vec(u.grad(&grads).unwrap()), wanted);
        let u = to_vec(u.inner());
        let (by_w, by_p) = slices
            .learned_gradients(&values, &parameter, &u, &shape, 1)
            .unwrap();
        assert!(by_w.contains(&0.0));
        let by_w: Vec<f32> = by_w.into_iter().map(|g| g * 1.25).collect();
        assert_eq!(to_vec(w.grad(&grads).unwrap()), by_w);
        let grad_p = p.grad(&grads).unwrap();
        assert_eq!(grad_p.dims(), p.dims());
        assert_eq!(to_vec(grad_p), by_p);
    }
}

#[test]
fn both_inputs_have_gradients() {
    check(&Device::flex().autodiff());
}

#[test]
fn both_inputs_have_gradients_with_checkpointing() {
    check(&Device::flex().autodiff().gradient_checkpointing());
}

#[test]
fn a_frozen_weight_trains_its_scales_alone() {
    for device in [
        Device::flex().autodiff(),
        Device::flex().autodiff().gradient_checkpointing(),
    ] {
        let quantizer = LearnedQuantizer::new(Fp4Scheme::nvfp4());
        let w = sample([32, 3], &device);
        let p = quantizer.initial_parameter(w.clone(), 0).require_grad();
        let out = quantizer.forward(w.clone(), p.clone(), 0);
        let grads = (out.clone() * out).sum().backward();
        assert!(w.grad(&grads).is_none());
        assert_eq!(p.grad(&grads).unwrap().dims(), [2, 3]);
    }
}

/// Steps against the squared error must lower it: the direction is the right one.
#[test]
fn training_the_scales_lowers_the_error() {
    let device = Device::flex().autodiff();
    let w = sample([64, 8], &device);
    let quantizer = LearnedQuantizer::new(Fp4Scheme::nvfp4());
    let amax = global_amax(w.clone(), &Fp4Scheme::nvfp4());
    let error = |p: Tensor<2>| {
        let out = quantizer.forward_with_amax(w.clone(), p, amax.clone(), 0);
        (out - w.clone()).square().sum()
    };
    let mut p = quantizer.initial_parameter(w.clone(), 0);
    let before = error(p.clone()).into_scalar::<f32>();
    let mut best = before;
    for _ in 0..40 {
        let tracked = p.clone().detach().require_grad();
        let loss = error(tracked.clone());
        best = best.min(loss.clone().into_scalar::<f32>());
        let grad = tracked.grad(&loss.backward()).unwrap();
        p = Tensor::from_inner(p.inner() - grad * 0.02);
    }
    assert!(best < before * 0.9, "{before} {best}");
}

#[test]
#[should_panic(expected = "shape of the parameter for a tensor [32, 3] along axis 0")]
fn parameters_of_another_shape_panic() {
    let device = Device::flex();
    let quantizer = LearnedQuantizer::new(Fp4Scheme::nvfp4());
    quantizer.forward(sample([32, 3], &device), sample([3, 2], &device), 0);
}

#[test]
fn the_initial_parameter_is_a_leaf() {
    let device = Device::flex().autodiff();
    for scheme in [Fp4Scheme::mxfp4(), Fp4Scheme::nvfp4()] {
        let quantizer = LearnedQuantizer::new(scheme);
        let w = sample([32, 3], &device).require_grad();
        let p = quantizer.initial_parameter(w.clone(), 0).require_grad();
        let grads = quantizer.forward(w.clone(), p.clone(), 0).sum().backward();
        assert!(p.grad(&grads).is_some() && w.grad(&grads).is_some());
    }
}

#[test]
fn tensors_without_elements_pass() {
    let device = Device::flex();
    for scheme in [Fp4Scheme::mxfp4(), Fp4Scheme::nvfp4(), EXPERTS] {
        for shape in [[0, 32, 3], [2, 0, 3], [2, 32, 0]] {
            let quantizer = LearnedQuantizer::new(scheme);
            let x = sample(shape, &device);
            let parameter = quantizer.initial_parameter(x.clone(), 1);
            assert_eq!(parameter.dims()[1], shape[1] / scheme.block_size());
            assert_eq!(quantizer.forward(x.clone(), parameter, 1).dims(), shape);
            let packed = crate::Fp4Tensor::quantize(x, 1, &scheme);
            let decoded = packed.dequantize(1, burn::tensor::FloatDType::BF16);
            assert_eq!(decoded.dims(), shape);
        }
    }
}
