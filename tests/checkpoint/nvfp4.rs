//! NVFP4 checkpoints in ModelOpt's layout: tensors and configuration, bits, and what is refused.

use std::path::{Path, PathBuf};

use burn::module::{Module, Param};
use burn::tensor::{Device, FloatDType};
use burn_fp4::{Fp4Scheme, GlobalRefresh, GlobalScope, fake_quantize_along};
use burn_gpt_oss::{CheckpointForm, CheckpointReader, GptOss, checkpoint_name};
use burn_qat_train::{QuantPolicy, export_fp4, insert_quantizers, insert_quantizers_with};
use safetensors::Dtype;
use serde_json::json;
use tempfile::TempDir;

use crate::files::{Raw, WEIGHTS, all_tensors, edit_json, edit_tensors, read_json};
use crate::model::{load, open, parameters};

pub const SOURCE: &str = "tiny-gpt-oss";
pub const GATE_UP: &str = "model.layers.0.mlp.experts.gate_up_proj";

/// The golden model with other expert weights, so that nothing lies on a grid of MXFP4.
pub fn moved() -> GptOss {
    let mut model = load(SOURCE, &Device::flex());
    for (_, weight) in model.expert_weights_mut() {
        *weight = Param::from_tensor(weight.val() * 1.037 + 0.001).into();
    }
    model
}

fn policy() -> QuantPolicy {
    QuantPolicy::nvfp4_mlp_weight_only()
}

/// A directory with the rounded model, and the model.
fn exported() -> (TempDir, PathBuf, GptOss) {
    let (model, _) = insert_quantizers(moved(), &policy()).unwrap();
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("nvfp4");
    let report = export_fp4(&model, &dir, &open(SOURCE), false, |_| {}).unwrap();
    assert_eq!(report.verified_weights, model.config().num_expert_weights());
    (parent, dir, model)
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn tensors_have_the_names_types_and_shapes_of_modelopt() {
    let (_parent, dir, model) = exported();
    let tensors = all_tensors(&dir);
    let config = model.config();
    let (experts, hidden, inner) = (
        config.num_local_experts,
        config.hidden_size,
        config.intermediate_size,
    );
    let is = |name: String, dtype, shape: &[usize]| {
        let found = &tensors[&name];
        assert_eq!(
            (found.dtype, found.shape.as_slice()),
            (dtype, shape),
            "{name}"
        );
    };
    let gate_up = [experts, hidden / 2, 2 * inner];
    is(GATE_UP.into(), Dtype::U8, &gate_up);
    is(
        format!("{GATE_UP}_weight_scale"),
        Dtype::F8_E4M3,
        &[experts, hidden / 16, 2 * inner],
    );
    is(format!("{GATE_UP}_weight_scale_2"), Dtype::F32, &[]);
    is(
        format!("{GATE_UP}_bias"),
        Dtype::BF16,
        &[experts, 2 * inner],
    );
    let down = GATE_UP.replace("gate_up", "down");
    is(down, Dtype::U8, &[experts, inner / 2, hidden]);

    let config = &read_json(&dir.join("config.json"))["quantization_config"];
    assert_eq!(config["quant_method"], "modelopt");
    assert_eq!(config["quant_algo"], "W4A16_NVFP4");
    assert_eq!(
        config["config_groups"]["group_0"]["weights"]["group_size"],
        16
    );
    let beside = &read_json(&dir.join("hf_quant_config.json"))["quantization"];
    assert_eq!(beside["group_size"], 16);
    assert_eq!(beside["exclude_modules"], config["ignore"]);
    let reader = CheckpointReader::open(&dir).unwrap();
    let bytes = CheckpointForm::Nvfp4.bytes(model.config());
    assert_eq!(
        (reader.form(), reader.data_len()),
        (CheckpointForm::Nvfp4, bytes)
    );
}

/// One element from the bytes, as the layout says, and all of them by every way of loading.
#[test]
fn what_was_trained_is_what_is_loaded() {
    let (_parent, dir, model) = exported();
    let reader = CheckpointReader::open(&dir).unwrap();
    let device = Device::flex();
    let dense = parameters(&reader.load(&device, FloatDType::F32, |_| {}).unwrap());
    let packed = reader
        .load_packed(&device, FloatDType::F32, |_| {})
        .unwrap();
    let stored = reader
        .load_stored(&device, FloatDType::F32, |_| {})
        .unwrap();
    let loaded = packed.expert_weights().zip(stored.expert_weights());
    for ((path, weight), (packed, stored)) in model.expert_weights().zip(loaded) {
        let master = weight.dense().unwrap().base();
        let expected = fake_quantize_along(master, 1, &Fp4Scheme::nvfp4());
        let expected: Vec<f32> = expected.try_into_vec_as().unwrap();
        assert_eq!(
            bits(&dense[&checkpoint_name(&path)].values),
            bits(&expected),
            "{path}"
        );
        for loaded in [packed, stored] {
            assert_eq!(loaded.1.scheme(), Some(Fp4Scheme::nvfp4()), "{path}");
            let values: Vec<f32> = loaded.1.val().try_into_vec_as().unwrap();
            assert_eq!(bits(&values), bits(&expected), "{path}");
        }
    }
    let tensors = all_tensors(&dir);
    let tensor = |suffix: &str| &tensors[&format!("{GATE_UP}{suffix}")];
    let (expert, input, output) = (1, 19, 5);
    let at =
        |raw: &Raw, row: usize| raw.bytes[(expert * raw.shape[1] + row) * raw.shape[2] + output];
    let code = at(tensor(""), input / 2) >> 4;
    let scale = burn_fp4::e4m3::decode(at(tensor("_weight_scale"), input / 16));
    let global = f32::from_le_bytes(tensor("_weight_scale_2").bytes[..].try_into().unwrap());
    let value = burn_fp4::e2m1::decode(code) * (scale * global);
    let found = &dense[GATE_UP];
    let [_, n_inputs, n_outputs] = found.shape[..] else {
        panic!()
    };
    assert_eq!(
        value,
        found.values[(expert * n_inputs + input) * n_outputs + output]
    );
}

/// The forward pass and the file have the global scale that the quantizer keeps, not that of the weights.
#[test]
fn kept_global_scales_are_exported() {
    let (model, _) = insert_quantizers_with(moved(), &policy(), GlobalRefresh::Frozen).unwrap();
    let mut halved = moved();
    for (_, weight) in halved.expert_weights_mut() {
        *weight = Param::from_tensor(weight.val() * 0.5).into();
    }
    let model = model.load_record(halved.into_record().allow_partial(true));
    let dir = TempDir::new().unwrap();
    export_fp4(
        &model,
        &dir.path().join("kept"),
        &open(SOURCE),
        false,
        |_| {},
    )
    .unwrap();
    let kept = all_tensors(&dir.path().join("kept"));
    let (_parent, fresh, _) = exported();
    let name = format!("{GATE_UP}_weight_scale_2");
    assert_eq!(
        kept[&name],
        all_tensors(&fresh)[&name],
        "as before the weights were halved"
    );
}

#[test]
fn an_export_is_exported_byte_for_byte() {
    let (parent, dir, _) = exported();
    let reader = CheckpointReader::open(&dir).unwrap();
    let device = Device::flex();
    let stored = reader.load_stored(&device, FloatDType::F32, |_| {});
    let again = parent.path().join("stored");
    let report = export_fp4(&stored.unwrap(), &again, &reader, false, |_| {}).unwrap();
    assert_eq!(
        report.saved.copied.len(),
        2 * reader.config().num_hidden_layers
    );
    assert_eq!(all_tensors(&again), all_tensors(&dir));
    // A quantizer may round what is rounded to other values, here of some matrices: those of the forward pass are
    // written. The export itself compares them.
    let dense = reader.load(&device, FloatDType::F32, |_| {}).unwrap();
    let dense = insert_quantizers(dense, &policy()).unwrap().0;
    let again = parent.path().join("dense");
    let report = export_fp4(&dense, &again, &reader, false, |_| {}).unwrap();
    assert!(report.saved.copied.len() < 2 * reader.config().num_hidden_layers);
    // What the source has in another format is packed anew.
    let source = open(SOURCE);
    let model = insert_quantizers(load(SOURCE, &device), &policy())
        .unwrap()
        .0;
    let report = export_fp4(&model, &parent.path().join("cast"), &source, false, |_| {}).unwrap();
    assert!(report.saved.copied.is_empty());
}

#[test]
fn a_global_scale_for_every_expert_is_read() {
    let (_parent, dir, model) = exported();
    let reader = CheckpointReader::open(&dir).unwrap();
    let values = |dir: &Path| {
        let reader = CheckpointReader::open(dir).unwrap();
        let model = reader
            .load(&Device::flex(), FloatDType::F32, |_| {})
            .unwrap();
        parameters(&model)[GATE_UP].values.clone()
    };
    let before = values(reader.dir());
    let experts = model.config().num_local_experts;
    edit_tensors(&dir.join(WEIGHTS), |tensors| {
        let scale = tensors
            .get_mut(&format!("{GATE_UP}_weight_scale_2"))
            .unwrap();
        let one = f32::from_le_bytes(scale.bytes[..].try_into().unwrap());
        // Powers of two keep all digits.
        let scales =
            (0..experts).flat_map(|expert| (one * f32::powi(2.0, expert as i32 % 3)).to_le_bytes());
        (scale.bytes, scale.shape) = (scales.collect(), vec![experts]);
    });
    let after = values(&dir);
    let of_expert = before.len() / experts;
    for (index, (before, after)) in before.iter().zip(&after).enumerate() {
        let factor = f32::powi(2.0, (index / of_expert) as i32 % 3);
        assert_eq!(before * factor, *after, "element {index}");
    }
    let packed = CheckpointReader::open(&dir).unwrap();
    let packed = packed
        .load_packed(&Device::flex(), FloatDType::F32, |_| {})
        .unwrap();
    let scheme = packed.layers[0].mlp.experts.gate_up_proj.scheme();
    assert_eq!(
        scheme,
        Some(Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert))
    );
}

#[test]
fn damaged_scales_are_refused_by_name() {
    let refused = |edit: &dyn Fn(&mut Raw), suffix: &str| {
        let (_parent, dir, _) = exported();
        let name = format!("{GATE_UP}{suffix}");
        edit_tensors(&dir.join(WEIGHTS), |tensors| {
            edit(tensors.get_mut(&name).unwrap())
        });
        let loaded = CheckpointReader::open(&dir).and_then(|reader| {
            reader
                .load(&Device::flex(), FloatDType::F32, |_| {})
                .map(drop)
        });
        let error = loaded.expect_err(&name).to_string();
        assert!(error.contains(&name), "{error}");
        error
    };
    let nan = f32::NAN.to_le_bytes();
    let error = refused(&|raw| raw.bytes = nan.to_vec(), "_weight_scale_2");
    assert!(error.contains("NaN"), "{error}");
    let error = refused(&|raw| raw.bytes[3] = 0x7f, "_weight_scale");
    assert!(error.contains("NaN"), "{error}");
    let error = refused(&|raw| raw.dtype = Dtype::U8, "_weight_scale");
    assert!(error.contains("F8_E4M3"), "{error}");
    let error = refused(
        &|raw| {
            raw.shape = vec![2];
            raw.bytes = [1f32.to_le_bytes(), 1f32.to_le_bytes()].concat();
        },
        "_weight_scale_2",
    );
    assert!(error.contains("[2]"), "{error}");
}

/// Activations in FP4 or another algorithm of ModelOpt would change results without a word.
#[test]
fn other_algorithms_are_refused() {
    let (_parent, dir, _) = exported();
    edit_json(&dir.join("config.json"), |config| {
        config["quantization_config"]["quant_algo"] = json!("FP8");
    });
    let error = CheckpointReader::open(&dir).err().unwrap().to_string();
    assert!(
        error.contains("quant_algo") && error.contains("W4A16_NVFP4"),
        "{error}"
    );
}

#[test]
fn blocks_of_32_have_no_form() {
    let policy = QuantPolicy::nvfp4_bs32_mlp_weight_only();
    let (model, _) = insert_quantizers(moved(), &policy).unwrap();
    let dir = TempDir::new().unwrap();
    let target = dir.path().join("out");
    let error = export_fp4(&model, &target, &open(SOURCE), false, |_| {}).unwrap_err();
    assert!(
        error.to_string().contains("no checkpoint form holds NVFP4"),
        "{error}"
    );
    assert!(!target.exists());
}
