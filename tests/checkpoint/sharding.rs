use std::path::Path;

use burn::tensor::Device;
use burn_gpt_oss::{CheckpointForm, CheckpointWriter, SaveReport};
use tempfile::TempDir;

use crate::files::{INDEX, RawTensors, read_json, read_tensors, shards};
use crate::model::load;
use crate::round_trips::assert_reloads;

const SOURCE: &str = "tiny-gpt-oss";

fn save(out: &Path, form: CheckpointForm, shard_bytes: u64) -> SaveReport {
    let writer = CheckpointWriter::new(form).with_shard_bytes(shard_bytes);
    writer
        .save(&load(SOURCE, &Device::flex()), out, |_| {})
        .unwrap()
}

fn n_bytes(tensors: &RawTensors) -> u64 {
    tensors
        .values()
        .map(|tensor| tensor.bytes.len() as u64)
        .sum()
}

#[test]
fn sharded_output_is_ordered_indexed_and_reloads() {
    for form in [CheckpointForm::Mxfp4, CheckpointForm::Bf16] {
        let parent = TempDir::new().unwrap();
        let whole = save(&parent.path().join("whole"), form, u64::MAX);
        assert_eq!(whole.shards, 1, "shards without a limit");
        for limit in [whole.bytes / 3, whole.bytes / 20, 1] {
            let out = parent.path().join(format!("{limit}"));
            let report = save(&out, form, limit);
            assert_eq!(
                report.bytes, whole.bytes,
                "{form}, shards of {limit}: bytes"
            );
            assert!(
                report.shards > 2,
                "{form}, shards of {limit}: {} shards",
                report.shards
            );
            check_shards(&out, &report, limit);
            assert_reloads(&out, form);
        }
    }
}

fn check_shards(out: &Path, report: &SaveReport, limit: u64) {
    let names = shards(out);
    let numbered = |i| format!("model-{:05}-of-{:05}.safetensors", i, report.shards);
    assert_eq!(
        names,
        (1..=report.shards).map(numbered).collect::<Vec<_>>(),
        "file names"
    );
    let index = read_json(&out.join(INDEX));
    assert_eq!(index["metadata"]["total_size"], report.bytes, "total_size");
    let map: Vec<_> = index["weight_map"]
        .as_object()
        .expect("weight_map")
        .iter()
        .collect();

    let mut in_order = Vec::new();
    for name in &names {
        let tensors = read_tensors(&out.join(name));
        let size = n_bytes(&tensors);
        assert!(
            size <= limit || tensors.len() == 1,
            "{name}: {size} bytes, limit {limit}"
        );
        for tensor in names_by_offset(&out.join(name)) {
            in_order.push((tensor, name.clone()));
        }
    }
    assert!(in_order.is_sorted(), "tensors are sorted across the files");
    check_blocks_before_scales(&in_order);
    let expected = in_order
        .iter()
        .map(|(tensor, file)| (tensor.as_str(), file.as_str()));
    let found = map
        .iter()
        .map(|(tensor, file)| (tensor.as_str(), file.as_str().expect("a name")));
    assert!(
        found.eq(expected),
        "weight_map lists every tensor with its file, sorted"
    );
}

fn check_blocks_before_scales(in_order: &[(String, String)]) {
    let position = |name: &str| in_order.iter().position(|(tensor, _)| tensor == name);
    for (tensor, _) in in_order {
        if let Some(matrix) = tensor.strip_suffix("_scales") {
            let blocks = position(&format!("{matrix}_blocks"));
            assert!(
                blocks.is_some() && blocks < position(tensor),
                "blocks before `{tensor}`"
            );
        }
    }
}

/// The tensors of a file in the order of their bytes. The header is checked too: its entries are in
/// the same order, it says `pt`, and the data begin at a multiple of eight bytes.
fn names_by_offset(file: &Path) -> Vec<String> {
    let bytes = std::fs::read(file).unwrap();
    let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    assert_eq!(len % 8, 0, "{}: alignment of the data", file.display());
    let header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&bytes[8..8 + len]).unwrap();
    assert_eq!(
        header["__metadata__"]["format"],
        "pt",
        "{}: metadata",
        file.display()
    );
    let offset = |name: &String| header[name]["data_offsets"][0].as_u64().expect("offset");
    let names: Vec<_> = header
        .keys()
        .filter(|name| *name != "__metadata__")
        .cloned()
        .collect();
    assert!(
        names.is_sorted_by_key(offset),
        "{}: order of the header",
        file.display()
    );
    names
}
