//! Files of any content: each is read or refused, and nothing panics.
//!
//! ```text
//! FUZZ_SECONDS=1200 cargo test --test fuzz_files -- --nocapture
//! ```

#[path = "../support/fuzz.rs"]
mod fuzz;

use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::Device;
use burn_gpt_oss::{
    AdapterCheckpoint, CheckpointForm, CheckpointReader, CheckpointWriter, ConvertTarget,
    Converter, GptOssConfig, Tokenizer, validate_checkpoint,
};
use fuzz::{corpus, fuzz};
use tempfile::TempDir;

/// A model of a few kilobytes.
fn smallest() -> GptOssConfig {
    GptOssConfig {
        vocab_size: 8,
        hidden_size: 32,
        intermediate_size: 32,
        num_hidden_layers: 1,
        num_attention_heads: 1,
        num_key_value_heads: 1,
        head_dim: 2,
        num_local_experts: 2,
        num_experts_per_tok: 1,
        layer_types: GptOssConfig::gpt_oss_20b().layer_types[..1].to_vec(),
        pad_token_id: None,
        eos_token_id: None,
        ..GptOssConfig::gpt_oss_20b()
    }
}

/// The model in some form.
fn written(target: ConvertTarget) -> (TempDir, std::path::PathBuf) {
    let temp = TempDir::new().expect("temporary directory");
    let model = smallest().init(&Device::flex());
    let (first, out) = (temp.path().join("first"), temp.path().join("out"));
    let writer = CheckpointWriter::new(CheckpointForm::Mxfp4);
    writer.save(&model, &first, |_| {}).expect("written");
    let source = CheckpointReader::open(&first).expect("own output");
    let converter = Converter::new(&source, target).with_shard_bytes(4000);
    converter
        .run(&out, |_| ControlFlow::Continue(()))
        .expect("converted");
    (temp, out)
}

/// Everything that reads a directory.
fn read(dir: &Path) {
    if let Ok(reader) = CheckpointReader::open(dir) {
        let _ = reader.check_weights();
    }
    validate_checkpoint(dir, None, |_| {}).expect("a report");
}

/// Mutates one file of a checkpoint.
fn of_file(target: ConvertTarget, name: &str, seeds: Vec<Vec<u8>>, corpus_name: &str) {
    let (_temp, dir) = written(target);
    let path = dir.join(name);
    let seeds = match seeds.is_empty() {
        true => vec![std::fs::read(&path).expect(name)],
        false => seeds,
    };
    fuzz(&corpus("fuzz_files", corpus_name), seeds, |bytes| {
        std::fs::write(&path, bytes).expect("written");
        read(&dir);
    });
}

#[test]
fn safetensors() {
    for (i, target) in [
        ConvertTarget::Mxfp4,
        ConvertTarget::CompressedNvfp4,
        ConvertTarget::Nvfp4,
        ConvertTarget::Original,
    ]
    .into_iter()
    .enumerate()
    {
        let (_temp, dir) = written(target);
        let name = std::fs::read_dir(&dir).expect("listed").flatten();
        let names = name.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> = names
            .filter(|name| name.ends_with(".safetensors"))
            .collect();
        names.sort();
        of_file(target, &names[i % names.len()], Vec::new(), "safetensors");
    }
}

#[test]
fn index() {
    of_file(
        ConvertTarget::Mxfp4,
        "model.safetensors.index.json",
        Vec::new(),
        "index",
    );
}

#[test]
fn config() {
    of_file(ConvertTarget::Bf16, "config.json", Vec::new(), "config");
    let original = include_bytes!("../golden/tiny-gpt-oss-original/config.json").to_vec();
    let published = GptOssConfig::gpt_oss_20b()
        .to_json()
        .to_string()
        .into_bytes();
    fuzz(
        &corpus("fuzz_files", "config"),
        vec![original, published],
        |bytes| {
            let text = String::from_utf8_lossy(bytes);
            if let Ok(config) = GptOssConfig::from_json(&text) {
                let again = GptOssConfig::from_json(&config.to_json().to_string());
                again.expect("what is read is written so that it is read again");
            }
        },
    );
}

#[test]
fn tokenizer() {
    let seed = r#"{"version":"1.0","added_tokens":[{"id":4,"content":"<|start|>","special":true},
        {"id":5,"content":"<|end|>","special":true},{"id":6,"content":"<|message|>","special":true},
        {"id":7,"content":"<|channel|>","special":true},{"id":8,"content":"<|return|>","special":true}],
        "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true},
        "decoder":{"type":"ByteLevel"},
        "model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"c":3},"merges":[["a","b"]]}}"#;
    fuzz(
        &corpus("fuzz_files", "tokenizer"),
        vec![seed.into()],
        |bytes| {
            if let Ok(tokenizer) = Tokenizer::from_bytes(bytes) {
                let _ = tokenizer.encode_ordinary("abc <|start|> x");
                let _ = tokenizer.decode(&[0, 1, 4, 99]);
                let _ = tokenizer.check(&smallest());
            }
        },
    );
}

#[test]
fn gguf() {
    let (_temp, dir) = written(ConvertTarget::Gguf);
    let path = dir.join("model.gguf");
    let seed = std::fs::read(&path).expect("written");
    fuzz(&corpus("fuzz_files", "gguf"), vec![seed], |bytes| {
        std::fs::write(&path, bytes).expect("written");
        validate_checkpoint(&path, None, |_| {}).expect("a report");
    });
}

#[test]
fn adapter() {
    let temp = TempDir::new().expect("temporary directory");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/lora/adapter");
    let weights = std::fs::read(golden.join("adapter_model.safetensors")).expect("golden");
    std::fs::write(temp.path().join("adapter_model.safetensors"), weights).expect("written");
    let seed = std::fs::read(golden.join("adapter_config.json")).expect("golden");
    let config = GptOssConfig::from_file(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny-gpt-oss/config.json"),
    );
    let config = config.expect("golden");
    fuzz(&corpus("fuzz_files", "adapter"), vec![seed], |bytes| {
        std::fs::write(temp.path().join("adapter_config.json"), bytes).expect("written");
        let _ = AdapterCheckpoint::open(temp.path(), &config);
    });
}
