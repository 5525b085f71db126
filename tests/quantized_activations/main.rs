//! Quantizers on the inputs of the experts: calibration, forward pass and gradients against a
//! composition by hand, and what they leave alone.
#![allow(clippy::unwrap_used)]

#[path = "../support/golden.rs"]
mod golden;
#[path = "../support/model.rs"]
mod model;

mod by_hand;

use burn::module::Module;
use burn::store::ModuleRecord;
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_fp4::{
    ActivationFormat, ActivationState, Calibration, FakeQuantizer, Fp4Scheme, fp8_fake_quantize,
};
use burn_gpt_oss::{GptOss, GptOssError, RouterOutput};

use by_hand::{ByHand, Input};
use model::{load, load_packed, values};

const FORM: &str = "tiny-gpt-oss";

const FORMATS: [ActivationFormat; 3] = [
    ActivationFormat::Fp4(Fp4Scheme::nvfp4()),
    ActivationFormat::Fp4(Fp4Scheme::mxfp4()),
    ActivationFormat::Fp8,
];

fn bits<const D: usize>(tensor: &Tensor<D>) -> Vec<u32> {
    values(tensor).into_iter().map(f32::to_bits).collect()
}

/// `[11, hidden_size]`
fn tokens(model: &GptOss, seed: usize, device: &Device) -> Tensor<2> {
    let shape = [11, model.config().hidden_size];
    let value = |i: usize| ((i * 7919 + seed * 104_729) % 10_007) as f32 / 5003.0 - 1.0;
    let n_elements = shape.iter().product();
    let values: Vec<f32> = (0..n_elements)
        .map(|i| value(i).powi(3) * seed as f32)
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn ids(device: &Device) -> Tensor<2, Int> {
    Tensor::from_data([[1, 5, 9, 17, 3], [0, 2, 7, 7, 40]], device)
}

fn routed(model: &GptOss, layer: usize, x: &Tensor<2>) -> RouterOutput {
    let mlp = &model.layers[layer].mlp;
    mlp.forward(x.clone().unsqueeze()).1
}

fn largest(tensor: &Tensor<2>) -> f32 {
    values(tensor)
        .into_iter()
        .fold(0.0, |most, value| most.max(value.abs()))
}

/// With quantizers that have seen two batches, and the largest magnitudes of both inputs per block.
fn calibrated(model: GptOss, format: ActivationFormat, device: &Device) -> (GptOss, Vec<[f32; 2]>) {
    let model = model
        .with_activation_quantizers(format, Calibration::Max)
        .unwrap()
        .calibrate_activations();
    let mut amax = vec![[0.0f32; 2]; model.layers.len()];
    for (layer, amax) in amax.iter_mut().enumerate() {
        for seed in [2, 1] {
            let x = tokens(&model, seed, device);
            let routed = routed(&model, layer, &x);
            ByHand::new(&model, layer).forward(x, &routed, |input, x| {
                amax[input as usize] = amax[input as usize].max(largest(&x));
                x
            });
        }
    }
    (model, amax)
}

fn quantize(format: ActivationFormat, amax: f32, x: Tensor<2>) -> Tensor<2> {
    let amax = Tensor::from_data([amax], &x.device());
    match format {
        ActivationFormat::Fp4(scheme) => FakeQuantizer::new(scheme).forward_with_amax(x, amax, 1),
        _ => fp8_fake_quantize(x, amax),
    }
}

#[test]
fn calibration_finds_the_largest_magnitudes_of_all_batches() {
    let device = Device::flex();
    for format in FORMATS {
        let (model, amax) = calibrated(load(FORM, &device), format, &device);
        let model = model.enable_activations().unwrap();
        let divisor = match format {
            ActivationFormat::Fp8 => 448.0,
            _ => 2688.0,
        };
        let mut expected = Vec::new();
        for (layer, amax) in amax.iter().enumerate() {
            for (name, amax) in ["gate_up_proj", "down_proj"].iter().zip(amax) {
                let name = format!("model.layers.{layer}.mlp.experts.{name}_input_scale");
                expected.push((name, amax / divisor));
            }
        }
        if format == ActivationFormat::Fp4(Fp4Scheme::mxfp4()) {
            expected.clear();
        }
        assert_eq!(model.input_scales().unwrap(), expected, "{format:?}");
    }
}

#[test]
fn the_forward_pass_is_the_composition() {
    let device = Device::flex();
    for format in FORMATS {
        for model in [load(FORM, &device), load_packed(FORM, &device)] {
            let (model, amax) = calibrated(model, format, &device);
            let model = model.enable_activations().unwrap();
            for (layer, amax) in amax.iter().enumerate() {
                // Beyond what was calibrated, so that elements saturate.
                let x = tokens(&model, 3, &device);
                let routed = routed(&model, layer, &x);
                let by_hand = ByHand::new(&model, layer);
                let found = by_hand.experts.forward(x.clone(), &routed);
                let expected = by_hand.forward(x.clone(), &routed, |input, x| {
                    quantize(format, amax[input as usize], x)
                });
                assert!(bits(&found) == bits(&expected), "{format:?}, {layer}");
                let plain = by_hand.forward(x, &routed, |_, x| x);
                assert!(bits(&found) != bits(&plain), "{format:?}, {layer}");
            }
        }
    }
}

/// Each quantizer is cut out: what arrives behind it continues in front of it as it is.
#[test]
fn gradients_pass_straight_through() {
    let device = Device::flex().autodiff();
    for model in [load(FORM, &device), load_packed(FORM, &device)] {
        let format = FORMATS[0];
        let (model, amax) = calibrated(model, format, &device);
        // Nothing but the leaves below is in a graph, so that two can be walked.
        let model = model.enable_activations().unwrap().no_grad();
        let x = tokens(&model, 2, &device).detach();
        let routed = routed(&model, 0, &x);
        let by_hand = ByHand::new(&model, 0);
        let seed = tokens(&model, 5, &device).detach();

        let leaf = x.clone().require_grad();
        let output = by_hand.experts.forward(leaf.clone(), &routed);
        let grads = (output * seed.clone()).sum().backward();
        let found = values(&leaf.grad(&grads).unwrap());

        let (mut first, mut before, mut behind) = (None, Vec::new(), Vec::new());
        let output = by_hand.forward(x, &routed, |input, x| {
            let leaf = quantize(format, amax[0][input as usize], x.clone().detach());
            let leaf = leaf.detach().require_grad();
            match input {
                Input::GateUp => first = Some(leaf.clone()),
                Input::Down => {
                    before.push(x);
                    behind.push(leaf.clone());
                }
            }
            leaf
        });
        let grads = (output * seed).sum().backward();
        let products = before.into_iter().zip(behind).map(|(before, behind)| {
            let grad = Tensor::from_inner(behind.grad(&grads).unwrap());
            (before * grad).sum()
        });
        let grads = products.reduce(|a, b| a + b).unwrap().backward();
        let expected = values(&first.unwrap().grad(&grads).unwrap());
        let most = expected.iter().fold(0.0f32, |most, g| most.max(g.abs()));
        assert!(most > 0.0);
        for (found, expected) in found.iter().zip(&expected) {
            assert!(
                (found - expected).abs() <= 1e-6 * most,
                "{found} {expected}"
            );
        }
    }
}

#[test]
fn quantizers_that_are_off_change_nothing() {
    let device = Device::flex();
    let plain = load(FORM, &device);
    let expected = bits(&plain.forward(ids(&device), None));
    let logits = |model: &GptOss| bits(&model.forward(ids(&device), None));
    let n_params = plain.num_params();
    let model = plain
        .with_activation_quantizers(FORMATS[0], Calibration::Max)
        .unwrap();
    assert!(logits(&model) == expected, "off");
    assert_eq!(model.num_params(), n_params + 2 * model.layers.len());
    let model = model.calibrate_activations();
    assert!(logits(&model) == expected, "calibrating");
    let model = model.enable_activations().unwrap();
    assert!(logits(&model) != expected, "enabled");
    let model = model.disable_activations();
    assert!(logits(&model) == expected, "disabled");
    let model = model.without_activation_quantizers();
    assert_eq!(model.num_params(), n_params);
}

#[test]
fn records_hold_what_was_calibrated() {
    let device = Device::flex();
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("model");
    let (model, _) = calibrated(load_packed(FORM, &device), FORMATS[0], &device);
    let model = model.enable_activations().unwrap();
    model.clone().into_record().save(&path).unwrap();
    let loaded = load_packed(FORM, &device)
        .with_activation_quantizers(FORMATS[0], Calibration::Max)
        .unwrap()
        .try_load_record(ModuleRecord::load(&path).unwrap())
        .unwrap()
        .enable_activations()
        .unwrap();
    let quantizer = &loaded.layers[0].mlp.experts.down_proj_input_quantizer;
    assert_eq!(quantizer.as_ref().unwrap().state(), ActivationState::Static);
    assert_eq!(
        loaded.input_scales().unwrap(),
        model.input_scales().unwrap()
    );
    let [a, b] = [&model, &loaded].map(|model| bits(&model.forward(ids(&device), None)));
    assert!(a == b);
}

#[test]
fn percentiles_out_of_range_are_refused() {
    let model = load(FORM, &Device::flex());
    let error = model.with_activation_quantizers(FORMATS[2], Calibration::Percentile(0.0));
    let error = error.unwrap_err();
    assert!(matches!(error, GptOssError::Fp4 { .. }), "{error}");
    let path = "layers.0.mlp.experts.gate_up_proj_input_quantizer";
    assert!(error.to_string().contains(path), "{error}");
}
