//! Loading and saving of an MXFP4 checkpoint, in bytes of the file per second, and peak memory.
//!
//! Floor of loading: the file is read once (0.53 bytes per expert weight) and every weight written
//! once (4 bytes in float32). A plain copy of as many bytes on one thread runs beside it.

use std::path::PathBuf;
use std::sync::OnceLock;

use burn::tensor::{Device, FloatDType};
use burn_gpt_oss::{
    CheckpointForm, CheckpointReader, CheckpointWriter, GptOss, GptOssConfig, LayerType,
};
use divan::Bencher;
use divan::counter::BytesCount;
use tempfile::TempDir;

fn main() {
    divan::main();
    if let Some(peak) = peak_memory() {
        println!("peak memory of this process (model saved from memory and loaded): {peak} MB");
    }
}

/// 2 layers of 16 experts, 1024 wide: 100 M expert weights, 53 MB of them on disk.
fn config() -> GptOssConfig {
    GptOssConfig {
        vocab_size: 8192,
        hidden_size: 1024,
        intermediate_size: 1024,
        num_hidden_layers: 2,
        num_local_experts: 16,
        layer_types: vec![LayerType::SlidingAttention, LayerType::FullAttention],
        ..GptOssConfig::gpt_oss_20b()
    }
}

fn model() -> GptOss {
    config().init(&Device::flex())
}

fn checkpoint() -> PathBuf {
    static DIR: OnceLock<TempDir> = OnceLock::new();
    let dir = DIR.get_or_init(|| {
        let dir = tempfile::tempdir().expect("temporary directory");
        let writer = CheckpointWriter::new(CheckpointForm::Mxfp4);
        writer
            .save(&model(), dir.path().join("model"), |_| {})
            .expect("a checkpoint");
        dir
    });
    dir.path().join("model")
}

#[divan::bench(sample_count = 8, sample_size = 1)]
fn load_float32(bencher: Bencher) {
    let dir = checkpoint();
    let bytes = CheckpointReader::open(&dir)
        .expect("own checkpoint")
        .data_len();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        let reader = CheckpointReader::open(&dir).expect("own checkpoint");
        reader
            .load(&Device::flex(), FloatDType::F32, |_| {})
            .expect("own checkpoint")
    });
}

/// The same bytes read and written by one thread without any decoding.
#[divan::bench(sample_count = 8, sample_size = 1)]
fn copy_on_one_thread(bencher: Bencher) {
    let path = checkpoint().join("model.safetensors");
    let file = std::fs::metadata(&path).expect("own checkpoint").len();
    let weights = config().num_expert_weights() + config().num_dense_weights();
    bencher.counter(BytesCount::new(file)).bench_local(|| {
        let bytes = std::fs::read(&path).expect("own checkpoint");
        (bytes, vec![1.0f32; weights as usize])
    });
}

#[divan::bench(sample_count = 4, sample_size = 1)]
fn save_mxfp4(bencher: Bencher) {
    let (model, dir) = (model(), tempfile::tempdir().expect("temporary directory"));
    let bytes = CheckpointReader::open(checkpoint())
        .expect("own checkpoint")
        .data_len();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        let writer = CheckpointWriter::new(CheckpointForm::Mxfp4).with_overwrite(true);
        writer
            .save(&model, dir.path().join("out"), |_| {})
            .expect("a checkpoint")
    });
}

fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1000)
}
