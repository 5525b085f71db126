use std::path::Path;

use burn::tensor::{Device, FloatDType};
use burn_gpt_oss::{CheckpointForm, CheckpointProgress, CheckpointReader, CheckpointWriter};
use tempfile::TempDir;

use crate::files::{INDEX, all_tensors, entries, read_json, shards};
use crate::golden;
use crate::model::{load, open, parameters};

const PACKED: [&str; 2] = ["tiny-gpt-oss", "tiny-gpt-oss-sharded"];
const DENSE: &str = "tiny-gpt-oss-bf16";

/// Loads a directory as float32 and compares the bits of all parameters with the golden form.
pub fn assert_reloads(dir: &Path, form: CheckpointForm) {
    let reader = CheckpointReader::open(dir).expect("own output opens");
    assert_eq!(reader.form(), form, "form");
    let device = Device::flex();
    let found = parameters(
        &reader
            .load(&device, FloatDType::F32, |_| {})
            .expect("own output loads"),
    );
    for (name, expected) in parameters(&load(DENSE, &device)) {
        let pairs = found[&name].values.iter().zip(&expected.values);
        let differs = pairs.clone().position(|(a, b)| a.to_bits() != b.to_bits());
        assert_eq!(differs, None, "`{name}` differs at this element");
    }
}

/// Compares all tensors with those of a golden directory, byte for byte.
fn assert_same_tensors(dir: &Path, expected: &str) {
    let expected = all_tensors(&golden::directory().join(expected));
    let found = all_tensors(dir);
    assert!(
        found.keys().eq(expected.keys()),
        "names: {:?}",
        found.keys()
    );
    for (name, expected) in &expected {
        let found = &found[name];
        assert_eq!(
            (found.dtype, &found.shape),
            (expected.dtype, &expected.shape),
            "`{name}`"
        );
        assert!(found.bytes == expected.bytes, "bytes of `{name}`");
    }
}

fn assert_same_config(dir: &Path, expected: &str) {
    let expected = golden::directory().join(expected);
    let (found, expected) = (
        read_json(&dir.join("config.json")),
        read_json(&expected.join("config.json")),
    );
    let sorted = |value: &serde_json::Value| {
        let mut keys: Vec<_> = value.as_object().expect("object").keys().cloned().collect();
        keys.sort();
        keys
    };
    assert_eq!(sorted(&found), sorted(&expected), "keys of config.json");
    for key in sorted(&expected) {
        assert_eq!(found[&key], expected[&key], "config.json: `{key}`");
    }
}

#[test]
fn unchanged_experts_are_copied_byte_for_byte() {
    for source in PACKED {
        for dtype in [FloatDType::F32, FloatDType::BF16] {
            let parent = TempDir::new().unwrap();
            let out = parent.path().join("new/parent/out");
            let reader = open(source);
            let model = reader.load(&Device::flex(), dtype, |_| {}).unwrap();
            let writer = CheckpointWriter::new(CheckpointForm::Mxfp4).with_source(&reader);
            let report = writer.save(&model, &out, |_| {}).unwrap();

            assert_same_tensors(&out, source);
            assert_same_config(&out, source);
            let generation =
                |dir: &Path| std::fs::read(dir.join("generation_config.json")).unwrap();
            assert_eq!(
                generation(&out),
                generation(reader.dir()),
                "generation_config.json"
            );
            assert_eq!(report.bytes, reader.data_len(), "bytes of the report");
            assert_eq!((report.dir, report.shards), (out, 1), "report");
            assert_eq!(
                report.copied.len(),
                2 * reader.config().num_hidden_layers,
                "copied matrices"
            );
        }
    }
}

/// A long run must not be lost, or spoiled, because somebody cleans up.
#[test]
#[cfg(unix)]
fn a_source_that_is_shortened_does_not_spoil_what_is_saved() {
    let dir = crate::files::copy_of(PACKED[0]);
    let weights = dir.path().join("model.safetensors");
    let reader = CheckpointReader::open(dir.path()).unwrap();
    let model = reader.load(&Device::flex(), FloatDType::F32, |_| {});
    let file = std::fs::File::options().write(true).open(weights).unwrap();
    let out = dir.path().join("out");
    let writer = CheckpointWriter::new(CheckpointForm::Mxfp4).with_source(&reader);
    let report = writer.save(&model.unwrap(), &out, |_| file.set_len(4096).unwrap());
    assert!(report.unwrap().copied.len() < 2 * reader.config().num_hidden_layers);
    assert_reloads(&out, CheckpointForm::Mxfp4);
}

#[test]
fn dense_output_equals_the_dense_golden_form() {
    let parent = TempDir::new().unwrap();
    let out = parent.path().join("out");
    let reader = open(PACKED[0]);
    let writer = CheckpointWriter::new(CheckpointForm::Bf16).with_source(&reader);
    let report = writer
        .save(&load(PACKED[0], &Device::flex()), &out, |_| {})
        .unwrap();
    assert_reloads(&out, CheckpointForm::Bf16);
    assert_same_tensors(&out, DENSE);
    assert_same_config(&out, DENSE);
    assert!(
        report.copied.is_empty(),
        "nothing is copied into another form"
    );
}

/// The values of a decoded matrix survive packing, even where its bytes do not.
#[test]
fn decoded_experts_can_be_packed_again() {
    let parent = TempDir::new().unwrap();
    let out = parent.path().join("out");
    let model = load(DENSE, &Device::flex());
    let report = CheckpointWriter::new(CheckpointForm::Mxfp4)
        .save(&model, &out, |_| {})
        .unwrap();
    assert_reloads(&out, CheckpointForm::Mxfp4);
    assert!(report.copied.is_empty(), "there is no source to copy from");
    assert_eq!(
        entries(&out),
        ["config.json", "model.safetensors"],
        "files without a source"
    );
    // A dense source has nothing to copy either.
    let dense = open(DENSE);
    let writer = CheckpointWriter::new(CheckpointForm::Mxfp4).with_source(&dense);
    let report = writer
        .save(&model, parent.path().join("from dense"), |_| {})
        .unwrap();
    assert!(
        report.copied.is_empty(),
        "a dense source holds no packed experts"
    );
}

#[test]
fn the_source_itself_can_be_overwritten() {
    let dir = crate::files::copy_of(PACKED[1]);
    let reader = CheckpointReader::open(dir.path()).unwrap();
    let model = reader
        .load(&Device::flex(), FloatDType::F32, |_| {})
        .unwrap();
    let writer = CheckpointWriter::new(CheckpointForm::Mxfp4)
        .with_source(&reader)
        .with_overwrite(true);
    writer.save(&model, dir.path(), |_| {}).unwrap();
    assert_same_tensors(dir.path(), PACKED[0]);
    assert_eq!(
        shards(dir.path()),
        ["model.safetensors"],
        "the old shards are gone"
    );
    assert!(!dir.path().join(INDEX).exists(), "the old index is gone");
}

#[test]
fn progress_reaches_the_end_once() {
    let parent = TempDir::new().unwrap();
    let reader = open(PACKED[1]);
    let mut progress = Progress::default();
    let model = reader
        .load(&Device::flex(), FloatDType::F32, |p| progress.add(&p))
        .unwrap();
    progress.finish("load", reader.specs().len(), reader.data_len());
    for (form, source) in [
        (CheckpointForm::Mxfp4, PACKED[0]),
        (CheckpointForm::Bf16, DENSE),
    ] {
        let mut progress = Progress::default();
        let out = parent.path().join(form.to_string());
        CheckpointWriter::new(form)
            .save(&model, &out, |p| progress.add(&p))
            .unwrap();
        let expected = open(source);
        progress.finish("save", expected.tensor_names().count(), expected.data_len());
    }
}

#[derive(Default)]
struct Progress {
    tensors: Vec<String>,
    done: u64,
    total: u64,
}

impl Progress {
    fn add(&mut self, progress: &CheckpointProgress<'_>) {
        assert!(
            progress.bytes_done > self.done,
            "`{}` adds nothing",
            progress.tensor
        );
        self.tensors.push(progress.tensor.into());
        (self.done, self.total) = (progress.bytes_done, progress.bytes_total);
    }

    fn finish(mut self, what: &str, n_tensors: usize, total: u64) {
        assert_eq!(
            (self.done, self.total),
            (total, total),
            "{what}: bytes done and in all"
        );
        self.tensors.sort();
        self.tensors.dedup();
        assert_eq!(self.tensors.len(), n_tensors, "{what}: different tensors");
    }
}
