//! Tensors that do not fit the configuration.

use std::path::Path;

use burn::tensor::{Device, FloatDType};
use burn_gpt_oss::CheckpointReader;
use safetensors::Dtype;
use serde_json::json;

use crate::damage::{DENSE, MATRIX, ROUTER, SINGLE, refused, with_config};
use crate::files::{Raw, WEIGHTS, copy_of, edit_json, edit_tensors};

#[test]
fn tensors_that_do_not_fit_the_configuration_are_named() {
    let config =
        crate::files::read_json(&crate::golden::directory().join(SINGLE).join("config.json"));
    let size = |key: &str| config[key].as_u64().expect("a size");
    for (key, value, tensor) in [
        (
            "intermediate_size",
            size("intermediate_size") + 32,
            "down_proj_blocks",
        ),
        ("hidden_size", size("hidden_size") + 32, "lm_head.weight"),
        ("vocab_size", size("vocab_size") - 1, "lm_head.weight"),
        ("head_dim", size("head_dim") + 2, "k_proj"),
        (
            "num_local_experts",
            size("num_local_experts") + 1,
            "mlp.experts",
        ),
        (
            "num_attention_heads",
            2 * size("num_attention_heads"),
            "self_attn",
        ),
    ] {
        refused(
            SINGLE,
            with_config(key, json!(value)),
            &[WEIGHTS, tensor, "expected"],
        );
    }
    // Not a multiple of the block size.
    let odd = json!(size("intermediate_size") + 2);
    refused(
        SINGLE,
        with_config("intermediate_size", odd),
        &["intermediate_size", "32"],
    );
}

/// One layer more needs tensors that are absent; one layer less leaves tensors over.
#[test]
fn missing_and_unknown_tensors_are_named() {
    let with_layers = |change: i64| {
        move |dir: &Path| {
            edit_json(&dir.join("config.json"), |config| {
                let layers = config["num_hidden_layers"].as_i64().expect("a number");
                config["num_hidden_layers"] = json!(layers + change);
                config
                    .as_object_mut()
                    .expect("object")
                    .remove("layer_types");
            });
        }
    };
    refused(SINGLE, with_layers(1), &["model.layers.", "not found"]);
    refused(SINGLE, with_layers(-1), &["model.layers.", "do not belong"]);

    let edit = |edit: fn(&mut crate::files::RawTensors)| {
        move |dir: &Path| edit_tensors(&dir.join(WEIGHTS), edit)
    };
    let without = |tensor: &'static str| {
        move |dir: &Path| {
            edit_tensors(&dir.join(WEIGHTS), |tensors| {
                assert!(tensors.remove(tensor).is_some());
            });
        }
    };
    refused(SINGLE, without(ROUTER), &[ROUTER, "not found"]);
    refused(
        SINGLE,
        without("model.layers.0.mlp.experts.down_proj_scales"),
        &[MATRIX, "_scales"],
    );
    refused(
        SINGLE,
        without("model.layers.0.mlp.experts.down_proj_blocks"),
        &[MATRIX],
    );
    refused(DENSE, without(MATRIX), &[MATRIX, "not found"]);
    let unknown = edit(|tensors| {
        tensors.insert("model.layers.0.extra".into(), tensors[ROUTER].clone());
    });
    refused(SINGLE, unknown, &["model.layers.0.extra", "do not belong"]);
    let both_forms = edit(|tensors| {
        tensors.insert(MATRIX.into(), tensors[ROUTER].clone());
    });
    refused(SINGLE, both_forms, &[MATRIX, "do not belong"]);
}

#[test]
fn wrong_element_types_are_named() {
    fn retype(tensor: &'static str, dtype: Dtype) -> impl FnOnce(&Path) {
        move |dir| {
            edit_tensors(&dir.join(WEIGHTS), |tensors| {
                let old = tensors[tensor].clone();
                let n_elements: usize = old.shape.iter().product();
                let bytes = vec![0; n_elements * dtype.bitsize() / 8];
                tensors.insert(
                    tensor.into(),
                    Raw {
                        dtype,
                        bytes,
                        ..old
                    },
                );
            });
        }
    }
    for dtype in [Dtype::I64, Dtype::U8, Dtype::F64, Dtype::BOOL] {
        let found = format!("{dtype:?}");
        refused(
            SINGLE,
            retype(ROUTER, dtype),
            &[WEIGHTS, ROUTER, &found, "BF16"],
        );
        refused(
            DENSE,
            retype(MATRIX, dtype),
            &[WEIGHTS, MATRIX, &found, "BF16"],
        );
    }
    for part in [
        "model.layers.0.mlp.experts.down_proj_blocks",
        "model.layers.0.mlp.experts.down_proj_scales",
    ] {
        for dtype in [Dtype::I8, Dtype::BF16, Dtype::F8_E8M0] {
            refused(
                SINGLE,
                retype(part, dtype),
                &[WEIGHTS, part, &format!("{dtype:?}"), "U8"],
            );
        }
    }
}

#[test]
fn float_types_other_than_bf16_are_read() {
    let exact = |dtype: Dtype| {
        let copy = copy_of(DENSE);
        edit_tensors(&copy.path().join(WEIGHTS), |tensors| {
            for tensor in tensors.values_mut() {
                *tensor = converted(tensor, dtype);
            }
        });
        let reader = CheckpointReader::open(copy.path()).unwrap();
        let model = reader
            .load(&Device::flex(), FloatDType::F32, |_| {})
            .unwrap();
        crate::model::parameters(&model)
    };
    let expected = crate::model::parameters(&crate::model::load(DENSE, &Device::flex()));
    assert!(exact(Dtype::F32) == expected, "F32");
    for (name, found) in exact(Dtype::F16) {
        let halved = expected[&name]
            .values
            .iter()
            .map(|v| half::f16::from_f32(*v).to_f32());
        assert!(found.values.iter().copied().eq(halved), "F16: `{name}`");
    }
}

fn converted(tensor: &Raw, dtype: Dtype) -> Raw {
    let (elements, _) = tensor.bytes.as_chunks::<2>();
    let values = elements
        .iter()
        .map(|bytes| half::bf16::from_le_bytes(*bytes).to_f32());
    let bytes = match dtype {
        Dtype::F32 => values.flat_map(f32::to_le_bytes).collect(),
        Dtype::F16 => values
            .flat_map(|v| half::f16::from_f32(v).to_le_bytes())
            .collect(),
        other => panic!("{other:?}"),
    };
    Raw {
        dtype,
        shape: tensor.shape.clone(),
        bytes,
    }
}
