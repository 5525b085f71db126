//! Peak memory of loading: the model, one tensor besides it, and a fixed slack.
//!
//! The test runs itself a second time as a child process that does nothing but load, because the peak
//! of a process (`VmHWM`) never falls again.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;

use burn::tensor::{Device, FloatDType};
use burn_gpt_oss::{
    CheckpointForm, CheckpointReader, GptOssConfig, TensorLayout, TensorSpec, tensor_specs,
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tempfile::TempDir;

const MEGABYTE: u64 = 1 << 20;
/// For the program, its threads, the allocator and the file pages of one packed tensor.
const SLACK: u64 = 64 * MEGABYTE;
/// Names the checkpoint directory and the dtype for the child.
const CHILD: &str = "BURN_QAT_MEMORY_TEST";
const TEST: &str = "loading_needs_the_model_and_one_tensor";
/// In the place of a dtype: experts stay packed, the other weights are F32.
const PACKED: &str = "packed";

/// About 250 million weights; expert matrices, embedding and head are equally large.
fn config() -> GptOssConfig {
    let mut config = GptOssConfig::gpt_oss_20b();
    config.vocab_size = 32 * 1024;
    config.hidden_size = 1024;
    config.intermediate_size = 1024;
    config.num_hidden_layers = 4;
    config.layer_types.truncate(config.num_hidden_layers);
    config.num_attention_heads = 16;
    config.num_key_value_heads = 4;
    config.num_local_experts = 16;
    config.pad_token_id = Some(0);
    config.eos_token_id = Some(1);
    config.quantization_config = CheckpointForm::Mxfp4.quantization_config();
    config
}

#[test]
fn loading_needs_the_model_and_one_tensor() {
    if let Ok(task) = std::env::var(CHILD) {
        return child(&task);
    }
    let dir = TempDir::new().unwrap();
    let config = config();
    let stored = write_checkpoint(dir.path(), &config);
    println!("checkpoint: {} MB", stored / MEGABYTE);
    for (dtype, width) in [(FloatDType::F32, 4), (FloatDType::BF16, 2)] {
        let sizes = tensor_specs(&config)
            .iter()
            .map(|spec| spec.len() as u64 * width)
            .collect::<Vec<_>>();
        let (model, largest) = (
            sizes.iter().sum::<u64>(),
            *sizes.iter().max().expect("tensors"),
        );
        let limit = model + largest + SLACK;
        check(dir.path(), &format!("{dtype:?}"), [model, largest, limit]);
    }
    let (mut model, mut largest) = (0, 0);
    for spec in tensor_specs(&config) {
        let bytes = match spec.layout {
            TensorLayout::Experts => packed_len(&spec),
            _ => spec.len() as u64 * 4,
        };
        model += bytes;
        largest = largest.max(bytes);
    }
    check(
        dir.path(),
        PACKED,
        [model, largest, model + largest + SLACK],
    );
}

/// Bytes of an expert matrix in the file.
fn packed_len(spec: &TensorSpec) -> u64 {
    let tensors = stored(spec).into_iter();
    tensors
        .map(|(_, dtype, shape)| n_bytes(dtype, &shape))
        .sum()
}

fn check(dir: &Path, form: &str, [model, largest, limit]: [u64; 3]) {
    let peak = peak_of_child(dir, form);
    println!(
        "{form}: peak {} MB, model {} MB, largest tensor {} MB, limit {} MB",
        peak / MEGABYTE,
        model / MEGABYTE,
        largest / MEGABYTE,
        limit / MEGABYTE,
    );
    assert!(
        peak > model,
        "{form}: a peak of {peak} bytes cannot hold the model of {model}"
    );
    assert!(peak <= limit, "{form}: peak of {peak} bytes, limit {limit}");
}

fn peak_of_child(dir: &Path, form: &str) -> u64 {
    let output = Command::new(std::env::current_exe().expect("own path"))
        .args(["--exact", TEST, "--nocapture"])
        .env(CHILD, format!("{form}:{}", dir.display()))
        .output()
        .expect("the child starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let peak = text
        .lines()
        .find_map(|line| line.split_once("peak: "))
        .expect("a peak in the output")
        .1;
    peak.trim().parse().expect("a number")
}

fn child(task: &str) {
    let (form, dir) = task.split_once(':').expect("form:directory");
    let reader = CheckpointReader::open(dir).expect("opens");
    let device = Device::flex();
    let model = match form {
        "F32" => reader.load(&device, FloatDType::F32, |_| {}),
        "BF16" => reader.load(&device, FloatDType::BF16, |_| {}),
        _ => reader.load_packed(&device, FloatDType::F32, |_| {}),
    };
    let model = model.expect("loads");
    println!("\npeak: {}", peak());
    drop(model);
}

/// Peak resident memory of this process in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("VmHWM");
    line.trim()
        .trim_end_matches(" kB")
        .parse::<u64>()
        .expect("a number")
        * 1024
}

/// Writes a checkpoint with random weights tensor by tensor, and returns the bytes of its tensors.
fn write_checkpoint(dir: &Path, config: &GptOssConfig) -> u64 {
    std::fs::write(dir.join("config.json"), config.to_json().to_string()).expect("written");
    let tensors: Vec<_> = tensor_specs(config).iter().flat_map(stored).collect();
    let mut header = serde_json::Map::new();
    let mut offset = 0;
    for (name, dtype, shape) in &tensors {
        let end = offset + n_bytes(dtype, shape);
        let entry =
            serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [offset, end]});
        header.insert(name.clone(), entry);
        offset = end;
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut file = BufWriter::new(File::create(dir.join("model.safetensors")).expect("created"));
    file.write_all(&(header.len() as u64).to_le_bytes())
        .expect("written");
    file.write_all(header.as_bytes()).expect("written");
    let mut rng = SmallRng::seed_from_u64(1);
    for (name, dtype, shape) in &tensors {
        let bytes = content(name, n_bytes(dtype, shape), &mut rng);
        file.write_all(&bytes).expect("written");
    }
    file.flush().expect("written");
    offset
}

type Stored = (String, &'static str, Vec<usize>);

/// Name, dtype and shape of the tensors that store one parameter.
fn stored(spec: &TensorSpec) -> Vec<Stored> {
    if spec.layout != TensorLayout::Experts {
        return vec![(spec.name.clone(), "BF16", spec.file_shape())];
    }
    let [experts, out, len] = [0, 1, 2].map(|axis| spec.packed_shape()[axis]);
    vec![
        (
            format!("{}_blocks", spec.name),
            "U8",
            vec![experts, out, len / 32, 16],
        ),
        (
            format!("{}_scales", spec.name),
            "U8",
            vec![experts, out, len / 32],
        ),
    ]
}

fn n_bytes(dtype: &str, shape: &[usize]) -> u64 {
    let width = if dtype == "BF16" { 2 } else { 1 };
    shape.iter().product::<usize>() as u64 * width
}

/// Random codes; scales and BF16 values (0x3c3c = 0.0115) are constant.
fn content(name: &str, len: u64, rng: &mut SmallRng) -> Vec<u8> {
    let mut bytes = vec![if name.ends_with("_scales") { 120 } else { 0x3c }; len as usize];
    if name.ends_with("_blocks") {
        rng.fill(&mut bytes[..]);
    }
    bytes
}
