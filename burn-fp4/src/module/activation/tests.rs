//! Calibration and what it leads to.

use burn::tensor::TensorData;

use super::*;
use crate::scheme::Fp4Scheme;
use crate::scheme::global_scale::GlobalScope;
use crate::scheme::scale_rule::Nvfp4ScaleRule;

const NVFP4: ActivationFormat = ActivationFormat::Fp4(Fp4Scheme::nvfp4());
const MXFP4: ActivationFormat = ActivationFormat::Fp4(Fp4Scheme::mxfp4());

fn values() -> Vec<f32> {
    (0..4 * 64)
        .map(|i| ((i * 7919 % 1009) as f32 - 504.0) / 97.0)
        .collect()
}

fn sample(device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values(), [4, 64]), device)
}

fn quantizer(format: ActivationFormat, calibration: Calibration) -> ActivationQuantizer {
    ActivationQuantizer::new(format, calibration, &Device::flex()).unwrap()
}

fn assert_same(a: Tensor<2>, b: Tensor<2>) {
    a.into_data().assert_eq(&b.into_data(), true);
}

#[test]
fn nothing_changes_before_it_is_enabled() {
    let x = sample(&Device::flex());
    for format in [NVFP4, MXFP4, ActivationFormat::Fp8] {
        let quantizer = quantizer(format, Calibration::Max);
        assert_same(quantizer.forward(x.clone()), x.clone());
        let quantizer = quantizer.calibrate();
        assert_same(quantizer.forward(x.clone()), x.clone());
        assert_eq!(
            quantizer.enable().unwrap().disable().state(),
            ActivationState::Off
        );
    }
}

#[test]
fn the_largest_observed_magnitude_is_static() {
    let x = sample(&Device::flex());
    let scheme = Fp4Scheme::nvfp4();
    let quantizer = quantizer(NVFP4, Calibration::Max).calibrate();
    quantizer.forward(x.clone() * 0.1);
    // A clone, as a forked model is.
    quantizer.clone().forward(x.clone() * 0.5);
    let quantizer = quantizer.enable().unwrap();
    let largest = values()
        .into_iter()
        .fold(0f32, |max, x| max.max((x * 0.5).abs()));
    assert_eq!(quantizer.state(), ActivationState::Static);
    assert_eq!(quantizer.input_scale().unwrap(), Some(largest / 2688.0));
    let amax = Tensor::from_floats([largest], &Device::flex());
    let wanted = FakeQuantizer::new(scheme).forward_with_amax(x.clone(), amax, 1);
    assert_same(quantizer.forward(x.clone()), wanted);
    let own = FakeQuantizer::new(scheme).forward(x.clone(), 1);
    let differs = (quantizer.forward(x) - own)
        .abs()
        .max()
        .into_scalar::<f32>();
    assert!(differs > 0.0);
}

#[test]
fn percentiles_cut_outliers_off() {
    let device = Device::flex();
    let mut values: Vec<f32> = (0..9999).map(|i| i as f32 / 9999.0).collect();
    values.push(1000.0);
    let x = Tensor::<1>::from_data(TensorData::new(values, [10_000]), &device);
    let quantizer = quantizer(ActivationFormat::Fp8, Calibration::Percentile(99.0)).calibrate();
    quantizer.forward(x);
    let quantizer = quantizer.enable().unwrap();
    let amax = quantizer.amax().into_scalar::<f32>();
    assert!((0.9899..=0.9899 * 33.0 / 32.0).contains(&amax), "{amax}");
    assert_eq!(quantizer.input_scale().unwrap(), Some(amax / 448.0));
    for percent in [0.0, 101.0, f64::NAN] {
        let calibration = Calibration::Percentile(percent);
        assert!(ActivationQuantizer::new(NVFP4, calibration, &device).is_err());
    }
}

#[test]
fn without_calibration_the_tensor_decides() {
    let x = sample(&Device::flex());
    let experts = Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert);
    for scheme in [Fp4Scheme::mxfp4(), Fp4Scheme::nvfp4(), experts] {
        let quantizer = quantizer(ActivationFormat::Fp4(scheme), Calibration::Max);
        let quantizer = quantizer.enable().unwrap();
        assert_eq!(quantizer.state(), ActivationState::Dynamic);
        assert_eq!(quantizer.input_scale().unwrap(), None);
        let scheme = scheme.with_global_scope(GlobalScope::Tensor);
        let wanted = FakeQuantizer::new(scheme).forward(x.clone(), 1);
        assert_same(quantizer.forward(x.clone()), wanted);
    }
    let quantizer = quantizer(ActivationFormat::Fp8, Calibration::Max)
        .enable()
        .unwrap();
    let amax = global_amax(x.clone(), &Fp4Scheme::nvfp4());
    assert_same(quantizer.forward(x.clone()), fp8_fake_quantize(x, amax));
}

#[test]
fn mxfp4_needs_no_calibration() {
    let quantizer = quantizer(MXFP4, Calibration::Max).calibrate();
    quantizer.forward(sample(&Device::flex()));
    let quantizer = quantizer.enable().unwrap();
    assert_eq!(quantizer.state(), ActivationState::Dynamic);
    assert_eq!(quantizer.input_scale().unwrap(), None);
}

#[test]
fn the_scale_of_four_over_six_is_its_own() {
    let scheme = Fp4Scheme::nvfp4_with(Nvfp4ScaleRule::FourOverSix);
    let quantizer = quantizer(ActivationFormat::Fp4(scheme), Calibration::Max);
    let quantizer = quantizer.with_amax(3.0).unwrap();
    assert_eq!(quantizer.input_scale().unwrap(), Some(3.0 / 1536.0));
    assert!(quantizer.with_amax(f32::NAN).is_err());
}

#[test]
fn records_hold_the_magnitude() {
    let path = std::env::temp_dir().join(format!("burn-fp4-amax-{}.bpk", std::process::id()));
    let calibrated = quantizer(NVFP4, Calibration::Max).with_amax(2.5).unwrap();
    calibrated.clone().train().save_file(&path).unwrap();
    let loaded = quantizer(NVFP4, Calibration::Max).load_file(&path);
    assert_eq!(loaded.input_scale().unwrap(), Some(2.5 / 2688.0));
    assert_eq!(loaded.enable().unwrap().state(), ActivationState::Static);
    // Burn reads the file when values are asked for.
    std::fs::remove_file(&path).unwrap();
    let training = calibrated.fork(&Device::flex().autodiff()).unfreeze();
    assert!(!training.amax().is_require_grad());
    let set = training.with_amax(3.0).unwrap();
    assert!(!set.amax().is_require_grad());
}

#[test]
fn gradients_pass_and_calibration_keeps_no_graph() {
    for device in [
        Device::flex().autodiff(),
        Device::flex().autodiff().gradient_checkpointing(),
    ] {
        for format in [NVFP4, MXFP4, ActivationFormat::Fp8] {
            let quantizer = ActivationQuantizer::new(format, Calibration::Max, &device).unwrap();
            let x = sample(&device).require_grad();
            let quantizer = quantizer.calibrate();
            quantizer.forward(x.clone() * 2.0);
            let quantizer = quantizer.enable().unwrap();
            let u = sample(&device) * 0.3 + 1.0;
            let grads = (quantizer.forward(x.clone() * 2.0) * u.clone())
                .sum()
                .backward();
            assert_same(x.grad(&grads).unwrap(), (u * 2.0).inner());
        }
    }
}
