//! Fake quantization while training.

use core::num::NonZeroUsize;

use super::*;
use crate::ops::GradientRule;
use crate::scheme::scale_rule::ScaleRule;

fn frozen(scheme: Fp4Scheme, net: Net) -> Net {
    let quantization = quantization(scheme).with_global_refresh(GlobalRefresh::Frozen);
    quantization.fake_quantize(net).unwrap()
}

fn amax(weight: &Param<Tensor<2>>) -> Tensor<1> {
    let quantizer = weight.reparameterization::<WeightQuantizer>().unwrap();
    quantizer.global_amax().unwrap()
}

fn largest(weight: &Param<Tensor<2>>) -> f32 {
    let values = weight.base().try_into_vec_as::<f32>().unwrap();
    values.into_iter().map(f32::abs).fold(0.0, f32::max)
}

#[test]
fn weights_read_as_the_slice_quantizer_gives_them() {
    let net = Net::new(&Device::flex());
    for scheme in schemes() {
        for refresh in [GlobalRefresh::Dynamic, GlobalRefresh::Frozen] {
            let quantization = quantization(scheme).with_global_refresh(refresh);
            let trained = quantization.fake_quantize(net.clone()).unwrap();
            assert_eq!(weight_bits(&trained), quantized_bits(&net, scheme));
            assert_ne!(weight_bits(&trained), weight_bits(&net));
            assert_eq!(
                bits(trained.embedding.weight.val()),
                bits(net.embedding.weight.val())
            );
            let merged = trained.materialize();
            assert_eq!(weight_bits(&merged), quantized_bits(&net, scheme));
            assert!(
                merged
                    .experts
                    .reparameterization::<WeightQuantizer>()
                    .is_none()
            );
        }
    }
}

#[test]
fn a_scale_of_its_own_for_every_expert() {
    let net = Net::new(&Device::flex());
    let scheme = Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert);
    let experts = WeightQuantization::new(scheme)
        .with_group(ParamGroup::from_path("experts"))
        .with_global_refresh(GlobalRefresh::Frozen);
    let trained = experts.fake_quantize(net.clone()).unwrap();
    let wanted = quantized(&net.experts, scheme);
    assert_eq!(bits(trained.experts.val()), wanted);
    assert_ne!(wanted, quantized(&net.experts, Fp4Scheme::nvfp4()));
    let quantizer = trained
        .experts
        .reparameterization::<WeightQuantizer>()
        .unwrap();
    assert_eq!(quantizer.global_amax().unwrap().dims(), [2]);
}

/// `sum((x q(w)) * c)` has gradient `x^T c`, whatever `q` does.
#[test]
fn gradients_reach_the_master_weight_alone() {
    for device in [
        Device::flex().autodiff(),
        Device::flex().autodiff().gradient_checkpointing(),
    ] {
        let net = frozen(Fp4Scheme::nvfp4(), Net::new(&device));
        let weight = &net.layers[0].weight;
        let (x, c) = (sample([5, 64], 11, &device), sample([5, 64], 12, &device));
        let wanted = x.clone().transpose().matmul(c.clone()).inner();
        let grads = (x.matmul(weight.val()) * c).sum().backward();
        assert_eq!(bits(weight.base().grad(&grads).unwrap()), bits(wanted));
        assert!(amax(weight).grad(&grads).is_none());
    }
}

#[test]
fn the_magnitude_is_never_trained() {
    let net = frozen(Fp4Scheme::nvfp4(), Net::new(&Device::flex().autodiff()));
    let states = [
        net.clone(),
        net.clone().unfreeze(),
        net.clone().freeze().unfreeze(),
        net.clone().valid().unfreeze().train(),
        net.clone().valid().train(),
        net.clone().fork(&Device::flex()),
    ];
    for state in states {
        assert!(!amax(&state.layers[1].weight).is_require_grad());
        assert!(state.layers[1].weight.base().is_require_grad());
        assert_eq!(weight_bits(&state), weight_bits(&net));
    }
    assert!(
        !net.clone().freeze().layers[1]
            .weight
            .base()
            .is_require_grad()
    );
    let valid = net.valid();
    assert!(!valid.layers[1].weight.val().is_autodiff());
    assert_eq!(weight_bits(&valid), weight_bits(&net));
}

#[test]
fn a_frozen_magnitude_stays_until_it_is_refreshed() {
    let device = Device::flex().autodiff();
    let mut net = frozen(Fp4Scheme::nvfp4(), Net::new(&device));
    let before = largest(&net.layers[0].weight);
    let experts = bits(net.experts.val());
    // As an optimizer does: the parameter is mapped, its quantizer stays.
    struct Triple;
    impl burn::module::ModuleMapper for Triple {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            match param.shape().as_slice() {
                [64, 64] => param.map(|w| (w.detach() * 3.0).detach().require_grad()),
                _ => param,
            }
        }
    }
    net = net.map(&mut Triple);
    let amax_of = |net: &Net| {
        amax(&net.layers[0].weight)
            .try_into_vec_as::<f32>()
            .unwrap()
    };
    assert_eq!(amax_of(&net), [before]);
    let clipped = net.layers[0]
        .weight
        .val()
        .abs()
        .max()
        .try_into_vec_as::<f32>()
        .unwrap();
    assert_eq!(clipped, [before]);

    let net = refresh_global_amax(net);
    assert_eq!(amax_of(&net), [largest(&net.layers[0].weight)]);
    assert_eq!(weight_bits(&net), quantized_bits(&net, Fp4Scheme::nvfp4()));
    assert_eq!(bits(net.experts.val()), experts);
    assert!(!amax(&net.layers[0].weight).is_require_grad());
    assert!(net.layers[0].weight.base().is_require_grad());
}

#[test]
fn refreshes_are_due_every_so_many_steps() {
    let every = GlobalRefresh::Every(NonZeroUsize::new(3).unwrap());
    let due: Vec<usize> = (1..8).filter(|&step| every.is_due(step)).collect();
    assert_eq!(due, [3, 6]);
    assert!(!GlobalRefresh::Frozen.is_due(3) && !GlobalRefresh::Dynamic.is_due(3));
    let json = serde_json::to_string(&[every, GlobalRefresh::Frozen]).unwrap();
    assert_eq!(json, r#"[{"every":3},"frozen"]"#);
}

#[test]
fn records_keep_the_magnitude() {
    let device = Device::flex();
    let net = frozen(Fp4Scheme::nvfp4(), Net::new(&device));
    // Another weight, so that only the record can give the first one's magnitude.
    let mut other = Net::new(&device);
    other.layers[0].weight = Param::from_tensor(sample([64, 64], 9, &device) * 5.0);
    let other = frozen(Fp4Scheme::nvfp4(), other);
    assert_ne!(weight_bits(&other), weight_bits(&net));
    let record = net.clone().into_record().into_bytes().unwrap();
    let record = burn::store::ModuleRecord::from_bytes(record).unwrap();
    let loaded = other.try_load_record(record).unwrap();
    assert_eq!(weight_bits(&loaded), weight_bits(&net));
    assert_eq!(
        bits(amax(&loaded.layers[0].weight)),
        bits(amax(&net.layers[0].weight))
    );
}

#[test]
fn one_quantizer_per_weight() {
    let trained = frozen(Fp4Scheme::nvfp4(), Net::new(&Device::flex()));
    let again = quantization(Fp4Scheme::mxfp4()).fake_quantize(trained);
    let (path, name) = ("experts".into(), "weight_quantizer".into());
    assert_eq!(again.unwrap_err(), Fp4Error::Reparameterized { path, name });
}

/// With the rule of OCP the largest element of a block can saturate; a clip-aware gradient stops there.
#[test]
fn clip_aware_gradients_stop_at_saturated_weights() {
    let net = Net::new(&Device::flex().autodiff());
    let scheme = Fp4Scheme::mxfp4_with(ScaleRule::Floor);
    let gradient = |rule| {
        let quantization = quantization(scheme).with_gradient(rule);
        let trained = quantization.fake_quantize(net.clone()).unwrap();
        let grads = trained.experts.val().sum().backward();
        let grad = trained.experts.base().grad(&grads).unwrap();
        grad.try_into_vec_as::<f32>().unwrap()
    };
    assert!(
        gradient(GradientRule::StraightThrough)
            .iter()
            .all(|g| *g == 1.0)
    );
    let values = net.experts.val().try_into_vec_as::<f32>().unwrap();
    let largest = quantized(&net.experts, scheme);
    let clipped = gradient(GradientRule::ClipAware);
    for ((grad, x), rounded) in clipped.iter().zip(&values).zip(largest) {
        // A saturated element is rounded towards zero by the rule's largest value, 6 * 2^e.
        let rounded = f32::from_bits(rounded).abs();
        let is_largest_code = (rounded / 1.5).log2().fract() == 0.0;
        let saturates = x.abs() > rounded && is_largest_code && *grad == 0.0;
        assert!(
            saturates || *grad == 1.0,
            "{x} became {rounded}, gradient {grad}"
        );
    }
    assert!(clipped.contains(&0.0));
}
