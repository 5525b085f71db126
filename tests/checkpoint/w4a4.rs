//! NVFP4 on weights and on their inputs (W4A4): calibration, the checkpoint, and what is refused.

use std::ops::ControlFlow;
use std::path::PathBuf;

use burn::tensor::{Device, FloatDType, Int, Tensor};
use burn_fp4::ActivationState;
use burn_gpt_oss::{CheckpointForm, CheckpointReader, GptOss};
use burn_qat_train::{
    QuantPolicy, TokenizedExample, calibrate_activations, export_fp4, gptq, insert_quantizers,
};
use safetensors::Dtype;
use tempfile::TempDir;

use crate::files::{Raw, WEIGHTS, all_tensors, edit_json, edit_tensors, read_json};
use crate::model::open;
use crate::nvfp4::{GATE_UP, SOURCE, bits, moved};

fn rows() -> Vec<TokenizedExample> {
    let row = |seed: u32| TokenizedExample {
        tokens: (0..9 + seed).map(|i| (i * 7 + seed * 13) % 60).collect(),
        loss_mask: vec![true; 9 + seed as usize],
        starts: Vec::new(),
    };
    (0..4).map(row).collect()
}

fn policy() -> QuantPolicy {
    QuantPolicy::preset("NVFP4_EXPERTS_ONLY_CFG").unwrap()
}

fn calibrated() -> GptOss {
    let format = policy().inputs.unwrap();
    let go_on = |_| ControlFlow::Continue(());
    let model = calibrate_activations(moved(), format, &rows(), go_on);
    model.unwrap().unwrap()
}

fn exported() -> (TempDir, PathBuf, GptOss) {
    let (model, quantized) = insert_quantizers(calibrated(), &policy()).unwrap();
    assert_eq!(quantized.len(), 2 * model.layers.len());
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("w4a4");
    let report = export_fp4(&model, &dir, &open(SOURCE), false, |_| {}).unwrap();
    assert_eq!(report.verified_weights, model.config().num_expert_weights());
    (parent, dir, model)
}

fn logits(model: &GptOss) -> Vec<u32> {
    let ids: Tensor<2, Int> = Tensor::from_data([[3, 1, 41, 59, 26, 5, 35]], &Device::flex());
    let values: Vec<f32> = model.forward(ids, None).try_into_vec_as().unwrap();
    bits(&values)
}

/// The magnitudes are those of a forward pass without rounding, up to the rounding of the scale that is stored.
#[test]
fn scales_are_those_of_the_largest_inputs() {
    let model = calibrated();
    let scales = model.input_scales().unwrap();
    assert_eq!(scales.len(), 2 * model.layers.len());
    let plain = moved();
    let mut largest = 0.0f32;
    for row in rows() {
        let ids: Vec<i32> = row.tokens.iter().map(|id| *id as i32).collect();
        let ids = Tensor::<1, Int>::from_data(&*ids, &Device::flex()).unsqueeze();
        let block = &plain.layers[0];
        let hidden = plain.embedded(ids);
        let context = plain.context(row.tokens.len(), None, &hidden);
        let output = block.forward(hidden.clone(), &context);
        let behind_attention = hidden + output.attention;
        let inputs = block.post_attention_layernorm.forward(behind_attention);
        let most = inputs.abs().max().try_into_scalar::<f32>().unwrap();
        largest = largest.max(most);
    }
    let (name, scale) = &scales[0];
    assert_eq!(*name, format!("{GATE_UP}_input_scale"));
    assert_eq!(*scale, largest / 2688.0);
}

#[test]
fn the_checkpoint_is_modelopts() {
    let (_parent, dir, model) = exported();
    let tensors = all_tensors(&dir);
    for (name, scale) in model.input_scales().unwrap() {
        let found = &tensors[&name];
        assert_eq!((found.dtype, found.shape.len()), (Dtype::F32, 0), "{name}");
        assert_eq!(found.bytes, scale.to_le_bytes(), "{name}");
    }
    let config = &read_json(&dir.join("config.json"))["quantization_config"];
    assert_eq!(config["quant_algo"], "NVFP4");
    let group = &config["config_groups"]["group_0"];
    assert_eq!(group["input_activations"], group["weights"]);
    let beside = read_json(&dir.join("hf_quant_config.json"));
    assert_eq!(beside["quantization"]["quant_algo"], "NVFP4");
    let reader = CheckpointReader::open(&dir).unwrap();
    let bytes = CheckpointForm::Nvfp4W4A4.bytes(model.config());
    let found = (reader.form(), reader.data_len());
    assert_eq!(found, (CheckpointForm::Nvfp4W4A4, bytes));
}

/// Every way of loading computes what was trained, bit for bit.
#[test]
fn what_is_loaded_computes_what_was_exported() {
    let (_parent, dir, model) = exported();
    let expected = logits(&model);
    assert_ne!(expected, logits(&model.clone().disable_activations()));
    let reader = CheckpointReader::open(&dir).unwrap();
    let device = Device::flex();
    let dense = reader.load(&device, FloatDType::F32, |_| {}).unwrap();
    for (_, quantizer) in dense.activation_quantizers() {
        assert_eq!(quantizer.state(), ActivationState::Static);
    }
    assert_eq!(logits(&dense), expected);
    // Products on packed weights sum in another order: the scales are what must be equal.
    let packed = reader.load_packed(&device, FloatDType::F32, |_| {});
    let stored = reader.load_stored(&device, FloatDType::F32, |_| {});
    for loaded in [packed, stored] {
        let scales = loaded.unwrap().input_scales().unwrap();
        assert_eq!(scales, model.input_scales().unwrap());
    }
    // And what is exported once more is the same.
    let again = dir.with_file_name("again");
    let loaded = reader
        .load_packed(&device, FloatDType::F32, |_| {})
        .unwrap();
    export_fp4(&loaded, &again, &reader, false, |_| {}).unwrap();
    let (first, second) = (all_tensors(&dir), all_tensors(&again));
    for (name, tensor) in first {
        assert_eq!(tensor.bytes, second[&name].bytes, "{name}");
    }
}

/// Scales of FP8 are of another kind: the magnitude is that of calibration all the same.
#[test]
fn inputs_in_fp8_have_the_magnitudes_of_calibration() {
    let go_on = |_| ControlFlow::Continue(());
    let format = burn_fp4::ActivationFormat::Fp8;
    let model = calibrate_activations(moved(), format, &rows(), go_on);
    let model = model.unwrap().unwrap();
    let pairs = calibrated();
    let pairs = model
        .activation_quantizers()
        .zip(pairs.activation_quantizers());
    for ((path, fp8), (_, nvfp4)) in pairs {
        let [fp8, nvfp4] = [fp8, nvfp4].map(|of| of.amax().into_scalar::<f32>());
        assert!((fp8 / nvfp4 - 1.0).abs() < 1e-6, "{path}: {fp8}, {nvfp4}");
    }
}

#[test]
fn gptq_rounds_for_rounded_inputs() {
    let go_on = |_| ControlFlow::Continue(());
    let model = gptq(calibrated(), &policy(), &rows(), go_on);
    let model = model.unwrap().unwrap();
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("gptq");
    export_fp4(&model, &dir, &open(SOURCE), false, |_| {}).unwrap();
    let reader = CheckpointReader::open(&dir).unwrap();
    assert_eq!(reader.form(), CheckpointForm::Nvfp4W4A4);
}

#[test]
fn damaged_scales_are_named() {
    let scale = format!("{GATE_UP}_input_scale");
    for (value, part) in [(f32::NAN, "NaN"), (-1.0, "-1"), (0.0, "holds 0")] {
        let (_parent, dir, _) = exported();
        edit_tensors(&dir.join(WEIGHTS), |tensors| {
            let bytes = value.to_le_bytes().to_vec();
            tensors.insert(
                scale.clone(),
                Raw {
                    dtype: Dtype::F32,
                    shape: vec![1],
                    bytes,
                },
            );
        });
        let reader = CheckpointReader::open(&dir).unwrap();
        let loaded = reader.load(&Device::flex(), FloatDType::F32, |_| {});
        let error = loaded.err().unwrap().to_string();
        assert!(error.contains(&scale) && error.contains(part), "{error}");
    }
    let (_parent, dir, _) = exported();
    edit_tensors(&dir.join(WEIGHTS), |tensors| {
        tensors.remove(
            &GATE_UP
                .replace("gate_up", "down")
                .replace("_proj", "_proj_input_scale"),
        );
    });
    let reader = CheckpointReader::open(&dir).unwrap();
    let loaded = reader.load(&Device::flex(), FloatDType::F32, |_| {});
    let error = loaded.err().unwrap().to_string();
    assert!(error.contains("down_proj_input_scale"), "{error}");
}

#[test]
fn forms_without_a_place_for_scales_refuse_them() {
    let go_on = |_| ControlFlow::Continue(());
    let policy = QuantPolicy {
        inputs: QuantPolicy::nvfp4_mlp_only().inputs,
        ..QuantPolicy::mxfp4_mlp_weight_only()
    };
    let model = calibrate_activations(moved(), policy.inputs.unwrap(), &rows(), go_on);
    let (model, _) = insert_quantizers(model.unwrap().unwrap(), &policy).unwrap();
    let parent = TempDir::new().unwrap();
    let refused = export_fp4(
        &model,
        &parent.path().join("x"),
        &open(SOURCE),
        false,
        |_| {},
    );
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("with rounded inputs"), "{error}");

    let error = calibrate_activations(moved(), policy.inputs.unwrap(), &[], go_on);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("calibration data"), "{error}");

    // What was never calibrated has no scale.
    let format = policy.inputs.unwrap();
    let model = moved().with_activation_quantizers(format, burn_fp4::Calibration::Max);
    let (model, _) = insert_quantizers(model.unwrap(), &QuantPolicy::nvfp4_mlp_only()).unwrap();
    let refused = export_fp4(
        &model,
        &parent.path().join("x"),
        &open(SOURCE),
        false,
        |_| {},
    );
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("not calibrated"), "{error}");
}

/// The configuration says what the tensors are.
#[test]
fn other_kinds_of_rounded_inputs_are_refused_by_name() {
    let (_parent, dir, _) = exported();
    edit_json(&dir.join("config.json"), |json| {
        json["quantization_config"]["quant_algo"] = "W4A8_NVFP4_FP8".into();
    });
    let error = CheckpointReader::open(&dir).err().unwrap().to_string();
    assert!(error.contains("W4A8_NVFP4_FP8"), "{error}");
}
