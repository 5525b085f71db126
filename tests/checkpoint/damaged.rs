use std::fs::OpenOptions;
use std::path::Path;

use burn::tensor::{Device, FloatDType};
use burn_gpt_oss::CheckpointReader;
use safetensors::Dtype;
use serde_json::{Value, json};

use crate::files::{INDEX, Raw, WEIGHTS, copy_of, edit_json, edit_tensors, shards};

const SINGLE: &str = "tiny-gpt-oss";
const SHARDED: &str = "tiny-gpt-oss-sharded";
const DENSE: &str = "tiny-gpt-oss-bf16";
const ROUTER: &str = "model.layers.0.mlp.router.weight";
const MATRIX: &str = "model.layers.0.mlp.experts.down_proj";

/// Damages a copy of a golden directory, and asserts that opening or loading it fails with an error
/// that names everything in `named`.
fn refused(directory: &str, damage: impl FnOnce(&Path), named: &[&str]) {
    let copy = copy_of(directory);
    damage(copy.path());
    let result = CheckpointReader::open(copy.path())
        .and_then(|reader| reader.load(&Device::flex(), FloatDType::F32, |_| {}));
    let text = result
        .map(|_| ())
        .expect_err(&format!("{named:?}: must be refused"))
        .to_string();
    for name in named {
        assert!(
            text.contains(name),
            "the error does not say `{name}`: {text}"
        );
    }
    println!("{text}");
}

fn truncate(file: &Path, len: impl FnOnce(u64) -> u64) {
    let file = OpenOptions::new().write(true).open(file).unwrap();
    let old = file.metadata().unwrap().len();
    file.set_len(len(old)).unwrap();
}

fn header_len(file: &Path) -> u64 {
    u64::from_le_bytes(std::fs::read(file).unwrap()[..8].try_into().unwrap())
}

fn write_header(file: &Path, header: &str, data: &[u8]) {
    let len = (header.len() as u64).to_le_bytes();
    std::fs::write(file, [&len, header.as_bytes(), data].concat()).unwrap();
}

fn append(file: &Path, text: &str) {
    let old = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, old + text).unwrap();
}

/// Changes config.json.
fn with_config(key: &str, value: Value) -> impl FnOnce(&Path) {
    move |dir| edit_json(&dir.join("config.json"), |config| config[key] = value)
}

fn with_text(file: &str, text: &str) -> impl FnOnce(&Path) {
    move |dir| std::fs::write(dir.join(file), text).unwrap()
}

/// Changes the index's `weight_map` in one place.
fn with_shard_of(tensor: &str, shard: &str) -> impl FnOnce(&Path) {
    move |dir| {
        edit_json(&dir.join(INDEX), |index| {
            index["weight_map"][tensor] = json!(shard);
        });
    }
}

#[test]
fn truncated_files_are_named() {
    let weights = |dir: &Path| dir.join(WEIGHTS);
    let cut = "truncated";
    refused(
        SINGLE,
        |dir| truncate(&weights(dir), |len| len - 1),
        &[WEIGHTS, cut],
    );
    refused(
        SINGLE,
        |dir| truncate(&weights(dir), |len| len / 2),
        &[WEIGHTS, cut],
    );
    refused(
        SINGLE,
        |dir| truncate(&weights(dir), |len| len + 8),
        &[WEIGHTS, "bytes"],
    );
    let in_header = |dir: &Path| truncate(&weights(dir), |_| 8 + header_len(&weights(dir)) / 2);
    refused(SINGLE, in_header, &[WEIGHTS, "header"]);
    refused(
        SINGLE,
        |dir| truncate(&weights(dir), |_| 5),
        &[WEIGHTS, "5 bytes"],
    );
    refused(
        SINGLE,
        |dir| truncate(&weights(dir), |_| 0),
        &[WEIGHTS, "0 bytes"],
    );
    let last = shards(&crate::golden::directory().join(SHARDED))
        .pop()
        .expect("a shard");
    refused(
        SHARDED,
        |dir| truncate(&dir.join(&last), |len| len - 1),
        &[&last, cut],
    );
}

#[test]
fn hostile_headers_are_named() {
    let with_len = |len: u64| {
        move |dir: &Path| {
            let file = dir.join(WEIGHTS);
            let mut bytes = std::fs::read(&file).unwrap();
            bytes[..8].copy_from_slice(&len.to_le_bytes());
            std::fs::write(file, bytes).unwrap();
        }
    };
    for len in [u64::MAX, u64::MAX - 7, u64::MAX / 2, 1 << 40, 1 << 20, 0, 1] {
        refused(SINGLE, with_len(len), &[WEIGHTS]);
    }
    let with_header =
        |header: &'static str| move |dir: &Path| write_header(&dir.join(WEIGHTS), header, &[0; 64]);
    for header in [
        "{",
        "[]",
        "\u{7}",
        r#"{"x":{"dtype":"BF16","shape":[32],"data_offsets":[0,65]}}"#,
        r#"{"x":{"dtype":"BF16","shape":[32],"data_offsets":[64,0]}}"#,
        r#"{"x":{"dtype":"BF16","shape":[32],"data_offsets":[0,18446744073709551615]}}"#,
        r#"{"x":{"dtype":"BF16","shape":[4294967296,4294967296,2],"data_offsets":[0,64]}}"#,
        r#"{"x":{"dtype":"BF17","shape":[32],"data_offsets":[0,64]}}"#,
        r#"{"x":{"dtype":"BF16","shape":[16],"data_offsets":[0,32]},"y":{"dtype":"BF16","shape":[16],"data_offsets":[16,64]}}"#,
    ] {
        refused(SINGLE, with_header(header), &[WEIGHTS]);
    }
}

#[test]
fn absent_files_are_named() {
    let remove =
        |name: &'static str| move |dir: &Path| std::fs::remove_file(dir.join(name)).unwrap();
    refused(SINGLE, remove("config.json"), &["config.json"]);
    refused(SINGLE, remove(WEIGHTS), &[WEIGHTS]);
    for shard in shards(&crate::golden::directory().join(SHARDED)) {
        refused(
            SHARDED,
            |dir| std::fs::remove_file(dir.join(&shard)).unwrap(),
            &[&shard, "index"],
        );
    }
    let missing = Path::new("/no such directory");
    let text = CheckpointReader::open(missing)
        .map(|_| ())
        .expect_err("absent")
        .to_string();
    assert!(text.contains("no such directory"), "{text}");
}

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

#[test]
fn bad_configurations_name_the_key() {
    let config = "config.json";
    for text in [
        "",
        "{",
        "{\"hidden_size\": 64,}",
        "[]",
        "null",
        "nonsense",
        "{\"a\": \u{1}}",
    ] {
        refused(SINGLE, with_text(config, text), &[config]);
    }
    for (key, value) in [
        ("hidden_size", json!("64")),
        ("hidden_size", json!(-64)),
        ("hidden_size", json!(64.5)),
        ("hidden_size", json!(u64::MAX)),
        ("vocab_size", Value::Null),
        ("num_hidden_layers", json!([4])),
        ("num_hidden_layers", json!(0)),
        ("layer_types", json!(["sliding"])),
        ("rms_norm_eps", json!("small")),
        ("sliding_window", json!(0)),
        ("head_dim", json!(0)),
        ("num_experts_per_tok", json!(10_000)),
        ("rope_scaling", json!(3)),
    ] {
        refused(SINGLE, with_config(key, value), &[config, key]);
    }
    let trailing = |dir: &Path| append(&dir.join(config), " 1");
    refused(SINGLE, trailing, &[config, "trailing"]);
    let nested = |dir: &Path| {
        edit_json(&dir.join(config), |c| {
            c["rope_scaling"]["factor"] = json!("8");
        });
    };
    refused(SINGLE, nested, &[config, "rope_scaling.factor"]);
    let without = |dir: &Path| {
        edit_json(&dir.join(config), |c| {
            c.as_object_mut().expect("object").remove("hidden_size");
        });
    };
    refused(SINGLE, without, &[config, "hidden_size"]);
}

#[test]
fn bad_indices_name_the_entry() {
    for text in ["", "{", "[]", "{}", "{\"weight_map\": 3}"] {
        refused(SHARDED, with_text(INDEX, text), &[INDEX]);
    }
    refused(
        SHARDED,
        |dir| append(&dir.join(INDEX), "{}"),
        &[INDEX, "trailing"],
    );
    let number = |dir: &Path| {
        edit_json(&dir.join(INDEX), |index| {
            index["weight_map"][ROUTER] = json!(1);
        });
    };
    refused(SHARDED, number, &[INDEX, ROUTER]);
    for outside in [
        "../model.safetensors",
        "/etc/passwd",
        "..",
        "a/b",
        "a\\b",
        "",
        ".",
        "./x",
        "a/",
    ] {
        refused(SHARDED, with_shard_of(ROUTER, outside), &[INDEX, ROUTER]);
    }
    let folder = |dir: &Path| {
        std::fs::create_dir(dir.join("folder")).unwrap();
        with_shard_of(ROUTER, "folder")(dir);
    };
    refused(SHARDED, folder, &["folder", ROUTER]);
    refused(
        SHARDED,
        with_shard_of(ROUTER, "absent.safetensors"),
        &["absent.safetensors", ROUTER],
    );
    refused(
        SHARDED,
        with_shard_of(ROUTER, "config.json"),
        &["config.json"],
    );
    let last = shards(&crate::golden::directory().join(SHARDED))
        .pop()
        .expect("a shard");
    refused(
        SHARDED,
        with_shard_of("model.embed_tokens.weight", &last),
        &[&last, "model.embed_tokens"],
    );
    refused(
        SHARDED,
        with_shard_of("model.extra", &last),
        &[&last, "model.extra"],
    );
    let without = |dir: &Path| {
        edit_json(&dir.join(INDEX), |index| {
            index["weight_map"]
                .as_object_mut()
                .expect("object")
                .remove(ROUTER);
        });
    };
    refused(SHARDED, without, &[ROUTER, "not found"]);
}
