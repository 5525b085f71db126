//! Configurations and indices that are wrong.

use std::path::Path;

use serde_json::{Value, json};

use crate::damage::{ROUTER, SHARDED, SINGLE, refused, with_config};
use crate::files::{INDEX, edit_json, shards};

fn append(file: &Path, text: &str) {
    let old = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, old + text).unwrap();
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
