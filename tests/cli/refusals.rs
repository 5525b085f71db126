use std::path::Path;
use std::process::Command;

use crate::example::{
    LINE, binary, checkpoint, dataset, dataset_of, entries, error_of, mentions, refusal, text,
};

const SHARD: &str = "model-00001-of-00001.safetensors";

/// Refuses a damaged copy of a checkpoint and leaves no output behind.
fn refuse_model(damage: impl FnOnce(&Path)) -> String {
    let dir = tempfile::tempdir().expect("temporary directory");
    let model = checkpoint(dir.path());
    damage(&model);
    let data = dataset_of(dir.path(), 20);
    let out = text(&dir.path().join("out"));
    let error = refusal(&[
        "--model",
        &text(&model),
        "--data",
        &data,
        "--out",
        &out,
        "--smoke",
    ]);
    assert_eq!(entries(dir.path()), ["data.jsonl", "model"], "{error}");
    error
}

#[test]
fn truncated_file() {
    let error = refuse_model(|model| {
        let path = model.join(SHARD);
        let bytes = std::fs::read(&path).expect("a shard");
        std::fs::write(&path, &bytes[..bytes.len() - 1000]).expect("a shard");
    });
    mentions(&error, &[SHARD, "truncated", "bytes"]);
}

#[test]
fn wrong_shape() {
    let error = refuse_model(|model| {
        edit(
            &model.join("config.json"),
            "\"head_dim\": 32",
            "\"head_dim\": 64",
        )
    });
    mentions(&error, &["self_attn", "shape", "expected"]);
}

#[test]
fn missing_tensor() {
    let error = refuse_model(|model| {
        let index = model.join("model.safetensors.index.json");
        let text = std::fs::read_to_string(&index).expect("an index");
        let kept: Vec<_> = text
            .lines()
            .filter(|line| !line.contains("layers.1.self_attn.sinks"))
            .collect();
        std::fs::write(&index, kept.join("\n")).expect("an index");
    });
    mentions(&error, &["model.layers.1.self_attn.sinks", "not found"]);
}

#[test]
fn missing_shard() {
    let error = refuse_model(|model| std::fs::remove_file(model.join(SHARD)).expect("a shard"));
    mentions(&error, &[SHARD, "shard not found"]);
}

#[test]
fn bad_json() {
    let error = refuse_model(|model| {
        edit(
            &model.join("config.json"),
            "\"hidden_size\": 64",
            "\"hidden_size\": \"wide\"",
        )
    });
    mentions(&error, &["config.json", "hidden_size", "line"]);
    let error = refuse_model(|model| edit(&model.join("model.safetensors.index.json"), "{", ""));
    mentions(&error, &["model.safetensors.index.json", "invalid JSON"]);
}

#[test]
fn missing_tokenizer() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let model = checkpoint(dir.path());
    std::fs::remove_file(model.join("tokenizer.json")).expect("a tokenizer");
    let data = dataset_of(dir.path(), 20);
    let out = text(&dir.path().join("out"));
    let error = refusal(&["--model", &text(&model), "--data", &data, "--out", &out]);
    mentions(&error, &["tokenizer.json"]);
}

/// The golden model has 512 token ids, the tokenizer more.
#[test]
fn tokenizer_of_another_model() {
    let error = refuse_model(|_| {});
    mentions(&error, &["tokenizer.json", "`vocab_size`", "512"]);
}

#[test]
fn unknown_role_in_the_dataset() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let model = text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tiny-gpt-oss"));
    let out = text(&dir.path().join("out"));
    let bad = r#"{"messages":[{"role":"robot","content":"x"}]}"#;
    let data = dataset(dir.path(), &[LINE, "", LINE, bad]);
    let error = refusal(&["--model", &model, "--data", &data, "--out", &out]);
    mentions(&error, &["data.jsonl:4", "robot", "assistant"]);
    assert_eq!(entries(dir.path()), ["data.jsonl"]);
}

#[test]
fn settings_out_of_range_and_unknown_policies() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let out = text(&dir.path().join("out"));
    for (args, parts) in [
        (["--batch-size", "0"], ["batch_size", "at least 1"]),
        (["--sft-lr", "nan"], ["--sft-lr", "a number"]),
        (["--qat-lr", "0"], ["learning_rate", "positive"]),
        (["--quantize", "nvfp7"], ["nvfp7", "mxfp4_mlp_weight_only"]),
    ] {
        mentions(&refusal(&[args[0], args[1], "--out", &out]), &parts);
    }
}

#[test]
fn occupied_output_directory() {
    let dir = tempfile::tempdir().expect("temporary directory");
    std::fs::write(dir.path().join("precious.txt"), "x").expect("a file");
    let error = refusal(&["--smoke", "--out", &text(dir.path())]);
    mentions(&error, &[&text(dir.path()), "not empty", "overwrite"]);
    assert_eq!(entries(dir.path()), ["precious.txt"]);
}

/// A limit on the size of one file stands for a full disk: the same calls fail, and no privileges
/// are needed. At 1 MB the original checkpoint cannot be written, at 5 MB the results of training.
#[test]
fn full_disk() {
    for (kilobytes, absent) in [("1000", "original"), ("5000", "sft")] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let out = dir.path().join("out");
        let script =
            format!("trap '' XFSZ; ulimit -f {kilobytes}; exec \"$0\" --smoke --out \"$1\"");
        let output = Command::new("bash")
            .args(["-c", &script])
            .args([&binary(), &out])
            .output()
            .expect("bash starts");
        let error = error_of(&output);
        mentions(&error, &["File too large"]);
        let left = entries(&out);
        assert!(
            !left
                .iter()
                .any(|name| name == absent || name.contains("partial")),
            "{left:?}"
        );
        let logs = entries(&out.join("logs/sft"));
        assert!(!logs.iter().any(|name| name.ends_with(".bpk")), "{logs:?}");
    }
}

/// A checkpoint of the 20b's true shapes, without its bytes: a sparse file.
#[test]
fn too_little_memory_for_the_20b() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let model = dir.path().join("model");
    std::fs::create_dir(&model).expect("temporary directory");
    // With the embedded tokenizer, whose `<|return|>` has another number.
    let config = burn_gpt_oss::GptOssConfig {
        vocab_size: 201_000,
        eos_token_id: Some(1273),
        ..burn_gpt_oss::GptOssConfig::gpt_oss_20b()
    };
    std::fs::write(model.join("config.json"), config.to_json().to_string()).expect("config");
    let tokenizer =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tiny-gpt-oss/tokenizer.json");
    std::fs::copy(tokenizer, model.join("tokenizer.json")).expect("tokenizer");
    sparse_checkpoint(&model.join("model.safetensors"), &config);
    let data = dataset_of(dir.path(), 20);
    let out = text(&dir.path().join("out"));
    let error = refusal(&["--model", &text(&model), "--data", &data, "--out", &out]);
    mentions(
        &error,
        &[
            "GB of memory",
            "available",
            "weights",
            "AdamW",
            "--max-length",
        ],
    );
    assert_eq!(entries(dir.path()), ["data.jsonl", "model"]);
}

fn sparse_checkpoint(path: &Path, config: &burn_gpt_oss::GptOssConfig) {
    let (mut header, mut offset) = (serde_json::Map::new(), 0u64);
    for spec in burn_gpt_oss::tensor_specs(config) {
        let shape = spec.file_shape();
        let end = offset + 2 * spec.len() as u64;
        let entry =
            serde_json::json!({"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]});
        header.insert(spec.name, entry);
        offset = end;
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    std::fs::write(path, &bytes).expect("header");
    let file = std::fs::File::options()
        .write(true)
        .open(path)
        .expect("file");
    file.set_len(bytes.len() as u64 + offset)
        .expect("a sparse file");
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).expect("a text file");
    assert!(text.contains(from), "{from}");
    std::fs::write(path, text.replacen(from, to, 1)).expect("a text file");
}

#[test]
fn overwriting_touches_nothing_but_earlier_results() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let out = text(dir.path());
    let data = dir.path().join("train.jsonl");
    std::fs::write(&data, LINE).expect("a file");
    let error = refusal(&["--smoke", "--overwrite", "--out", &out]);
    mentions(&error, &["recipe.json", "another directory"]);
    // Even a directory of an earlier run may hold what this run reads.
    std::fs::write(dir.path().join("recipe.json"), "{}").expect("a file");
    let model = checkpoint(dir.path());
    let args = [
        "--model",
        &text(&model),
        "--data",
        &text(&data),
        "--overwrite",
        "--out",
        &out,
    ];
    mentions(&refusal(&args), &["model", "lies in the output directory"]);
    assert_eq!(entries(dir.path()), ["model", "recipe.json", "train.jsonl"]);
}
